"""The digits of scikit-learn, a teacher of 90 thousand parameters and a student of four thousand.

The images are real scans; this is how the demo divides them, and what it trains on them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.data import TensorDataset

from tutelage.data import randomness
from tutelage.labels import UNLABELLED
from tutelage.training import Engine, fit
from tutelage.training.notices import without_notices

TRAIN_IMAGES = 1200
BATCH_SIZE = 50
TEACHER_LEARNING_RATE = 0.003  # of AdamW, falling to 0 along a cosine, as that of the students
_BRIGHTEST, _TEACHER_SEED = 16, 0


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
    train, test = draw(labels, TRAIN_IMAGES, seed=0)
    return Digits(images[train], labels[train], images[test], labels[test])


def draw(labels: Tensor, labelled: int, seed: int) -> Draw:
    """Draw the images that keep their label, each digit in proportion."""
    chosen, rest = train_test_split(
        range(len(labels)), train_size=labelled, stratify=labels.numpy(), random_state=seed
    )
    return Draw(torch.tensor(chosen), torch.tensor(rest))


def labelled_set(content: Digits, images: Draw) -> TensorDataset:
    """Return the drawn images with their labels."""
    rows = images.labelled
    return TensorDataset(content.train_images[rows], content.train_labels[rows])


def mixed_set(content: Digits, images: Draw) -> TensorDataset:
    """Return the drawn images with their labels, and all others without (−100)."""
    unknown = torch.full((len(images.unlabelled),), UNLABELLED)
    labels = torch.cat([content.train_labels[images.labelled], unknown])
    return TensorDataset(content.train_images[torch.cat(images)], labels)


def whole_set(content: Digits) -> TensorDataset:
    """Return all training images with their labels: what the teacher learns from."""
    return TensorDataset(content.train_images, content.train_labels)


def make_teacher() -> nn.Sequential:
    """Return three convolutions with batch normalisation and a hidden layer."""

    def normalised(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
        convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        return convolution, nn.BatchNorm2d(outputs), nn.ReLU()

    return nn.Sequential(
        *normalised(1, 32),
        *normalised(32, 64),
        nn.MaxPool2d(2),
        *normalised(64, 64),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(64 * 2 * 2, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )


def make_student() -> nn.Sequential:
    """Return two small convolutions and one linear layer."""
    return nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(12, 24, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(24 * 2 * 2, 10),
    )


def train_teacher(content: Digits, epochs: int, progress: bool = False) -> nn.Module:
    """Train the teacher on all training images and their labels."""
    with randomness.preserved():
        torch.manual_seed(_TEACHER_SEED)
        teacher = make_teacher()
    with without_notices():  # a quick demo has few steps
        fit(
            teacher,
            train=whole_set(content),
            epochs=epochs,
            batch_size=BATCH_SIZE,
            seed=_TEACHER_SEED,
            optimizer=partial(torch.optim.AdamW, lr=TEACHER_LEARNING_RATE),
            scheduler=CosineAnnealingLR,
            engine=Engine(device="cpu", progress=progress),
        )
    return teacher
