"""A mean with the interval that the spread of a few repetitions leaves it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from tutelage._checks import inner_fraction
from tutelage.errors import ArgumentError


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and its confidence interval.

    Args:
        mean: Of the repetitions.
        low: Lower end.
        high: Upper end.
    """

    mean: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        """Half of the interval's width: the number behind ±."""
        return (self.high - self.low) / 2


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Mean ± t_{(1+c)/2, n−1} · s/√n (Student's t), s the sample's standard deviation.

    For paired repetitions (the same seed in two arms) give the differences.

    Args:
        values: One value per repetition, at least two.
        confidence: c in (0, 1).

    Raises:
        ArgumentError: There are fewer than two values, or `confidence` is out of its range.

    >>> interval = mean_interval([1.0, 2.0, 3.0])
    >>> round(interval.mean, 2), round(interval.half_width, 2)
    (2.0, 2.48)
    """
    from scipy.special import stdtrit  # noqa: PLC0415 - loaded where used, it takes its time

    if len(values) < 2:  # noqa: PLR2004 - one value has no spread
        raise ArgumentError(
            f"an interval needs at least two repetitions, got {len(values)}; run more seeds"
        )
    level = inner_fraction("confidence", confidence, "0.95 is the usual one")
    mean = fmean(values)
    quantile = float(stdtrit(len(values) - 1, (1 + level) / 2))
    half = quantile * stdev(values) / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half)
