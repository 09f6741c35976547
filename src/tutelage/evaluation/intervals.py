"""Confidence intervals over repetitions, tests of paired differences, number of seeds needed.

Two arms are paired where the same seed gives both the same initialization, data order and test
examples. Only the difference of each pair is then compared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import numpy as np
from numpy.typing import ArrayLike

from tutelage._checks import inner_fraction, integer, not_negative, positive
from tutelage.errors import ArgumentError

_MOST_SEEDS = 10_000
_USUAL = "0.95 is usual"


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and the ends of its confidence interval."""

    mean: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        """Half of the interval's width: the number after ±."""
        return (self.high - self.low) / 2


@dataclass(frozen=True, slots=True)
class NonInferiority:
    """Whether a student is at most a margin worse than a reference.

    Args:
        mean: Mean difference, student minus reference; positive if the student is better.
        bound: One-sided lower confidence bound of that difference.
        margin: The largest acceptable loss, chosen in advance; zero or more.
        confidence: Of the bound.
    """

    mean: float
    bound: float
    margin: float
    confidence: float

    @property
    def shown(self) -> bool:
        """Whether the lower bound is above −margin. If not, the test is inconclusive."""
        return self.bound > -self.margin


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
    from scipy.special import stdtrit  # noqa: PLC0415 - slow to import

    if len(values) < 2:  # noqa: PLR2004 - one value has no spread
        raise ArgumentError(
            f"an interval needs at least two repetitions, got {len(values)}; run more seeds"
        )
    level = inner_fraction("confidence", confidence, _USUAL)
    mean = fmean(values)
    quantile = float(stdtrit(len(values) - 1, (1 + level) / 2))
    half = quantile * stdev(values) / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half)


def non_inferiority(
    differences: Sequence[float], margin: float, confidence: float = 0.95
) -> NonInferiority:
    """Test whether a student is practically as good: d̄ − t_{c, n−1} · s/√n > −margin.

    The one-sided t test of a shifted null hypothesis (Schuirmann 1987). A "not significant"
    difference does not show that two arms are equally good; a bound above −margin does, if the
    margin was chosen before the results were seen.

    Args:
        differences: Student minus reference, one for each pair, at least two; higher is better.
        margin: The largest acceptable loss, zero or more, in the unit of the differences.
        confidence: c in (0, 1).

    Raises:
        ArgumentError: There are fewer than two differences, or a number is outside its range.

    >>> test = non_inferiority([-0.010, -0.004, -0.007, -0.003], margin=0.015)
    >>> test.shown, round(test.bound, 4)
    (True, -0.0097)
    """
    from scipy.special import stdtrit  # noqa: PLC0415 - slow to import

    not_negative("margin", margin, "it is the largest acceptable loss, such as 0.01 of accuracy")
    values, level = _at_least_two(differences), inner_fraction("confidence", confidence, _USUAL)
    error = stdev(values) / math.sqrt(len(values))
    mean = fmean(values)
    bound = mean - float(stdtrit(len(values) - 1, level)) * error
    return NonInferiority(mean, bound, margin, level)


def bootstrap_interval(
    differences: ArrayLike, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
    """Mean difference with its percentile bootstrap interval over seeds and examples.

    Seeds and examples are resampled with replacement, independently of each other, so the interval
    covers variation over seeds *and* over examples (Owen and Eckles 2012,
    https://arxiv.org/abs/1106.2125; this bootstrap of both factors is conservative). With a single
    row it covers variation over examples only.

    Args:
        differences: `[seeds, examples]`, or `[examples]` for one seed: one arm's score on an
            example minus the other's, such as 1 for correct minus 1 for correct.
        confidence: In (0, 1).
        resamples: The number of resamples, at least 100.
        seed: Of the random generator.

    Raises:
        ArgumentError: The differences are not a table of finite numbers, or an argument is outside
            its range.

    >>> interval = bootstrap_interval([[0, 1, 0, 1], [0, 1, 1, 1]])
    >>> interval.mean
    0.625
    """
    table = np.atleast_2d(np.asarray(differences, dtype=np.float64))
    if table.ndim != 2 or not table.size or not np.isfinite(table).all():  # noqa: PLR2004
        raise ArgumentError(
            "`differences` must be a table [seeds, examples] of finite numbers, got shape "
            f"{list(table.shape)}; leave out seeds and examples that were not measured in both arms"
        )
    integer("resamples", resamples, 100, "2000 is a good number")
    tail = (1 - inner_fraction("confidence", confidence, _USUAL)) / 2
    generator, (seeds, examples) = np.random.default_rng(seed), table.shape
    # Sampling with replacement is drawing how often each row and column occurs.
    by_seed = generator.multinomial(seeds, np.full(seeds, 1 / seeds), resamples)
    means = np.empty(resamples)
    for number, counts in enumerate(by_seed):
        by_example = generator.multinomial(examples, np.full(examples, 1 / examples))
        means[number] = counts @ table @ by_example / table.size
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(table.mean()), float(low), float(high))


def seeds_needed(
    differences: Sequence[float], effect: float, power: float = 0.8, confidence: float = 0.95
) -> int:
    """Return how many pairs are needed to detect an effect, given the spread of those measured.

    The least n at which a two-sided paired t test at level 1 − c detects a true difference `effect`
    with probability `power`: 1 − F_{n−1, effect·√n/s}(t_{(1+c)/2, n−1}), F the noncentral t
    distribution.

    Args:
        differences: Those measured so far, at least two, for their standard deviation s.
        effect: The true difference to detect, above zero, in their unit.
        power: In (0, 1).
        confidence: c in (0, 1).

    Raises:
        ArgumentError: A number is outside its range, or more than 10,000 pairs would be needed.

    >>> seeds_needed([0.01, 0.02, 0.03], effect=0.01)
    10
    """
    from scipy.special import nctdtr, stdtrit  # noqa: PLC0415 - slow to import

    positive("effect", effect, "it is the difference to detect")
    target = inner_fraction("power", power, "0.8 is usual")
    spread = stdev(_at_least_two(differences))
    if spread == 0:
        return 2
    level = (1 + inner_fraction("confidence", confidence, _USUAL)) / 2
    for number in range(2, _MOST_SEEDS + 1):
        limit = float(stdtrit(number - 1, level))
        shift = effect * math.sqrt(number) / spread
        if 1 - float(nctdtr(number - 1, shift, limit)) >= target:
            return number
    raise ArgumentError(
        f"`effect` must be large enough for {_MOST_SEEDS} pairs to detect, got {effect} with a "
        f"standard deviation of {spread:g} between pairs; look for a larger effect"
    )


def _at_least_two(differences: Sequence[float]) -> list[float]:
    values = [float(each) for each in differences]
    if len(values) < 2 or not all(map(math.isfinite, values)):  # noqa: PLR2004
        raise ArgumentError(
            f"`differences` must be at least two finite numbers, got {values}; run more seeds"
        )
    return values
