"""What a page needs to know of a run, and the figures that are measured of it."""

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
class ModelFigures:
    """What is measured of one model.

    Args:
        quality: `accuracy` and `agreement`, or `mse` and `r2`, as far as the data tell.
        cost: None for a teacher that is no module.
        latencies: For each batch size; empty where it was not timed.
    """

    quality: dict[str, float] = field(default_factory=dict)
    cost: Cost | None = None
    latencies: tuple[Latency, ...] = ()


@dataclass(frozen=True)
class RunFigures:
    """What is measured of a run.

    Args:
        student: Of the student.
        teacher: Of the teacher; None if there is none.
        examples: Validation examples; 0 without validation data.
    """

    student: ModelFigures
    teacher: ModelFigures | None
    examples: int
