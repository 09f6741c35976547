"""Digits from three sources, MNIST, USPS and optdigits, as images of 16 × 16, and their networks.

The folder that TUTELAGE_DATA names holds image/mnist.npz, image/usps.npz and image/optdigits.npz.
The last 500 training images of each source are for validation. The test has 2,000 of
MNIST's test images, all 2,007 of USPS and the last 1,800 of optdigits, which has no split.
"""

from __future__ import annotations

import os
import sys
from copy import deepcopy
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset, TensorDataset

import tutelage as tl
from mnist import RUNS, adamw, warm_cosine

SIDE, DIGITS, VAL, TEST = 16, 10, 500, 2000
FEW = 1000
"""With fewer labels than these, more epochs are trained."""
ENGINE = tl.Engine(device="cpu", progress=False, checkpoint_seconds=120)
Split = tuple[Tensor, Tensor]


@cache
def everything() -> dict[str, dict[str, Split]]:
    """Return images `[n, 1, 16, 16]` in [0, 1] and digits, by source and part."""
    mnist, usps, optdigits = (_read(name) for name in ("mnist", "usps", "optdigits"))
    end = len(optdigits["x"]) - 1800
    x, y = optdigits["x"], optdigits["y"]
    return {
        "mnist": _parts(_of(mnist, "train"), _of(mnist, "test", TEST)),
        "usps": _parts(_of(usps, "train"), _of(usps, "test")),
        "optdigits": _parts(_images(x[:end], y[:end], 16), _images(x[end:], y[end:], 16)),
    }


def labelled(seed: int, each: int) -> tl.data.Domains:
    """Sample images of each source by a seed, without regard to their digits."""
    generator = torch.Generator().manual_seed(seed)
    sets = {}
    for name, parts in everything().items():
        images, digits = parts["train"]
        rows = torch.randperm(len(images), generator=generator)[:each]
        sets[name] = TensorDataset(images[rows], digits[rows])
    return tl.data.domains(sets)


def held_out(part: str) -> tl.data.Domains:
    """Return the validation or test images of all sources."""
    sets = {name: TensorDataset(*parts[part]) for name, parts in everything().items()}
    return tl.data.domains(sets)


def cnn(channels: int, dropout: float = 0.0) -> nn.Sequential:
    """Return two convolutions, the second with twice the channels, and two linear layers."""
    return nn.Sequential(
        nn.Conv2d(1, channels, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(channels, 2 * channels, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(32 * channels, 8 * channels), nn.ReLU(), nn.Dropout(dropout),
        nn.Linear(8 * channels, DIGITS),
    )  # fmt: skip


def specialist(name: str, own: Dataset[Any], seed: int, labels: int) -> nn.Module:
    """Return a network of four times the student's channels, trained on one source's images."""
    torch.manual_seed(seed)
    epochs = 120 if labels < FEW else 20
    return tl.fit(cnn(32, dropout=0.3), train=own, epochs=epochs, **_training(name, seed)).student


def generalist(data: tl.data.Domains, seed: int, labels: int) -> nn.Module:
    """Return such a network trained on the images of all sources."""
    return specialist(f"digits-{labels}-all", data, seed, labels)


def specialised(
    name: str, model: nn.Module, own: TensorDataset, seed: int, labels: int
) -> nn.Module:
    """Return a copy of the generalist, fine-tuned on one source at a lower learning rate."""
    settings: dict[str, Any] = _training(name, seed) | {"optimizer": adamw(3e-4, 0.05)}
    epochs = 40 if labels < FEW else 7
    return tl.fine_tune(deepcopy(model), train=own, epochs=epochs, **settings).student


def _training(name: str, seed: int) -> dict[str, Any]:
    return {
        "batch_size": 32,
        "optimizer": adamw(1e-3, 0.05),
        "scheduler": warm_cosine,
        "transform": tl.data.Mixup(),
        "engine": ENGINE,
        "seed": seed,
        "out": RUNS / "specialists" / f"{name}-seed{seed}",
    }


optimizer = adamw(1e-3, 0.05)
student = partial(cnn, 8)
wide = partial(cnn, 16)


def _read(name: str) -> dict[str, np.ndarray]:
    folder = os.environ.get("TUTELAGE_DATA")
    if not folder:
        sys.exit(f"TUTELAGE_DATA must name the folder with image/{name}.npz")
    with np.load(Path(folder) / "image" / f"{name}.npz") as content:
        return dict(content)


def _parts(train: Split, test: Split) -> dict[str, Split]:
    """Split off the last training images for validation."""
    images, digits = train
    return {
        "train": (images[:-VAL], digits[:-VAL]),
        "val": (images[-VAL:], digits[-VAL:]),
        "test": test,
    }


def _of(content: dict[str, np.ndarray], split: str, rows: int | None = None) -> Split:
    return _images(content[f"x_{split}"][:rows], content[f"y_{split}"][:rows], 255)


def _images(pixels: np.ndarray, digits: np.ndarray, white: int) -> Split:
    """Return images of one size: larger ones averaged, smaller ones interpolated."""
    images = torch.from_numpy(pixels).float().div(white).unsqueeze(1)
    if images.shape[2] > SIDE:
        images = F.adaptive_avg_pool2d(images, SIDE)
    elif images.shape[2] < SIDE:
        images = F.interpolate(images, SIDE, mode="bilinear", align_corners=False)
    return images, torch.from_numpy(digits).long()
