"""The digits of scikit-learn: real scans, and how the demo divides them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor
from torch.utils.data import TensorDataset

from tutelage.signals import UNLABELLED

CLASSES = 10
TRAIN_IMAGES = 1200
_BRIGHTEST = 16
_SPLIT_SEED = 0


@dataclass(frozen=True)
class Digits:
    """Images `[images, 1, 8, 8]` in [0, 1] and their digits `[images]`, for training and test."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor


class Draw(NamedTuple):
    """The positions of the training images with a label for the students, and of all others."""

    labelled: Tensor
    unlabelled: Tensor


def digits() -> Digits:
    """Return the 1,797 images, 1,200 for training and 597 for the test; always the same."""
    content: Any = load_digits()
    images = torch.tensor(content.images, dtype=torch.float32).unsqueeze(1) / _BRIGHTEST
    labels = torch.tensor(content.target, dtype=torch.int64)
    train, test = _divided(labels, TRAIN_IMAGES, _SPLIT_SEED)
    return Digits(images[train], labels[train], images[test], labels[test])


def draw(labels: Tensor, labelled: int, seed: int) -> Draw:
    """Draw the images that keep their label, each digit in proportion."""
    return Draw(*_divided(labels, labelled, seed))


def labelled_set(content: Digits, images: Draw) -> TensorDataset:
    """Return the drawn images with their labels."""
    rows = images.labelled
    return TensorDataset(content.train_images[rows], content.train_labels[rows])


def mixed_set(content: Digits, images: Draw) -> TensorDataset:
    """Return the drawn images with their labels, and all others without (−100)."""
    unknown = torch.full((len(images.unlabelled),), UNLABELLED)
    labels = torch.cat([content.train_labels[images.labelled], unknown])
    return TensorDataset(content.train_images[torch.cat(images)], labels)


def _divided(labels: Tensor, first: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return the positions of so many images, each digit in proportion, and of the rest."""
    chosen, rest = train_test_split(
        range(len(labels)), train_size=first, stratify=labels.numpy(), random_state=seed
    )
    return torch.tensor(chosen), torch.tensor(rest)
