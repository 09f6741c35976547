"""Cost and savings of stored targets, each as a ratio within one run.

    python benchmarks/store.py            all
    python benchmarks/store.py read write some: train, epoch, read, write, size, label

Both sides of a ratio alternate, each first in every other round; the ratio is the median over the
rounds of the paired ratios. The C library's allocator is set as in benchmarks/overhead.py.

- train: an epoch of a ResNet-20 with stored 100-class logits against plain supervised training of
  the same student on the same data (both by the library, `SoftTargets` beside or without).
- epoch: an epoch with a stored teacher against the live one, whose time is ten times the student's.
- read: random batches of 128 rows of 1,000 float16 against numpy's memory map, indexed alike.
- write: such rows written, checked and made durable against numpy.save, alone and with fsync.
- size: bytes of a store against those of its values; top-16 of 1,000 classes.
- label: examples a second of `label` against a bare inference_mode loop at the same batch size;
  then with precision="bf16" and with compile=True, and what these do to the targets.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import tutelage as tl
from overhead import keep_pages, resnet20
from tutelage.signals import Signals
from tutelage.store import (
    Data,
    Field,
    Layout,
    Manifest,
    Settings,
    StoreWriter,
    TargetStore,
    Views,
    close_store,
)
from tutelage.teachers import AnyTeacher

ROWS, CLASSES, BATCH = 30_000, 1000, 128
WRITTEN = 120_000  # enough to make the constant cost of a store negligible
ENGINE = tl.Engine(device="cpu", progress=False)
OPTIMIZER = partial(torch.optim.SGD, lr=0.01, momentum=0.9)


def paired(
    sides: dict[str, Callable[[], object]], rounds: int, before: Callable[[], None] | None = None
) -> tuple[list[float], float]:
    """Return the median seconds of two sides, and the median ratio of the first to the second.

    `before` is called before each side, untimed.
    """
    times: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name in sorted(sides, reverse=number % 2 == 0):
            if before is not None:
                before()
            began = time.perf_counter()
            sides[name]()
            times[name].append(time.perf_counter() - began)
    first, second = (values[1:] for values in times.values())  # the first round warms up
    ratio = median(a / b for a, b in zip(first, second, strict=True))
    return [median(first), median(second)], ratio


def report(what: str, seconds: list[float], ratio: float, unit: float = 1e3) -> None:
    """Print a ratio."""
    ours, theirs = (unit * each for each in seconds)
    print(f"{what:66} {ours:10.3f} {theirs:10.3f}   ratio {ratio:.3f}", flush=True)


def images(count: int) -> TensorDataset:
    """Return images of noise with labels."""
    return TensorDataset(torch.randn(count, 3, 32, 32), torch.randint(0, 100, (count,)))


def train(
    teacher: AnyTeacher | None, student: nn.Module, data: TensorDataset, objective: tl.Objective
) -> Callable[[], object]:
    """Return one epoch of training."""
    return lambda: tl.distill(
        teacher,
        student,
        train=data,
        objective=objective,
        epochs=1,
        batch_size=BATCH,
        optimizer=OPTIMIZER,
        engine=ENGINE,
    )


def bench_train(folder: Path) -> None:
    """A step with stored targets against a supervised one."""
    data = images(1024)
    store = tl.label(resnet20(), data, out=folder, engine=ENGINE)
    student = resnet20()
    both = 0.1 * tl.HardLabels() + 0.9 * tl.SoftTargets(4)
    stored, plain = train(store, student, data, both), train(None, student, data, tl.HardLabels())
    seconds, ratio = paired({"stored": stored, "zplain": plain}, 11)
    report("train: ResNet-20, stored logits / supervised, ms an epoch of 1,024", seconds, ratio)


def bench_epoch(folder: Path) -> None:
    """An epoch with a stored teacher against a live one of ten times the student's time."""
    data = images(512)
    student, teacher = resnet20(), nn.ModuleList([resnet20() for _ in range(1)])
    tenfold = Repeated(teacher[0])
    store = tl.label(tenfold, data, out=folder, engine=ENGINE)
    step = paired({"student": _step(student), "teacher": _forward(tenfold)}, 3)[0]
    print(f"epoch: the teacher's forward pass takes {step[1] / step[0]:.1f} student steps")
    objective = tl.SoftTargets(4)
    sides = {
        "alive": train(tenfold, student, data, objective),
        "stored": train(store, student, data, objective),
    }
    seconds, ratio = paired(sides, 3)
    report("epoch: live teacher / stored, ms an epoch of 512", seconds, ratio)


