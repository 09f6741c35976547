"""The demo as a study: labels, smoothed labels, a teacher, and all labels that the teacher saw."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.data import TensorDataset

from tutelage._checks import integer
from tutelage.demo.digits import (
    BATCH_SIZE,
    Digits,
    digits,
    draw,
    labelled_set,
    make_student,
    mixed_set,
    train_teacher,
    whole_set,
)
from tutelage.objectives import HardLabels, Objective, SoftTargets
from tutelage.reports.numbers import count
from tutelage.results.record import Record
from tutelage.studies import Arm, ReportOptions, Study, Training, study
from tutelage.training import Engine

LABELLED = 200  # training images whose label the students see
LEARNING_RATE, WEIGHT_DECAY = 0.01, 0.3
"""Of AdamW for the students: these and the full demo's steps are those at which the control, and
not the distilled students, did best on a held-out quarter of the training images (mean over 16
draws; twice the steps did not make it better)."""
DISTILLED, MORE_IMAGES = "distilled", "distilled, more images"
ALL_LABELS = "all the teacher's labels"
_MOST_PROCESSES = 4


@dataclass(frozen=True, kw_only=True)
class DemoSettings:
    """The numbers that differ between demos.

    Args:
        seeds: Repetitions, at least 2: each draws other labelled images and other first weights.
        temperature: Of the soft targets, above 0.
        quick: Whether pages and command call it a quick look; `demo_settings` sets its numbers.
        steps: Optimizer steps of each student: whole passes over both of its training sets.
        teacher_epochs: Passes of the teacher over the training images.

    Raises:
        ArgumentError: A number is outside its range.
    """

    seeds: int = 5
    temperature: float = 4.0
    quick: bool = False
    steps: int = 600
    teacher_epochs: int = 20

    def __post_init__(self) -> None:
        integer("seeds", self.seeds, 2, "an interval needs a spread: 5 is a good number")
        self.objective()

    def objective(self) -> Objective:
        """Return what the distilled students learn from."""
        return 0.1 * HardLabels() + 0.9 * SoftTargets(temperature=self.temperature)

    def command(self) -> str:
        """Return the command of this demo."""
        quick = " --quick" if self.quick else ""
        return f"tutelage demo --seeds {self.seeds} --temperature {self.temperature:g}{quick}"


def demo_settings(
    seeds: int | None = None, temperature: float = 4.0, quick: bool = False
) -> DemoSettings:
    """Return the settings of the full demo, or of a quick look at it; None is 5 seeds, or 2."""
    if not quick:
        return DemoSettings(seeds=5 if seeds is None else seeds, temperature=temperature)
    seeds = 2 if seeds is None else seeds
    return DemoSettings(
        seeds=seeds, temperature=temperature, quick=True, steps=240, teacher_epochs=8
    )


def run_demo(settings: DemoSettings, progress: bool = False) -> Record:
    """Train one small student in several ways and return the results."""
    content, threads = digits(), torch.get_num_threads()
    # For models this small one thread is as fast, and sums are alike on all machines.
    torch.set_num_threads(1)
    try:
        teacher = train_teacher(content, settings.teacher_epochs, progress)
        processes = min(threads, _MOST_PROCESSES)
        found = demo_study(teacher, content, settings, progress, processes).results
    finally:
        torch.set_num_threads(threads)
    return replace(found, command=settings.command())


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
        teacher,
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
        report=ReportOptions(title="What a small model learns from a large one"),
        progress=progress,
    )
