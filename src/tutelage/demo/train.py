"""The demo's trainings: a teacher, and one student's start taken three ways."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.data import TensorDataset

from tutelage.data import randomness
from tutelage.demo.data import Digits, Draw, labelled_set, mixed_set
from tutelage.demo.models import make_student, make_teacher
from tutelage.demo.settings import DemoSettings
from tutelage.training import Engine, Run, distill, fit

_TEACHER_SEED = 0


@dataclass(frozen=True, slots=True)
class Arm:
    """One of the ways in which the student is taught.

    Args:
        key: Its name in records.
        name: Its name for readers.
        learns_from: What it is given.
    """

    key: str
    name: str
    learns_from: str


def arms(settings: DemoSettings, train_images: int) -> tuple[Arm, Arm, Arm]:
    """Return the control, and the two distilled arms."""
    few, rest = f"{settings.labelled:,}", f"{train_images - settings.labelled:,}"
    return (
        Arm("control", "Labels alone", f"{few} labelled images"),
        Arm("distilled", "Distilled", f"the same {few} images and the teacher's answers"),
        Arm(
            "distilled_unlabelled",
            "Distilled, more images",
            f"the same {few}, {rest} images without labels and the teacher's answers",
        ),
    )


def train_teacher(content: Digits, settings: DemoSettings) -> nn.Module:
    """Train the teacher on all training images and their labels."""
    teacher = _initialised(make_teacher, _TEACHER_SEED)
    fit(
        teacher,
        train=TensorDataset(content.train_images, content.train_labels),
        epochs=settings.teacher_epochs,
        batch_size=settings.batch_size,
        seed=_TEACHER_SEED,
        optimizer=partial(torch.optim.AdamW, lr=settings.teacher_learning_rate),
        scheduler=CosineAnnealingLR,
        engine=Engine(device="cpu", progress=False),
    )
    return teacher


def first_student(seed: int) -> nn.Module:
    """Return the untrained student of a seed, with which all of its arms begin."""
    return _initialised(make_student, seed)


def train_students(
    teacher: nn.Module, content: Digits, images: Draw, seed: int, settings: DemoSettings
) -> dict[str, Run]:
    """Train one student three ways: the same start, steps, optimiser and labels.

    Args:
        teacher: The trained teacher.
        content: The images.
        images: Which of them carry a label.
        seed: Of the first weights and of the order of the images.
        settings: All else.

    Returns:
        For each arm its run.
    """
    start = first_student(seed)
    few, many = labelled_set(content, images), mixed_set(content, images)
    taught = partial(distill, teacher, objective=settings.objective())
    trainings = {
        "control": (fit, few),
        "distilled": (taught, few),
        "distilled_unlabelled": (taught, many),
    }
    return {
        key: train(deepcopy(start), train=data, **_alike(settings, len(data), seed))
        for key, (train, data) in trainings.items()
    }


def _alike(settings: DemoSettings, examples: int, seed: int) -> dict[str, Any]:
    """Return the arguments that make the arms' trainings alike in all but the data."""
    return {
        "epochs": settings.epochs(examples),
        "batch_size": settings.batch_size,
        "seed": seed,
        "optimizer": partial(
            torch.optim.AdamW, lr=settings.learning_rate, weight_decay=settings.weight_decay
        ),
        "scheduler": CosineAnnealingLR,
        "engine": Engine(device="cpu", progress=False),
    }


def _initialised(make: Any, seed: int) -> nn.Module:
    with randomness.preserved():
        torch.manual_seed(seed)
        return make()
