"""Views of MNIST as domains: turned, or with another appearance; 14 × 14 pixels.

The folder that TUTELAGE_DATA names holds image/mnist.npz. No image is in two domains, nor in two of
labelled, unlabelled, validation and test images.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import ConcatDataset, TensorDataset

import tutelage as tl
from mnist import SIDE, images

SMALL, DIGITS = SIDE // 2, 10
LABELLED, UNLABELLED, VAL, TEST = 100, 1000, 500, 1000
"""Images of each domain: for training (of each seed), for validation, for the test."""
View = Callable[[Tensor], Tensor]


def quarters(pixels: Tensor, turns: int) -> Tensor:
    """Return images turned by quarters of a circle."""
    return pixels.rot90(turns, dims=(2, 3))


def inverted(pixels: Tensor) -> Tensor:
    """Return black for white."""
    return 1 - pixels


def noisy(pixels: Tensor) -> Tensor:
    """Return images with Gaussian noise, always the same for one image."""
    noise = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(0))
    return (pixels + 0.5 * noise).clamp(0, 1)


def blurred(pixels: Tensor) -> Tensor:
    """Return means over 5 × 5 pixels."""
    return F.avg_pool2d(pixels, 5, stride=1, padding=2)


VIEWS: dict[str, dict[str, View]] = {
    "turns": {
        "upright": partial(quarters, turns=0),
        "quarter": partial(quarters, turns=1),
        "half": partial(quarters, turns=2),
        "three quarters": partial(quarters, turns=3),
    },
    "appearance": {
        "plain": partial(quarters, turns=0),
        "inverted": inverted,
        "noisy": noisy,
        "blurred": blurred,
    },
}


@cache
def pixels_of(split: str) -> tuple[Tensor, Tensor]:
    """Return the images of a split, `[images, 1, 14, 14]` in [0, 1], and their digits."""
    pixels, digits = images(split).tensors
    return F.avg_pool2d(pixels.reshape(-1, 1, SIDE, SIDE), 2), digits


def in_views(kind: str, split: str, rows: Tensor) -> dict[str, TensorDataset]:
    """Return an equal part of the rows in each view."""
    pixels, digits = pixels_of(split)
    views = VIEWS[kind]
    parts = zip(views.items(), rows.chunk(len(views)), strict=True)
    return {name: TensorDataset(view(pixels[part]), digits[part]) for (name, view), part in parts}


def sample(kind: str, unlabelled: bool, seed: int) -> tl.data.Domains:
    """Sample labelled images of each view by a seed, and unlabelled ones if wanted."""
    views, held_out = len(VIEWS[kind]), len(VIEWS[kind]) * VAL
    order = torch.randperm(60_000 - held_out, generator=torch.Generator().manual_seed(seed))
    labelled = in_views(kind, "train", order[: views * LABELLED])
    if not unlabelled:
        return tl.data.domains(labelled)
    more = in_views(kind, "train", order[views * LABELLED :][: views * UNLABELLED])
    return tl.data.domains(
        {
            name: ConcatDataset([own, tl.data.unlabelled(more[name])])
            for name, own in labelled.items()
        }
    )


def held_out(kind: str, part: str) -> tl.data.Domains:
    """Return the validation or the test images, the last ones of either split."""
    number, total = (VAL, 60_000) if part == "val" else (TEST, 10_000)
    rows = torch.arange(total - number * len(VIEWS[kind]), total)
    return tl.data.domains(in_views(kind, "train" if part == "val" else "test", rows))


def cnn(channels: int) -> nn.Sequential:
    """Return two convolutions, the second with twice the channels, and two linear layers."""
    return nn.Sequential(
        nn.Conv2d(1, channels, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(channels, 2 * channels, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(18 * channels, 8 * channels), nn.ReLU(),
        nn.Linear(8 * channels, DIGITS),
    )  # fmt: skip
