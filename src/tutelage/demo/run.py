"""The demo as a study: labels, smoothed labels, a teacher, and all labels that the teacher saw."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from functools import partial

import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.data import TensorDataset

from tutelage.demo.digits import (
    Digits,
    Remembering,
    digits,
    draw,
    labelled_set,
    make_student,
    mixed_set,
    train_teacher,
    whole_set,
)
from tutelage.demo.settings import (
    BATCH_SIZE,
    LABELLED,
    LEARNING_RATE,
    WEIGHT_DECAY,
    DemoSettings,
)
from tutelage.objectives import HardLabels
from tutelage.reports import Record
from tutelage.reports.numbers import count
from tutelage.studies import Arm, ReportOptions, Study, Training, study
from tutelage.training import Engine

DISTILLED, MORE_IMAGES = "Distilled", "Distilled, more images"
ALL_LABELS = "All the teacher's labels"
TITLE = "What a small model learns from a large one"
_MOST_PROCESSES = 4


def run_demo(settings: DemoSettings | None = None, progress: bool = False) -> Record:
    """Train one small student in several ways and return the results."""
    settings, content = settings or DemoSettings(), digits()
    threads = torch.get_num_threads()
    with ExitStack() as stack:
        stack.callback(torch.set_num_threads, threads)
        # For models this small one thread is as fast, and sums are alike on all machines.
        torch.set_num_threads(1)
        teacher = train_teacher(content, settings, progress)
        processes = min(threads, _MOST_PROCESSES)
        found = demo_study(teacher, content, settings, progress, processes).results
    return replace(found, command=_command(settings))


def demo_study(
    teacher: nn.Module,
    content: Digits,
    settings: DemoSettings,
    progress: bool = False,
    processes: int = 1,
) -> Study:
    """Return the study: the same start, steps and optimizer in all arms of a seed."""

    def few(seed: int) -> TensorDataset:
        return labelled_set(content, draw(content.train_labels, LABELLED, seed))

    def many(seed: int) -> TensorDataset:
        return mixed_set(content, draw(content.train_labels, LABELLED, seed))

    objective, predictions = settings.objective(), "the teacher's predictions"
    images = len(content.train_labels)
    unlabelled = f"{count(images - LABELLED)} images without labels"
    distilled = f"{LABELLED} labelled images and {predictions}"
    more = f"the same {LABELLED}, {unlabelled} and {predictions}"
    whole = f"all {count(images)} labelled images, as the teacher; labels only"
    return study(
        Remembering(teacher, content.train_images),
        make_student,
        train=few,
        test=TensorDataset(content.test_images, content.test_labels),
        arms={
            DISTILLED: Arm(objective=objective, note=distilled),
            MORE_IMAGES: Arm(objective=objective, train=many, note=more),
            ALL_LABELS: Arm(objective=HardLabels(), train=whole_set(content), note=whole),
        },
        seeds=settings.seeds,
        training=Training(
            steps=settings.steps,
            batch_size=BATCH_SIZE,
            optimizer=partial(torch.optim.AdamW, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY),
            scheduler=CosineAnnealingLR,
            engine=Engine(device="cpu"),
            processes=processes,
        ),
        primary=MORE_IMAGES,
        report=ReportOptions(title=TITLE),
        progress=progress,
    )


def _command(settings: DemoSettings) -> str:
    quick = " --quick" if settings.quick else ""
    return f"tutelage demo --seeds {settings.seeds} --temperature {settings.temperature:g}{quick}"
