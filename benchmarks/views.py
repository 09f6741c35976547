"""The cost of a separate seed for each augmented view.

    python benchmarks/views.py

2,048 uint8 images of 3×32×32, loaded in this process by a DataLoader at batch 128 or asked for one
by one: with a transform as usual, and as `tl.data.Views` of the same transform. Rounds alternate;
times are this process's CPU seconds, the ratio is the median over rounds of the paired ratios. The
last line is the lower bound: the time of seeding torch's generator and of one random number.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

import tutelage as tl

ROUNDS = 9
ONE_BY_ONE = 512


class Images(Dataset[Any]):
    """Images, with an optional transform."""

    def __init__(self, transform: Callable[[Tensor], Tensor] | None = None) -> None:
        generator = torch.Generator().manual_seed(0)
        self.images = torch.randint(256, (2048, 3, 32, 32), generator=generator).byte()
        self.transform = transform

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        """Return an image and a label."""
        image = self.images[row]
        return (image if self.transform is None else self.transform(image)), row % 10


def with_all_generators(image: Tensor) -> Tensor:
    """Crop and flip, with random numbers of numpy and Python too."""
    shifted = CROP_AND_FLIP(image)
    return shifted if np.random.rand() < random.random() else shifted.flip(-2)


CROP_AND_FLIP = v2.Compose([v2.RandomCrop(32, padding=4), v2.RandomHorizontalFlip()])
TRANSFORMS = {
    "RandomCrop + RandomHorizontalFlip": CROP_AND_FLIP,
    "the same, with numpy and Python too": with_all_generators,
    "TrivialAugmentWide": v2.TrivialAugmentWide(),
}


def by_batches(dataset: Dataset[Any]) -> float:
    """Return the microseconds of CPU time for each example."""
    began = time.process_time()
    examples = sum(len(images) for images, _ in DataLoader(dataset, 128))
    return (time.process_time() - began) / examples * 1e6


def one_by_one(dataset: Dataset[Any]) -> float:
    """Return the same without batches."""
    began = time.process_time()
    for row in range(ONE_BY_ONE):
        dataset[row]
    return (time.process_time() - began) / ONE_BY_ONE * 1e6


def compare(name: str, transform: Callable[[Tensor], Tensor], ask: Callable[..., float]) -> None:
    """Print the times of both sides and their ratio."""
    sides = Images(transform), tl.data.Views(Images(), transform)
    rounds = [[ask(side) for side in sides] for _ in range(ROUNDS)]
    usual, views = (median(column) for column in zip(*rounds, strict=True))
    ratio = median(views / usual for usual, views in rounds)
    print(f"{name:36} {ask.__name__:12} {usual:7.1f} {views:7.1f} {ratio:7.2f}")


def floor() -> None:
    """Print the lower bound of seeding each example."""
    times = []
    for _ in range(ROUNDS):
        began = time.process_time()
        for seed in range(5000):
            torch.default_generator.manual_seed(seed)
            torch.rand(())
        seeded = time.process_time() - began
        began = time.process_time()
        for _ in range(5000):
            torch.rand(())
        times.append((seeded - (time.process_time() - began)) / 5000 * 1e6)
    print(f"{'lower bound: torch seeded, one number':36} {'':12} {'':7} {median(times):7.1f}")


def main() -> None:
    """Compare all."""
    torch.set_num_threads(1)
    print(f"{'µs an example':36} {'':12} {'usual':>7} {'views':>7} {'ratio':>7}")
    for name, transform in TRANSFORMS.items():
        for ask in (by_batches, one_by_one):
            compare(name, transform, ask)
    floor()


if __name__ == "__main__":
    main()
