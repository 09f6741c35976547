"""What paired seeds prove: each arm against each control, and against the teacher."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from tutelage.errors import ArgumentError
from tutelage.evaluation import (
    Interval,
    bootstrap_interval,
    mean_interval,
    non_inferiority,
    seeds_needed,
)
from tutelage.reports.record import AgainstTeacher, ArmRecord, Comparison, DecidingMetric


def compare(
    arm: ArmRecord,
    control: ArmRecord,
    metric: DecidingMetric,
    scores: tuple[Sequence[Tensor | None], Sequence[Tensor | None]],
) -> Comparison:
    """Return an arm against a control.

    Args:
        arm: The one.
        control: The other, with the same seeds.
        metric: What is compared.
        scores: What each test example adds to the metric, for each seed of the arm and of the
            control.
    """
    pairs = zip(arm.values(metric.name), control.values(metric.name), strict=True)
    differences = tuple(_better(ours, theirs, metric) for ours, theirs in pairs)
    return Comparison(
        arm.name,
        control.name,
        differences,
        _interval(differences),
        _bootstrap(*scores),
        _seeds_needed(differences),
    )


def against_teacher(
    arm: ArmRecord, teacher: float, metric: DecidingMetric, margin: float | None
) -> AgainstTeacher:
    """Return an arm against the teacher's one value, with the test against the margin."""
    differences = tuple(_better(value, teacher, metric) for value in arm.values(metric.name))
    tested = margin is not None and len(differences) > 1
    return AgainstTeacher(
        arm.name,
        differences,
        _interval(differences),
        non_inferiority(differences, margin or 0.0) if tested else None,
    )


def _better(ours: float, theirs: float, metric: DecidingMetric) -> float:
    return ours - theirs if metric.higher else theirs - ours


def _interval(differences: Sequence[float]) -> Interval | None:
    return mean_interval(differences) if len(differences) > 1 else None


def _bootstrap(ours: Sequence[Tensor | None], theirs: Sequence[Tensor | None]) -> Interval | None:
    rows = [
        (one - other).numpy()
        for one, other in zip(ours, theirs, strict=True)
        if one is not None and other is not None
    ]
    return bootstrap_interval(np.stack(rows)) if rows and len(rows) == len(ours) else None


def _seeds_needed(differences: Sequence[float]) -> int | None:
    mean = math.fsum(differences) / max(1, len(differences))
    if len(differences) < 2 or mean == 0 or not math.isfinite(mean):  # noqa: PLR2004 - no spread
        return None
    try:
        return seeds_needed(differences, abs(mean))
    except ArgumentError:  # more than can be asked for
        return None
