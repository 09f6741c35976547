"""The demo as an experiment: from settings to results."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import numpy as np
import sklearn
import torch
from torch import Tensor, nn

import tutelage
from tutelage.demo import measure
from tutelage.demo.data import Digits, digits, draw
from tutelage.demo.results import (
    ArmResult,
    Comparison,
    DemoResults,
    History,
    Resemblance,
    Size,
    TeacherResult,
)
from tutelage.demo.settings import DemoSettings
from tutelage.demo.train import Arm, arms, train_students, train_teacher
from tutelage.evaluation import accuracy, agreement, mean_interval

Progress = Callable[[float, str], None]
"""Is told the share that is done and what comes next."""


def silent(share: float, what: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class _Trial:
    """One student of one seed, its logits on the test images and its history."""

    student: nn.Module
    logits: Tensor
    history: History


def run_demo(settings: DemoSettings | None = None, progress: Progress | None = None) -> DemoResults:
    """Teach one small student three ways and measure what came out.

    Args:
        settings: None for the full demo.
        progress: Told how far it is.

    Returns:
        Everything found, as plain data.

    Raises:
        ArgumentError: A setting is outside its range.
    """
    settings, tell = settings or DemoSettings(), progress or silent
    with _one_thread():
        return _carry_out(settings, tell)


def _carry_out(settings: DemoSettings, tell: Progress) -> DemoResults:
    began, content = time.monotonic(), digits()
    tell(0.0, "training the teacher")
    teacher = train_teacher(content, settings)
    trials = _all_seeds(teacher, content, settings, tell)
    tell(0.97, "timing teacher and student")
    student = trials["control"][0].student  # all arms have the same architecture
    timed = content.test_images[: max(measure.BATCH_SIZES)]
    costs = measure.sizes(teacher, student, timed, settings.latency_seconds)
    logits = measure.outputs(teacher, content.test_images)
    return _results(content, settings, logits, trials, costs, began)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Use one thread: for models this small it is as fast, and sums are alike on all machines."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _all_seeds(
    teacher: nn.Module, content: Digits, settings: DemoSettings, tell: Progress
) -> dict[str, list[_Trial]]:
    """Return the trials of each arm, seed by seed."""
    trials: dict[str, list[_Trial]] = {}
    for seed in range(settings.seeds):
        tell(0.15 + 0.82 * seed / settings.seeds, f"students, seed {seed + 1} of {settings.seeds}")
        images = draw(content.train_labels, settings.labelled, seed)
        for key, run in train_students(teacher, content, images, seed, settings).items():
            logits = measure.outputs(run.student, content.test_images)
            trial = _Trial(run.student, logits, measure.history(run))
            trials.setdefault(key, []).append(trial)
    return trials


def _results(
    content: Digits,
    settings: DemoSettings,
    teacher: Tensor,
    trials: dict[str, list[_Trial]],
    costs: list[Size],
    began: float,
) -> DemoResults:
    teacher_size, student_size = costs
    labels = content.test_labels
    taught = [
        _arm_result(arm, trials[arm.key], teacher, labels)
        for arm in arms(settings, len(content.train_labels))
    ]
    quality = measure.share_interval(accuracy(teacher, labels), len(labels))
    return DemoResults(
        settings=asdict(settings),
        objective=repr(settings.objective()),
        teacher=TeacherResult(quality, teacher_size),
        student_size=student_size,
        arms=tuple(taught),
        comparisons=tuple(_comparison(arm, taught[0]) for arm in taught[1:]),
        resemblance=_resemblance(settings, teacher, trials[taught[-1].key], labels),
        images=_images(content, settings),
        versions=_versions(),
        command=_command(settings),
        seconds=time.monotonic() - began,
    )


def _arm_result(arm: Arm, trials: list[_Trial], teacher: Tensor, labels: Tensor) -> ArmResult:
    accuracies = tuple(accuracy(trial.logits, labels) for trial in trials)
    agreements = tuple(agreement(trial.logits, teacher) for trial in trials)
    return ArmResult(
        arm.key,
        arm.name,
        arm.learns_from,
        accuracies,
        agreements,
        mean_interval(accuracies),
        mean_interval(agreements),
        tuple(trial.history for trial in trials),
    )


def _comparison(arm: ArmResult, control: ArmResult) -> Comparison:
    pairs = zip(arm.accuracies, control.accuracies, strict=True)
    differences = tuple(ours - theirs for ours, theirs in pairs)
    return Comparison(arm.key, differences, mean_interval(differences))


def _resemblance(
    settings: DemoSettings, teacher: Tensor, trials: list[_Trial], labels: Tensor
) -> Resemblance:
    temperature = settings.temperature
    students = torch.stack(
        [measure.mean_soft_targets(trial.logits, labels, temperature) for trial in trials]
    )
    return Resemblance(
        temperature,
        _rows(measure.mean_soft_targets(teacher, labels, temperature)),
        _rows(students.mean(dim=0)),
    )


def _rows(matrix: Tensor) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in matrix.tolist())


def _images(content: Digits, settings: DemoSettings) -> dict[str, int]:
    train = len(content.train_labels)
    return {
        "train": train,
        "labelled": settings.labelled,
        "unlabelled": train - settings.labelled,
        "test": len(content.test_labels),
    }


def _versions() -> dict[str, str]:
    return {
        "tutelage": tutelage.__version__,
        "Python": platform.python_version(),
        "PyTorch": torch.__version__,
        "scikit-learn": sklearn.__version__,
        "NumPy": np.__version__,
        "processor": platform.machine(),
        "system": platform.system(),
        "threads": str(torch.get_num_threads()),
    }


def _command(settings: DemoSettings) -> str:
    quick = " --quick" if settings.quick else ""
    return f"tutelage demo --seeds {settings.seeds} --temperature {settings.temperature:g}{quick}"
