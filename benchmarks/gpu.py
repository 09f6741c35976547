"""What distillation costs on a GPU: steps, objectives and labelling.

    python benchmarks/gpu.py          # `make gpu` runs it; TUTELAGE_TEST_DEVICE=cpu for a trial

A step of `distill` is compared with a hand-written loop of the same arithmetic on data that is on
the device already, in fp32 and in bf16; an objective over 32,000 classes with the same under
`torch.compile`; and labelling with a hand-written pass of the teacher. Medians; a minute or two.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import TensorDataset

import tutelage as tl
from overhead import resnet20

DEVICE = torch.device(os.environ.get("TUTELAGE_TEST_DEVICE", "cuda"))
IMAGES, BATCH, ROUNDS = (8192, 256, 7) if DEVICE.type == "cuda" else (128, 64, 2)
CLASSES = 32_000 if DEVICE.type == "cuda" else 1000
SGD = partial(torch.optim.SGD, lr=0.01, momentum=0.9)
OBJECTIVE = 0.1 * tl.HardLabels() + 0.9 * tl.SoftTargets(4)


def seconds(call: Callable[[], object]) -> float:
    """Return the median time of a call, its kernels included; the first one warms up."""
    times = []
    for _ in range(ROUNDS + 1):
        began = time.perf_counter()
        call()
        if DEVICE.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return median(times[1:])


def by_hand(images: Tensor, labels: Tensor, low: bool) -> None:
    """Distil for one epoch without the library."""
    teacher, student = resnet20().to(DEVICE).eval(), resnet20().to(DEVICE).train()
    optimizer = SGD(student.parameters())
    for rows in torch.randperm(len(images), device=images.device).split(BATCH):
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=low):
            with torch.no_grad():
                targets = teacher(images[rows])
            logits = student(images[rows])
        q, p = (F.log_softmax(each.float() / 4, dim=1) for each in (logits, targets))
        soft = F.kl_div(q, p, reduction="batchmean", log_target=True) * 16
        loss = 0.1 * F.cross_entropy(logits.float(), labels[rows]) + 0.9 * soft
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def ours(data: TensorDataset, engine: tl.Engine) -> None:
    """Distil for one epoch with the library."""
    teacher, student = resnet20().to(DEVICE), resnet20().to(DEVICE)
    tl.distill(
        teacher, student, train=data, objective=OBJECTIVE, epochs=1, batch_size=BATCH,
        optimizer=SGD, engine=engine,
    )  # fmt: skip


def steps(data: TensorDataset) -> None:
    """Print the time of a step by hand and with the library."""
    images, labels = data.tensors
    number = IMAGES / BATCH / 1e3
    for precision in ("fp32", "bf16"):
        engine = tl.Engine(device=str(DEVICE), precision=precision, progress=False)
        hand = seconds(partial(by_hand, images, labels, precision == "bf16")) / number
        library = seconds(partial(ours, data, engine)) / number
        print(
            f"ResNet-20, {precision}: {hand:.3f} ms by hand, {library:.3f} ms with tutelage, "
            f"ratio {library / hand:.2f}"
        )


def objectives() -> None:
    """Print the time of soft targets over many classes, forward and backward."""
    student = torch.randn(512, CLASSES, device=DEVICE, requires_grad=True)
    teacher = torch.randn(512, CLASSES, device=DEVICE)

    def call(loss: Callable[..., Tensor]) -> None:
        loss(student, teacher, 4.0).mean().backward()

    plain = seconds(lambda: call(tl.objectives.soft_targets))
    compiled = torch.compile(tl.objectives.soft_targets)
    print(
        f"SoftTargets, 512 x {CLASSES:,}: {1e3 * plain:.3f} ms, "
        f"compiled {1e3 * seconds(lambda: call(compiled)):.3f} ms"
    )


def labelling(data: TensorDataset) -> None:
    """Print the examples per second of labelling, and of the teacher's forward pass."""
    teacher, engine = resnet20().to(DEVICE).eval(), tl.Engine(device=str(DEVICE), progress=False)

    def forward() -> None:
        with torch.inference_mode():
            for images in data.tensors[0].split(BATCH):
                teacher(images).cpu()

    def label() -> None:
        with tempfile.TemporaryDirectory() as out:
            tl.label(teacher, data, out=out, batch_size=BATCH, engine=engine)

    print(
        f"labelling: {IMAGES / seconds(label):,.0f} examples a second, the teacher's forward pass "
        f"{IMAGES / seconds(forward):,.0f}"
    )


def main() -> None:
    """Print all of it."""
    name = torch.cuda.get_device_name() if DEVICE.type == "cuda" else str(DEVICE)
    print(f"torch {torch.__version__}, {name}")
    torch.manual_seed(0)
    images, labels = torch.randn(IMAGES, 3, 32, 32), torch.randint(0, 100, (IMAGES,))
    data = TensorDataset(images.to(DEVICE), labels.to(DEVICE))
    steps(data)
    objectives()
    labelling(data)


if __name__ == "__main__":
    main()
