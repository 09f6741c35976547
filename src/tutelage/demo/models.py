"""A teacher with 90 thousand parameters and a student with four thousand."""

from __future__ import annotations

from torch import nn

from tutelage.demo.data import CLASSES

_IMAGE = 8


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


def _normalised(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )
