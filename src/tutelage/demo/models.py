"""A teacher with 90 thousand parameters, its training, and a student with four thousand."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.data import TensorDataset

from tutelage.data import randomness
from tutelage.demo.data import CLASSES, Digits
from tutelage.demo.settings import BATCH_SIZE, TEACHER_LEARNING_RATE, DemoSettings
from tutelage.signals import Batch, Signals
from tutelage.teachers.live import Live
from tutelage.training import Engine, fit
from tutelage.wants import Fields

_IMAGE = 8
_TEACHER_SEED = 0


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
        train=TensorDataset(content.train_images, content.train_labels),
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
