"""A finished run, and the figures that are measured of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import nn

from tutelage.evaluation import Cost, Latency
from tutelage.objectives import Objective
from tutelage.teachers import Teacher


class RunRecord(Protocol):
    """A finished run; `tutelage.Run` is one, and says what each part is."""

    @property
    def student(self) -> nn.Module:
        """The trained module."""
        ...

    @property
    def history(self) -> Sequence[Mapping[str, Any]]:
        """One record for each epoch."""
        ...

    @property
    def best_epoch(self) -> int:
        """The epoch whose weights the student has."""
        ...

    @property
    def settings(self) -> Mapping[str, Any]:
        """What makes this run this run."""
        ...

    @property
    def objective(self) -> Objective:
        """What it was asked for."""
        ...

    @property
    def teacher(self) -> Teacher | None:
        """Whom it learnt from."""
        ...

    @property
    def val(self) -> object | None:
        """The validation data."""
        ...


@dataclass(frozen=True)
class Confidence:
    """How well a classifier knows how often it is right.

    Args:
        nll: Mean negative log-likelihood of the labels, in nats.
        ece: Expected calibration error, in [0, 1].
        bins: Examples sorted by confidence: mean confidence, accuracy and share of each bin.
        by_class: The accuracy of each class that there are examples of; empty for too many.
    """

    nll: float
    ece: float
    bins: tuple[tuple[float, float, float], ...]
    by_class: dict[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelFigures:
    """What is measured of one model.

    Args:
        quality: `accuracy` and `agreement`, or `mse` and `r2`, as far as the data tell.
        cost: None for a teacher that is no module.
        latencies: For each batch size; empty where it was not timed.
        confidence: Of a classifier, where there are labels.
        kl: Mean KL divergence of its class probabilities from the teacher's, in nats, at
            temperature 1; None where there are none to compare.
        modules: How many modules it is made of; of a teacher that is several models, `cost` is that
            of all together.
    """

    quality: dict[str, float] = field(default_factory=dict)
    cost: Cost | None = None
    latencies: tuple[Latency, ...] = ()
    confidence: Confidence | None = None
    kl: float | None = None
    modules: int = 1


@dataclass(frozen=True)
class Misses:
    """What one output was to be and what the student said.

    Args:
        true: Labels, of all examples or of a sample of them.
        predicted: The student's values.
    """

    true: tuple[float, ...]
    predicted: tuple[float, ...]


@dataclass(frozen=True)
class RunFigures:
    """What is known of a run's models.

    Args:
        student: Of the student.
        teacher: Of the teacher; None if there is none.
        examples: Validation examples; 0 if there are none or their number is not known.
        misses: Of each of the student's outputs that are values, if they are few.
    """

    student: ModelFigures
    teacher: ModelFigures | None = None
    examples: int = 0
    misses: tuple[Misses, ...] = ()
