"""Seconds a step with three routed specialists against a step with one teacher of the same size.

    python benchmarks/routing.py

Each example passes through one teacher in either case. Routing adds splitting the batch, three
smaller forward passes instead of one, and joining the outputs. To separate these costs, a third
side runs three teachers on the first, second and last third of the batch, regardless of domain:
three passes without routing.

Three settings, at batch 128: ResNet-20 teacher and student on 3×32×32 images, and MLPs of two
widths on 64 inputs, of which the small one shows mostly overhead. A step runs the teacher, and the
student forward and backward, and updates it. All sides use the same batches, whose examples come
from three domains at random. Sides alternate, each first in every third round; a ratio is the
median over rounds of the paired ratios.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median

import torch
from torch import nn

import tutelage as tl
from overhead import keep_pages, resnet20
from tutelage.teachers import AnyTeacher

DOMAINS = ("photo", "sketch", "painting")
BATCH = 128


def mlp(hidden: int) -> nn.Module:
    """Return a network with two hidden layers."""
    layers = [nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(hidden, 100))


class InThirds(tl.teachers.Teacher):
    """Three teachers, each for a third of every batch."""

    def __init__(self, teachers: Sequence[nn.Module]) -> None:
        self.members = tuple(tl.teachers.Live(each) for each in teachers)

    def signals(self, batch: tl.Batch, fields: tl.Fields) -> tl.Signals:
        """Return the three outputs joined."""
        ends = [round(len(batch) * part / 3) for part in range(4)]
        outputs = [
            member.signals(batch[begin:end], fields).logits
            for member, begin, end in zip(self.members, ends[:-1], ends[1:], strict=True)
        ]
        return tl.Signals(torch.cat(outputs))

    def fingerprint(self) -> str:
        """Return nothing: no run is resumed."""
        return ""


def batches(shape: Sequence[int], number: int) -> list[tl.Batch]:
    """Return batches whose examples come from the three domains at random."""
    generator = torch.Generator().manual_seed(0)
    return [
        tl.Batch(
            torch.randn(BATCH, *shape, generator=generator),
            domain=[DOMAINS[number] for number in torch.randint(3, (BATCH,), generator=generator)],
        )
        for _ in range(number)
    ]


def distilled_from(teacher: AnyTeacher, student: nn.Module) -> Callable[[tl.Batch], None]:
    """Return a function that takes one step."""
    distiller = tl.Distiller(student, teacher, tl.SoftTargets(4))
    distiller.train()
    optimizer = torch.optim.SGD(distiller.parameters(), lr=0.01, momentum=0.9)

    def step(batch: tl.Batch) -> None:
        optimizer.zero_grad()
        distiller(batch).total.backward()
        optimizer.step()

    return step


def compare(
    name: str,
    teacher: Callable[[], nn.Module],
    student: Callable[[], nn.Module],
    data: list[tl.Batch],
    rounds: int,
) -> None:
    """Print the times of a step and their ratios."""
    steps = {
        "one teacher": distilled_from(teacher(), student()),
        "three passes": distilled_from(InThirds([teacher() for _ in DOMAINS]), student()),
        "three specialists": distilled_from({each: teacher() for each in DOMAINS}, student()),
    }
    times: dict[str, list[float]] = {kind: [] for kind in steps}
    kinds = list(steps)
    for number in range(rounds + 1):
        for kind in (*kinds[number % 3 :], *kinds[: number % 3]):
            began = time.perf_counter()
            for batch in data:
                steps[kind](batch)
            times[kind].append((time.perf_counter() - began) / len(data))
    one = times["one teacher"][1:]  # the first round warms up
    print(f"{name}: {1e3 * median(one):.3f} ms with one teacher", flush=True)
    for kind in kinds[1:]:
        ratio = median(b / a for a, b in zip(one, times[kind][1:], strict=True))
        print(f"  {1e3 * median(times[kind][1:]):9.3f} ms {kind:18} ratio {ratio:.3f}", flush=True)


def main() -> None:
    """Run the comparisons."""
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; milliseconds a step")
    images = batches((3, 32, 32), 4)
    compare("ResNet-20 into ResNet-20", resnet20, resnet20, images, 12)
    vectors = batches((64,), 50)
    compare("MLP of width 1024 into width 256", lambda: mlp(1024), lambda: mlp(256), vectors, 21)
    compare("MLP of width 64 into width 64", lambda: mlp(64), lambda: mlp(64), vectors, 21)


if __name__ == "__main__":
    keep_pages()
    main()