class Repeated(nn.Module):
    """A network whose forward pass is that of another, thirty times: ten student steps or so."""

    def __init__(self, inner: nn.Module, times: int = 30) -> None:
        super().__init__()
        self.inner, self.times = inner, times

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the mean of equal outputs."""
        return torch.stack([self.inner(inputs) for _ in range(self.times)]).mean(dim=0)


def _step(student: nn.Module) -> Callable[[], None]:
    inputs, labels = images(BATCH).tensors

    def step() -> None:
        nn.functional.cross_entropy(student(inputs), labels).backward()

    return step


def _forward(teacher: nn.Module) -> Callable[[], None]:
    inputs, _ = images(BATCH).tensors

    def forward() -> None:
        with torch.inference_mode():
            teacher(inputs)

    return forward


def empty(folder: Path, rows: int) -> Manifest:
    """Return the manifest of a store for the rows of reading and writing."""
    layout = Layout.fitting(rows, 1, 256, 2 * CLASSES)
    settings = Settings(
        output=True,
        features=(),
        top_k=None,
        dtype="float16",
        batch_size=256,
        precision="fp32",
        compile=False,
    )
    manifest = Manifest(
        made_with={},
        teacher="noise",
        data=Data(fingerprint="noise", examples=rows),
        views=Views(),
        settings=settings,
        fields=(Field(name="output", form="dense", dtype="float16", shape=(CLASSES,)),),
        block_rows=layout.block_rows,
        shard_blocks=layout.shard_blocks,
    )
    folder.mkdir()
    manifest.write(folder)
    return manifest


def fill(folder: Path, values: Tensor) -> None:
    """Write rows as `label` does."""
    manifest = empty(folder, len(values))
    with StoreWriter(folder, manifest) as writer:
        for block in writer.pending():
            rows = manifest.layout.block(block)
            writer.write(block, _pieces(values[rows.start : rows.stop]))
    close_store(folder, manifest)


def _pieces(rows: Tensor) -> Iterator[Signals]:
    for piece in rows.split(256):
        yield Signals(piece)


def bench_write(folder: Path) -> None:
    """Rows written against numpy.save, each into new files, in the folder of TMPDIR."""
    values = torch.randn(WRITTEN, CLASSES).half()
    plain = folder.with_name("plain.npy")

    def save(durable: bool) -> None:
        with plain.open("wb") as file:
            np.save(file, values.numpy())
            file.flush()
            if durable:
                os.fsync(file.fileno())

    def clear() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        plain.unlink(missing_ok=True)
        os.sync()

    for durable in (False, True):
        sides = {"store": lambda: fill(folder, values), "zsave": partial(save, durable)}
        seconds, ratio = paired(sides, 5, clear)
        megabytes = values.numel() * 2 / 2**20
        name = "numpy.save and fsync" if durable else "numpy.save"
        rates = [megabytes / each for each in seconds]
        report(f"write: store / {name}, MB/s; ratio of rates", rates, 1 / ratio, 1)


def bench_read(folder: Path) -> None:
    """Random batches against numpy's own."""
    fill(folder, torch.randn(ROWS, CLASSES).half())
    store = TargetStore.open(folder)
    mapped = np.load(folder / "output.0000.npy", mmap_mode="r")
    generator = np.random.default_rng(0)
    batches = [generator.integers(0, ROWS, BATCH) for _ in range(300)]
    for rows in batches:  # the same pages in memory for both
        mapped[rows]
    sides = {
        "ours": lambda: [store.read("output", rows) for rows in batches],
        "theirs": lambda: [mapped[rows] for rows in batches],
    }
    seconds, ratio = paired(sides, 21)
    per_batch = [each / len(batches) for each in seconds]
    report("read: store / numpy memmap, µs for 128 × 1,000 float16", per_batch, ratio, 1e6)


def bench_size(folder: Path) -> None:
    """Bytes on disk."""
    fill(folder, torch.randn(ROWS, CLASSES).half())
    total = sum(path.stat().st_size for path in folder.iterdir())
    print(f"size: dense float16, all files / 2 bytes a value: {total / (2 * ROWS * CLASSES):.5f}")
    shutil.rmtree(folder)
    data = TensorDataset(torch.randn(ROWS, 8))
    tl.label(nn.Linear(8, CLASSES), data, out=folder, top_k=16, engine=ENGINE)
    total = sum(path.stat().st_size for path in folder.iterdir())
    print(f"size: top 16 of {CLASSES} classes, all files: {total / ROWS:.2f} bytes an example")


def bench_label(folder: Path) -> None:
    """Labelling against a bare loop, by a teacher as small as the student and a larger one."""
    bf16 = tl.Engine(device="cpu", progress=False, precision="bf16")
    for times in (1, 4):
        teacher = Repeated(resnet20().eval(), times)
        against_bare(folder, f"{times} x ResNet-20, float32", teacher)
    against_bare(folder, 'the last, precision="bf16"', teacher, engine=bf16)
    against_bare(folder, "the last, compile=True", teacher, compile=True)


def against_bare(folder: Path, name: str, teacher: nn.Module, **options: Any) -> None:
    """Print the ratio of the rates of `label` and a bare loop, and how far the targets differ."""
    data = images(2048)

    def bare() -> Tensor:
        with torch.inference_mode():
            return torch.cat([teacher(part) for part in data.tensors[0].split(256)])

    def ours() -> TargetStore:
        shutil.rmtree(folder, ignore_errors=True)
        settings: dict[str, Any] = {"engine": ENGINE} | options
        return tl.label(teacher, data, out=folder, dtype="float32", **settings)

    exact = bare()
    seconds, ratio = paired({"bare": bare, "ours": ours}, 5)
    rates = [len(data) / each for each in seconds[::-1]]
    report(f"label: {name} / bare loop, examples a second; ratio of rates", rates, ratio, 1)
    found = ours().read("output", range(len(data)))
    assert isinstance(found, Tensor)
    error = (found - exact).abs().max() / exact.std()
    same = (found.argmax(1) == exact.argmax(1)).float().mean()
    print(f"       largest error {error:.1e} of the logits' sd; same class {100 * same:.2f} %")


BENCHES = {
    "train": bench_train,
    "epoch": bench_epoch,
    "read": bench_read,
    "write": bench_write,
    "size": bench_size,
    "label": bench_label,
}


def main() -> None:
    """Run those that are named, or all."""
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    chosen = [name for name in sys.argv[1:] if name in BENCHES] or list(BENCHES)
    for name in chosen:
        torch.manual_seed(0)
        with tempfile.TemporaryDirectory() as folder:
            BENCHES[name](Path(folder) / "store")


if __name__ == "__main__":
    keep_pages()
    main()
