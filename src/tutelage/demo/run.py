"""The demo as a study: labels only, and a teacher with and without more images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.data import TensorDataset

from tutelage.demo.data import Digits, digits, draw, labelled_set, mixed_set
from tutelage.demo.models import Remembering, make_student, train_teacher
from tutelage.demo.settings import DemoSettings
from tutelage.objectives import HardLabels
from tutelage.reports import Record
from tutelage.reports.numbers import count
from tutelage.studies import Arm, ReportOptions, Study, Training, study
from tutelage.training import Engine

CONTROL, DISTILLED, MORE_IMAGES = "Labels only", "Distilled", "Distilled, more images"
TITLE = "What a small model learns from a large one"
_MOST_PROCESSES = 4


def run_demo(settings: DemoSettings | None = None, progress: bool = False) -> Record:
    """Train one small student by three methods and return the results.

    Args:
        settings: None for the full demo.
        progress: Whether to show how far it is (on a terminal only).

    Raises:
        ArgumentError: A setting is outside its range.
    """
    settings, content = settings or DemoSettings(), digits()
    processes = min(torch.get_num_threads(), _MOST_PROCESSES)
    with _one_thread():
        teacher = train_teacher(content, settings, progress)
        found = demo_study(teacher, content, settings, progress, processes).results
    return replace(found, command=_command(settings))


def demo_study(
    teacher: nn.Module,
    content: Digits,
    settings: DemoSettings,
    progress: bool = False,
    processes: int = 1,
) -> Study:
    """Return the study: the same start, steps, optimiser and labels in all arms of a seed.

    Args:
        teacher: The trained teacher.
        content: The images, divided.
        settings: How often, how long, how softened.
        progress: Whether to show how far it is (on a terminal only).
        processes: How many train students at the same time.
    """

    def few(seed: int) -> TensorDataset:
        return labelled_set(content, draw(content.train_labels, settings.labelled, seed))

    def many(seed: int) -> TensorDataset:
        return mixed_set(content, draw(content.train_labels, settings.labelled, seed))

    alone, distilled, more = _learn_from(content, settings)
    objective = settings.objective()
    return study(
        Remembering(teacher, content.train_images, settings.batch_size),
        make_student,
        train=few,
        test=TensorDataset(content.test_images, content.test_labels),
        controls={CONTROL: Arm(objective=HardLabels(), note=alone)},
        arms={
            DISTILLED: Arm(objective=objective, note=distilled),
            MORE_IMAGES: Arm(objective=objective, train=many, note=more),
        },
        seeds=settings.seeds,
        training=Training(
            steps=settings.steps,
            batch_size=settings.batch_size,
            optimizer=partial(
                torch.optim.AdamW, lr=settings.learning_rate, weight_decay=settings.weight_decay
            ),
            scheduler=CosineAnnealingLR,
            engine=Engine(device="cpu"),
            processes=processes,
        ),
        primary=MORE_IMAGES,
        report=ReportOptions(title=TITLE),
        progress=progress,
    )


def _learn_from(content: Digits, settings: DemoSettings) -> tuple[str, str, str]:
    """Return what each arm's student is given, in words."""
    labelled = count(settings.labelled)
    unlabelled = count(len(content.train_labels) - settings.labelled)
    return (
        f"{labelled} labelled images",
        f"the same {labelled} images and the teacher's predictions",
        f"the same {labelled}, {unlabelled} images without labels and the teacher's predictions",
    )


@contextmanager
def _one_thread() -> Iterator[None]:
    """Use one thread: for models this small it is as fast, and sums are alike on all machines."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _command(settings: DemoSettings) -> str:
    quick = " --quick" if settings.quick else ""
    return f"tutelage demo --seeds {settings.seeds} --temperature {settings.temperature:g}{quick}"
