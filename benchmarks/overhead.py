"""Seconds a step of `distill` against a hand-written loop of the same arithmetic.

    python benchmarks/overhead.py

Three settings: a ResNet-20 student on 3×32×32 images at batch 128; the digits MLP at batch 64 with
the same DataLoader passed in; and the MLP where `distill` gets the tensor data set and the
hand-written loop its ordinary DataLoader. Rounds alternate between the two, each first in every
other one, so that noise hits both alike; the ratio is the median over rounds of the paired ratios.

The C library gives large blocks back to the system and takes them again, page by page, depending on
the order of all allocations before: up to 50 ms of a 200 ms step, by luck of the process and not of
the loop. So the benchmark starts itself anew with that turned off for both sides;
`--default-malloc` leaves it on.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from functools import partial
from statistics import median

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import tutelage as tl

OPTIMIZER = partial(torch.optim.SGD, lr=0.01, momentum=0.9)
OBJECTIVE = 0.1 * tl.HardLabels() + 0.9 * tl.SoftTargets(4)


class Block(nn.Module):
    """A basic block of He et al. 2016 for CIFAR."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width_in, width, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(width), nn.BatchNorm2d(width)])
        self.stride, self.wider = stride, width - width_in

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the block's map."""
        out = F.relu(self.norms[0](self.first(inputs)))
        short = F.pad(inputs[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.wider))
        return F.relu(self.norms[1](self.second(out)) + short)


def resnet20() -> nn.Module:
    """Return the 20-layer network for 32×32 images."""
    blocks = [
        Block(
            width if place or width == 16 else width // 2, width, 1 if place or width == 16 else 2
        )
        for width in (16, 32, 64)
        for place in range(3)
    ]
    stem = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 100))


def mlp(hidden: int) -> nn.Module:
    """Return a digits classifier with one hidden layer."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, 10))


def digit_networks() -> tuple[nn.Module, nn.Module]:
    """Return teacher and student for the digits."""
    return mlp(256), mlp(32)


def by_hand(teacher: nn.Module, student: nn.Module, loader: DataLoader, epochs: int) -> None:
    """Distil in the twenty lines that one writes without a library."""
    optimizer = OPTIMIZER(student.parameters())
    teacher.eval()
    student.train()
    for _ in range(epochs):
        total = 0.0
        for inputs, labels in loader:
            with torch.inference_mode():
                targets = teacher(inputs)
            logits = student(inputs)
            log_p = F.log_softmax(targets / 4, dim=1)
            log_q = F.log_softmax(logits / 4, dim=1)
            soft = F.kl_div(log_q, log_p.clone(), reduction="batchmean", log_target=True) * 16
            loss = 0.1 * F.cross_entropy(logits, labels) + 0.9 * soft
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()


def ours(teacher: nn.Module, student: nn.Module, data: object, epochs: int) -> None:
    """Distil with the library, as a user would."""
    tl.distill(
        teacher,
        student,
        train=data,
        objective=OBJECTIVE,
        epochs=epochs,
        batch_size=64,
        optimizer=OPTIMIZER,
    )


def compare(
    name: str,
    make: Callable[[], tuple[nn.Module, nn.Module]],
    loader: DataLoader,
    passed: object,
    epochs: int,
    rounds: int,
) -> float:
    """Print and return the ratio of the two times a step."""
    times: dict[str, list[float]] = {"hand": [], "tutelage": []}
    for number in range(rounds + 1):
        for kind in sorted(times, reverse=number % 2 == 0):  # each first in every other round
            teacher, student = make()
            began = time.perf_counter()
            if kind == "hand":
                by_hand(teacher, student, loader, epochs)
            else:
                ours(teacher, student, passed, epochs)
            times[kind].append((time.perf_counter() - began) / (epochs * len(loader)))
    hand, library = times["hand"][1:], times["tutelage"][1:]  # the first round warms up
    ratio = median(b / a for a, b in zip(hand, library, strict=True))
    print(
        f"{name:42} {1e3 * median(hand):8.3f} ms by hand {1e3 * median(library):8.3f} ms tutelage"
        f"   ratio {ratio:.3f}",
        flush=True,
    )
    return ratio


KEEPING = {
    "MALLOC_MMAP_THRESHOLD_": str(2**33),
    "MALLOC_TRIM_THRESHOLD_": str(2**34),
    "MALLOC_TOP_PAD_": str(2**30),
}
"""Settings with which glibc's allocator keeps what it has, in the environment of a process."""


def keep_pages() -> None:
    """Start this program anew with an allocator that keeps what it has, if it is not so already."""
    if "--default-malloc" not in sys.argv and not KEEPING.items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | KEEPING)


def main() -> None:
    """Run the three comparisons."""
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; milliseconds a step")
    images = TensorDataset(torch.randn(1024, 3, 32, 32), torch.randint(0, 100, (1024,)))
    loader = DataLoader(images, 128, shuffle=True)
    compare("ResNet-20, same DataLoader", lambda: (resnet20(), resnet20()), loader, loader, 1, 11)
    pixels, labels = load_digits(return_X_y=True)
    digits = TensorDataset(torch.tensor(pixels, dtype=torch.float32) / 16, torch.tensor(labels))
    loader = DataLoader(digits, 64, shuffle=True)
    compare("digits MLP, same DataLoader", digit_networks, loader, loader, 20, 11)
    compare("digits MLP, tensor set against DataLoader", digit_networks, loader, digits, 20, 11)


if __name__ == "__main__":
    keep_pages()
    main()
