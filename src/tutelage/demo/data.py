"""The digits of scikit-learn: real scans, and how the demo divides them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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
    """Images `[images, 1, 8, 8]` in [0, 1] and their digits `[images]`.

    Args:
        train_images: Those to learn from.
        train_labels: Their digits.
        test_images: Those that only the final metrics are measured on.
        test_labels: Their digits.
    """

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor


@dataclass(frozen=True)
class Draw:
    """Which training images carry their label for the students, and which do not.

    Args:
        labelled: Positions among the training images.
        unlabelled: All other positions.
    """

    labelled: Tensor
    unlabelled: Tensor


def digits() -> Digits:
    """Return the 1,797 images, 1,200 for training and 597 for the test; always the same."""
    content: Any = load_digits()
    images = torch.tensor(content.images, dtype=torch.float32).unsqueeze(1) / _BRIGHTEST
    labels = torch.tensor(content.target, dtype=torch.int64)
    train, test = train_test_split(
        range(len(labels)),
        train_size=TRAIN_IMAGES,
        stratify=content.target,
        random_state=_SPLIT_SEED,
    )
    return Digits(images[train], labels[train], images[test], labels[test])


def draw(labels: Tensor, labelled: int, seed: int) -> Draw:
    """Draw the images that keep their label, each digit in proportion.

    Args:
        labels: Of all training images.
        labelled: How many to draw.
        seed: Another seed, other images.
    """
    chosen, rest = train_test_split(
        range(len(labels)), train_size=labelled, stratify=labels.numpy(), random_state=seed
    )
    return Draw(torch.tensor(chosen), torch.tensor(rest))


def labelled_set(content: Digits, images: Draw) -> TensorDataset:
    """Return the drawn images with their labels."""
    return TensorDataset(content.train_images[images.labelled], _labels(content, images))


def mixed_set(content: Digits, images: Draw) -> TensorDataset:
    """Return the drawn images with their labels, and all others without (−100)."""
    positions = torch.cat([images.labelled, images.unlabelled])
    unknown = torch.full((len(images.unlabelled),), UNLABELLED)
    labels = torch.cat([_labels(content, images), unknown])
    return TensorDataset(content.train_images[positions], labels)


def _labels(content: Digits, images: Draw) -> Tensor:
    return content.train_labels[images.labelled]
