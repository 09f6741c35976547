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
from tutelage.demo.settings import BATCH_SIZE, TEACHER_LEARNING_RATE, DemoSettings
from tutelage.signals import UNLABELLED, Batch, Signals
from tutelage.teachers.live import Live
from tutelage.training import Engine, fit
from tutelage.wants import Fields

CLASSES = 10
TRAIN_IMAGES = 1200
_BRIGHTEST = 16
_SPLIT_SEED = 0
_IMAGE = 8
_TEACHER_SEED = 0


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


def whole_set(content: Digits) -> TensorDataset:
    """Return all training images with their labels: what the teacher learns from."""
    return TensorDataset(content.train_images, content.train_labels)


def _divided(labels: Tensor, first: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return the positions of so many images, each digit in proportion, and of the rest."""
    chosen, rest = train_test_split(
        range(len(labels)), train_size=first, stratify=labels.numpy(), random_state=seed
    )
    return torch.tensor(chosen), torch.tensor(rest)


def make_teacher() -> nn.Sequential:
    """Return three convolutions with batch normalisation and a hidden layer."""
    return nn.Sequential(
        *_normalised(1, 32),
        *_normalised(32, 64),
        nn.MaxPool2d(2),
        *_normalised(64, 64),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(64 * (_IMAGE // 4) ** 2, 128),
        nn.ReLU(),
        nn.Linear(128, CLASSES),
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
        nn.Linear(24 * (_IMAGE // 4) ** 2, CLASSES),
    )


def train_teacher(content: Digits, settings: DemoSettings, progress: bool = False) -> nn.Module:
    """Train the teacher on all training images and their labels."""
    with randomness.preserved():
        torch.manual_seed(_TEACHER_SEED)
        teacher = make_teacher()
    fit(
        teacher,
        train=whole_set(content),
        epochs=settings.teacher_epochs,
        batch_size=BATCH_SIZE,
        seed=_TEACHER_SEED,
        optimizer=partial(torch.optim.AdamW, lr=TEACHER_LEARNING_RATE),
        scheduler=CosineAnnealingLR,
        engine=Engine(device="cpu", progress=progress),
    )
    return teacher


class Remembering(Live):
    """A teacher that predicts known images once, since students see each of them many times."""

    def __init__(self, module: nn.Module, images: Tensor) -> None:
        super().__init__(module)
        ask, output = super().signals, Fields(output=True)
        # In batches as large as in training, so that the outputs are the same bits.
        batches = [Batch(each) for each in images.split(BATCH_SIZE)]
        self._outputs = torch.cat([ask(each, output).logits for each in batches])
        self._rows = {image.tobytes(): row for row, image in enumerate(images.numpy())}

    def signals(self, batch: Batch, fields: Fields) -> Signals:
        """Return the remembered outputs, or the module's where an image is not known."""
        rows = [self._rows.get(image.tobytes()) for image in batch.inputs.numpy()]
        if fields.features or None in rows:
            return super().signals(batch, fields)
        return Signals(self._outputs[rows])


def _normalised(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )
