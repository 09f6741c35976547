"""Common to the MNIST benchmarks: data, the networks of Hinton et al. 2015, and the teacher.

The folder that TUTELAGE_DATA names holds image/mnist.npz with the 60,000 training and 10,000 test
images in their original order. Results of studies, and the teacher, are kept in the folder that
TUTELAGE_RUNS names (by default "runs"), so that an interrupted benchmark resumes.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, Dataset, TensorDataset

import tutelage as tl

RUNS = Path(os.environ.get("TUTELAGE_RUNS", "runs"))
BATCH = 256
ENGINE = tl.Engine(precision="bf16", progress=False, checkpoint_seconds=120)
SIDE, PIXELS, CLASSES, SHIFT = 28, 784, 10, 2


def images(split: str) -> TensorDataset:
    """Return the images `[images, 784]` in [0, 1] and their digits: "train" or "test"."""
    folder = os.environ.get("TUTELAGE_DATA")
    if not folder:
        sys.exit("TUTELAGE_DATA must name the folder with image/mnist.npz")
    content = np.load(Path(folder) / "image" / "mnist.npz")
    pixels = torch.from_numpy(content[f"x_{split}"]).float().div(255).reshape(-1, PIXELS)
    return TensorDataset(pixels, torch.from_numpy(content[f"y_{split}"]).long())


def held_out(train: TensorDataset, rows: int = 10_000) -> tuple[TensorDataset, TensorDataset]:
    """Split off the last rows."""
    first, last = (TensorDataset(*(each[part] for each in train.tensors))
                   for part in (slice(-rows), slice(-rows, None)))  # fmt: skip
    return first, last


class Jittered(Dataset[Any]):
    """Images shifted at random by up to two pixels in each direction.

    `__getitems__` makes a batch at once.
    """

    def __init__(self, plain: TensorDataset) -> None:
        pixels, self.labels = plain.tensors
        padded = F.pad(pixels.reshape(-1, SIDE, SIDE), (SHIFT,) * 4)
        self.windows = padded.unfold(1, SIDE, 1).unfold(2, SIDE, 1)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, rows: list[int]) -> tuple[Tensor, Tensor]:
        """Return a batch: images and labels."""
        chosen = torch.tensor(rows)
        down, right = torch.randint(0, 2 * SHIFT + 1, (2, len(rows)))
        return self.windows[chosen, down, right].reshape(-1, PIXELS), self.labels[chosen]


def jittered(plain: TensorDataset, seed: int = 0) -> DataLoader[Any]:
    """Return a loader of shifted images, shuffled in each epoch."""
    return DataLoader(
        Jittered(plain),
        BATCH,
        shuffle=True,
        collate_fn=_unchanged,  # pyright: ignore[reportArgumentType] - of a whole batch
        generator=torch.Generator().manual_seed(seed),
    )


def net(hidden: int, dropout: float = 0.0) -> nn.Sequential:
    """Return 784-hidden-hidden-10 with ReLU, and dropout after each hidden layer if wanted."""
    drop = [nn.Dropout(dropout)] if dropout else []
    return nn.Sequential(
        nn.Linear(PIXELS, hidden), nn.ReLU(), *drop,
        nn.Linear(hidden, hidden), nn.ReLU(), *drop,
        nn.Linear(hidden, CLASSES),
    )  # fmt: skip


def adam(rate: float) -> Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]:
    """Return Adam with a learning rate."""
    return partial(torch.optim.Adam, lr=rate, fused=True)


def adamw(rate: float, decay: float) -> Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]:
    """Return AdamW with a learning rate and weight decay."""
    return partial(torch.optim.AdamW, lr=rate, weight_decay=decay, fused=True)


def sgd(rate: float) -> Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]:
    """Return SGD with a learning rate and Nesterov momentum of 0.9."""
    return partial(torch.optim.SGD, lr=rate, momentum=0.9, nesterov=True)


def warm_cosine(optimizer: torch.optim.Optimizer, steps: int) -> LambdaLR:
    """Raise the learning rate for a twentieth of the steps, then lower it to 0 along a cosine."""
    return LambdaLR(optimizer, partial(_warm_cosine, steps=steps))


def _warm_cosine(step: int, steps: int) -> float:
    part = min(step / steps, 1.0)
    if part < 0.05:
        return part / 0.05
    return 0.5 * (1 + math.cos(math.pi * (part - 0.05) / 0.95))


COMMON: dict[str, Any] = {"batch_size": BATCH, "scheduler": warm_cosine, "engine": ENGINE}
"""Settings of all training on unshifted images."""


def small_net() -> nn.Sequential:
    """Return the student of the paper, 784-800-800-10."""
    return net(800)


def big_net(train: TensorDataset | None = None, name: str = "mnist-teacher") -> nn.Module:
    """Return the teacher: 784-1200-1200-10 with dropout, trained on shifted images.

    Args:
        train: The unshifted images; None for all 60,000.
        name: Of its folder.
    """
    torch.manual_seed(0)
    teacher = net(1200, dropout=0.4)
    tl.fit(
        teacher,
        train=jittered(images("train") if train is None else train),
        epochs=110,
        optimizer=adam(1e-3),
        scheduler=warm_cosine,
        engine=ENGINE,
        out=RUNS / name,
    )
    return teacher


def errors_table(study: tl.Study, of: int = 10_000) -> None:
    """Print test errors, the mean over seeds and each seed, and by how many the arms differ.

    Intervals are of 95 %, over seeds and test images.
    """
    head = "mean | each seed | agreement with the teacher, %"
    print(f"\n| test errors of {of:,} | {head} |\n|---|---:|---|---:|")
    teacher = study.results.teacher
    if teacher is not None:
        print(f"| teacher | {round(of * (1 - teacher.metrics['accuracy']))} | | |")
    for arm in study.results.arms:
        counts = [round(of * (1 - value)) for value in arm.values("accuracy")]
        agreement = arm.values("agreement")
        agreed = f"{100 * fmean(agreement):.2f}" if agreement else ""
        print(f"| {arm.name} | {fmean(counts):.0f} | {', '.join(map(str, counts))} | {agreed} |")
    print("\n| | compared with | fewer errors (95 %) |\n|---|---|---:|")
    for each in study.results.comparisons:
        ends = each.interval
        if ends is not None:
            shown = f"{of * ends.mean:.0f} ({of * ends.low:.0f} to {of * ends.high:.0f})"
            print(f"| {each.arm} | {each.other} | {shown} |")
    print(f"\n{study.verdict}\n{study.report()}", flush=True)


def _unchanged(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return batch
