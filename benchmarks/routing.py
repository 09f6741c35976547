"""Seconds a step with three routed specialists against a step with one teacher of the same size.

    python benchmarks/routing.py

Each example is answered once in either case; what routing adds is taking the batch apart, starting
three smaller forward passes in place of one, and putting the answers together. Three settings, at
batch 128: ResNet-20 teacher and student on 3×32×32 images, and MLPs of two widths on 64 inputs, of
which the small one shows the overhead alone. A step asks the teacher, runs the student forward and
back and updates it. Both sides see the same batches, whose examples come from three domains at
random. Rounds alternate between the two, each first in every other one; the ratio is the median
over rounds of the paired ratios.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import median

import torch
from torch import nn

import tutelage as tl
from overhead import keep_pages, resnet20

DOMAINS = ("photo", "sketch", "painting")
BATCH = 128


def mlp(hidden: int) -> nn.Module:
    """Return a network with two hidden layers."""
    layers = [nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(hidden, 100))


def batches(shape: Sequence[int], number: int) -> list[tl.Batch]:
    """Return batches whose examples come from the three domains at random."""
    generator = torch.Generator().manual_seed(0)
    return [
        tl.Batch(
            torch.randn(BATCH, *shape, generator=generator),
            domain=[DOMAINS[place] for place in torch.randint(3, (BATCH,), generator=generator)],
        )
        for _ in range(number)
    ]


def taught_by(teacher: object, student: nn.Module) -> Callable[[tl.Batch], None]:
    """Return a function that takes one step."""
    distiller = tl.Distiller(student, teacher, tl.SoftTargets(4))  # pyright: ignore[reportArgumentType]
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
) -> float:
    """Print and return the ratio of the two times a step."""
    one_domain = [replace(batch, domain=None) for batch in data]
    kinds = {
        "one": (taught_by(teacher(), student()), one_domain),
        "three": (taught_by({each: teacher() for each in DOMAINS}, student()), data),
    }
    times: dict[str, list[float]] = {kind: [] for kind in kinds}
    for number in range(rounds + 1):
        for kind in sorted(kinds, reverse=number % 2 == 0):  # each first in every other round
            step, own = kinds[kind]
            began = time.perf_counter()
            for batch in own:
                step(batch)
            times[kind].append((time.perf_counter() - began) / len(own))
    one, three = times["one"][1:], times["three"][1:]  # the first round warms up
    ratio = median(b / a for a, b in zip(one, three, strict=True))
    print(
        f"{name:44} {1e3 * median(one):8.3f} ms one teacher {1e3 * median(three):8.3f} ms three "
        f"specialists   ratio {ratio:.3f}",
        flush=True,
    )
    return ratio


def main() -> None:
    """Run the comparisons."""
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; milliseconds a step")
    images = batches((3, 32, 32), 4)
    compare("ResNet-20 teaches ResNet-20", resnet20, resnet20, images, 11)
    vectors = batches((64,), 50)
    compare("MLP of width 1024 teaches width 256", lambda: mlp(1024), lambda: mlp(256), vectors, 21)
    compare("MLP of width 64 teaches width 64", lambda: mlp(64), lambda: mlp(64), vectors, 21)


if __name__ == "__main__":
    keep_pages()
    main()
