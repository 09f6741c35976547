"""What a study found, as plain data: written as JSON, read back for a page."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tutelage.errors import RunFolderError
from tutelage.evaluation import Calibration, Cost, Interval, Latency, NonInferiority, Reliability
from tutelage.files import write_json

FORMAT = 1


@dataclass(frozen=True)
class Curve:
    """A figure of each epoch, of one trial.

    Args:
        steps: Optimiser steps at the end of each epoch.
        values: One for each of them.
    """

    steps: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class TrialResult:
    """One student.

    Args:
        seed: Of the repetition.
        figures: On the test data, by name.
        val: The deciding figure on validation data, if there is any.
        train: Fidelity on a sample of its training data.
        calibration: Of a classifier with labelled test data.
        domains: The deciding figure for each domain.
        steps: Optimiser steps; None where the arm's function did not say.
        best_epoch: The epoch whose weights it has.
        seconds: Its training took so long.
        curves: By name, from the log.
    """

    seed: int
    figures: dict[str, float]
    val: float | None = None
    train: dict[str, float] = field(default_factory=dict)
    calibration: Calibration | None = None
    domains: dict[str, float] = field(default_factory=dict)
    steps: int | None = None
    best_epoch: int | None = None
    seconds: float = 0.0
    curves: dict[str, Curve] = field(default_factory=dict)


@dataclass(frozen=True)
class Tried:
    """One setting of a sweep.

    Args:
        setting: In words.
        value: The deciding figure on validation data, the mean over the tuning seeds; None where
            the loss diverged.
    """

    setting: str
    value: float | None


@dataclass(frozen=True)
class ArmResult:
    """One arm over all seeds.

    Args:
        name: Of the arm.
        is_control: Whether the others are compared with it.
        learns_from: In words.
        settings: What it was trained with, in words.
        model: Which of the study's models it has: a key of `StudyResults.models`.
        trials: One for each seed.
        tried: The settings of its sweep; the chosen one is the best.
        similarity: Mean softened answer of each true class, over all seeds; of classifiers.
        similarity_correlation: Of its similarities with the teacher's.
        by_class: Share of each class that is named rightly, the mean over seeds.
        reliability: Of all seeds together.
        scatter: For one value: true values and predictions of some examples, first seed.
        against: The one control that it is compared with; None for all.
        series: Which line of the figure over `at` it belongs to.
        at: Where on it.
    """

    name: str
    is_control: bool
    learns_from: str
    settings: dict[str, str]
    model: str
    trials: tuple[TrialResult, ...]
    tried: tuple[Tried, ...] = ()
    similarity: tuple[tuple[float, ...], ...] = ()
    similarity_correlation: float | None = None
    by_class: dict[int, float] = field(default_factory=dict)
    reliability: Reliability | None = None
    scatter: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    against: str | None = None
    series: str = ""
    at: float | None = None

    def values(self, figure: str) -> tuple[float, ...]:
        """Return a figure of each seed; empty if any has none."""
        found = tuple(trial.figures.get(figure) for trial in self.trials)
        return tuple(each for each in found if each is not None) if None not in found else ()


@dataclass(frozen=True)
class TeacherResult:
    """The teacher.

    Args:
        figures: On the test data.
        calibration: As of a student.
        domains: As of a student.
        model: Its key in `StudyResults.models`.
        similarity: As of an arm.
        by_class: As of an arm.
        reliability: As of an arm.
    """

    figures: dict[str, float]
    calibration: Calibration | None = None
    domains: dict[str, float] = field(default_factory=dict)
    model: str = ""
    similarity: tuple[tuple[float, ...], ...] = ()
    by_class: dict[int, float] = field(default_factory=dict)
    reliability: Reliability | None = None


@dataclass(frozen=True)
class Comparison:
    """An arm against a control, seed by seed; above zero the arm is better.

    Args:
        arm: Its name.
        control: The name of what it is compared with.
        differences: One for each seed, signed so that more is better.
        interval: 95 %, Student's t over seeds; None for a single seed.
        bootstrap: 95 %, over seeds and examples; None where the figure has no value for each
            example.
        seeds_needed: How many seeds it takes to see this difference with a power of 80 %; None
            where there is no difference or it takes too many.
    """

    arm: str
    control: str
    differences: tuple[float, ...]
    interval: Interval | None
    bootstrap: Interval | None
    seeds_needed: int | None


@dataclass(frozen=True)
class AgainstTeacher:
    """An arm against the teacher.

    Args:
        arm: Its name.
        differences: One for each seed; above zero the student is better.
        interval: 95 %, Student's t over seeds; None for a single seed.
        non_inferiority: Whether it is no worse than the margin; None without a margin.
    """

    arm: str
    differences: tuple[float, ...]
    interval: Interval | None
    non_inferiority: NonInferiority | None


@dataclass(frozen=True)
class ModelResult:
    """What a model takes.

    Args:
        name: For readers.
        cost: Parameters, bytes, operations; None for a teacher that is no module.
        latencies: For each batch size; empty where inputs are not one tensor.
        variants: Cheaper forms of it, if they were asked for.
    """

    name: str
    cost: Cost | None
    latencies: tuple[Latency, ...] = ()
    variants: tuple[VariantResult, ...] = ()


@dataclass(frozen=True)
class VariantResult:
    """A cheaper form of a model: compiled, in fewer bits, in another runtime.

    Args:
        name: Which.
        reason: Why it could not be made; "" if it was.
        file_bytes: Its size, where it is a file of its own.
        figure: The deciding figure on the test data.
        latencies: For each batch size.
    """

    name: str
    reason: str
    file_bytes: int | None = None
    figure: float | None = None
    latencies: tuple[Latency, ...] = ()


@dataclass(frozen=True)
class Figure:
    """The figure that decides.

    Args:
        name: Such as "accuracy".
        higher: Whether more is better.
        is_share: Whether it lies in [0, 1] and is shown in per cent.
    """

    name: str
    higher: bool
    is_share: bool


@dataclass(frozen=True)
class StudyResults:
    """What a study found.

    Args:
        title: Its name.
        figure: The figure that decides.
        seeds: The repetitions.
        arms: In their order, controls first.
        teacher: None for a study without one.
        comparisons: Each arm against each control.
        against_teacher: Each arm against the teacher.
        subject: The arm that the verdict speaks of.
        chosen_by: How it was chosen, in words.
        margin: What a student may lose against the teacher, as stated beforehand.
        axis: What arms of a series stand along.
        similarity_temperature: At which the similarities of classes are softened.
        models: What they take, by key; arms may share one.
        examples: How many there are in each data set.
        class_names: For readers; empty for numbers.
        versions: Of what it was made with.
        command: What it was started with.
        seconds: The trials' training took so long in all.
    """

    title: str
    figure: Figure
    seeds: tuple[int, ...]
    arms: tuple[ArmResult, ...]
    teacher: TeacherResult | None
    comparisons: tuple[Comparison, ...]
    against_teacher: tuple[AgainstTeacher, ...]
    subject: str
    chosen_by: str
    margin: float | None
    axis: str
    similarity_temperature: float
    models: dict[str, ModelResult]
    examples: dict[str, int]
    class_names: tuple[str, ...]
    versions: dict[str, str]
    command: str
    seconds: float

    def arm(self, name: str) -> ArmResult:
        """Return an arm by its name."""
        return next(each for each in self.arms if each.name == name)

    @property
    def controls(self) -> tuple[ArmResult, ...]:
        """The arms that the others are compared with."""
        return tuple(each for each in self.arms if each.is_control)


def as_record(results: StudyResults) -> dict[str, Any]:
    """Return results as JSON can hold them."""
    return {"study": FORMAT} | asdict(results)


def write_results(results: StudyResults, path: Path) -> Path:
    """Write results as JSON, whole; return the path."""
    write_json(path, as_record(results))
    return path


def read_results(path: Path) -> StudyResults:
    """Read results back.

    Raises:
        RunFolderError: The file is no record of a study that this version reads.
    """
    from pydantic import TypeAdapter, ValidationError  # noqa: PLC0415 - loaded where used

    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("study") != FORMAT:
            raise ValueError("another format")
        return TypeAdapter(StudyResults).validate_python(content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ValidationError) as error:
        raise RunFolderError(
            f"{path} must be the record of a study of format {FORMAT}, got {error}; run the study "
            "again: trials that are done are not repeated"
        ) from error
