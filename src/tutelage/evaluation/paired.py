"""What paired repetitions prove: intervals over seeds and examples, non-inferiority, how many more.

Two arms are paired where they share what luck there is: the same seed gives both the same start,
the same order and the same test examples. All that counts is then the difference of each pair.
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
from tutelage.evaluation.interval import Interval

_MOST_SEEDS = 10_000
_USUAL = "0.95 is usual"


@dataclass(frozen=True, slots=True)
class NonInferiority:
    """Whether a student is at most a margin worse than what it is compared with.

    Args:
        mean: Mean difference, student less the other: above zero it is better.
        bound: One-sided lower confidence bound of that difference.
        margin: The loss that was stated beforehand to matter; zero or more.
        confidence: Of the bound.
    """

    mean: float
    bound: float
    margin: float
    confidence: float

    @property
    def shown(self) -> bool:
        """Whether even the lower bound lies above −margin. If not, nothing is shown either way."""
        return self.bound > -self.margin


def non_inferiority(
    differences: Sequence[float], margin: float, confidence: float = 0.95
) -> NonInferiority:
    """Test whether a student is practically as good: d̄ − t_{c, n−1} · s/√n > −margin.

    The one-sided t test of a shifted null hypothesis (Schuirmann 1987). A difference that is "not
    significant" shows no such thing; a bound above −margin does, if the margin was stated before
    the results were seen.

    Args:
        differences: Student less the other, one for each pair, at least two; higher is better.
        margin: The loss that still counts as none, zero or more, in the unit of the differences.
        confidence: c in (0, 1).

    Raises:
        ArgumentError: There are fewer than two differences, or a number is outside its range.

    >>> test = non_inferiority([-0.010, -0.004, -0.007, -0.003], margin=0.015)
    >>> test.shown, round(test.bound, 4)
    (True, -0.0097)
    """
    from scipy.special import stdtrit  # noqa: PLC0415 - loaded where used, it takes its time

    not_negative("margin", margin, "it is the loss that counts as none, such as 0.01 of accuracy")
    values, level = _at_least_two(differences), inner_fraction("confidence", confidence, _USUAL)
    error = stdev(values) / math.sqrt(len(values))
    mean = fmean(values)
    bound = mean - float(stdtrit(len(values) - 1, level)) * error
    return NonInferiority(mean, bound, margin, level)


def bootstrap_interval(
    differences: ArrayLike, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
    """Mean difference with its percentile bootstrap interval over seeds and examples.

    Seeds and examples are both drawn anew, with replacement and independently of each other, so the
    interval speaks of other seeds *and* of other examples of the same kind (Owen and Eckles 2012,
    https://arxiv.org/abs/1106.2125, whose bootstrap of both factors errs on the wide side). With a
    single row, it speaks of other examples only.

    Args:
        differences: `[seeds, examples]`, or `[examples]` for one seed: what one arm scores on an
            example less what the other does, such as 1 for right less 1 for right.
        confidence: In (0, 1).
        resamples: How many times to draw, at least 100.
        seed: Of the draws.

    Raises:
        ArgumentError: The differences are not such a table, or a number is outside its range.

    >>> interval = bootstrap_interval([[0, 1, 0, 1], [0, 1, 1, 1]])
    >>> interval.mean
    0.625
    """
    table = np.atleast_2d(np.asarray(differences, dtype=np.float64))
    if table.ndim != 2 or not table.size or not np.isfinite(table).all():  # noqa: PLR2004
        raise ArgumentError(
            "`differences` must be a table [seeds, examples] of finite numbers, got shape "
            f"{list(table.shape)}; leave out what was not measured in both arms"
        )
    integer("resamples", resamples, 100, "2000 is a good number")
    tail = (1 - inner_fraction("confidence", confidence, _USUAL)) / 2
    generator, (seeds, examples) = np.random.default_rng(seed), table.shape
    # Drawing with replacement is giving each row and column a count of how often it came.
    by_seed = generator.multinomial(seeds, np.full(seeds, 1 / seeds), resamples)
    means = np.empty(resamples)
    for place, counts in enumerate(by_seed):
        by_example = generator.multinomial(examples, np.full(examples, 1 / examples))
        means[place] = counts @ table @ by_example / table.size
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(table.mean()), float(low), float(high))


def seeds_needed(
    differences: Sequence[float], effect: float, power: float = 0.8, confidence: float = 0.95
) -> int:
    """Return how many pairs it takes to see an effect, given the spread that was seen.

    The least n at which a two-sided paired t test at level 1 − c finds a true difference `effect`
    with probability `power`: 1 − F_{n−1, effect·√n/s}(t_{(1+c)/2, n−1}), F the noncentral t
    distribution.

    Args:
        differences: Pairs seen so far, at least two, for their standard deviation s.
        effect: The true difference sought, above zero, in their unit.
        power: In (0, 1).
        confidence: c in (0, 1).

    Raises:
        ArgumentError: A number is outside its range, or more than 10,000 pairs would be needed.

    >>> seeds_needed([0.01, 0.02, 0.03], effect=0.01)
    10
    """
    from scipy.special import nctdtr, stdtrit  # noqa: PLC0415 - loaded where used

    positive("effect", effect, "it is the difference that you want to be able to see")
    wanted = inner_fraction("power", power, "0.8 is usual")
    spread = stdev(_at_least_two(differences))
    if spread == 0:
        return 2
    level = (1 + inner_fraction("confidence", confidence, _USUAL)) / 2
    for number in range(2, _MOST_SEEDS + 1):
        limit = float(stdtrit(number - 1, level))
        shift = effect * math.sqrt(number) / spread
        if 1 - float(nctdtr(number - 1, shift, limit)) >= wanted:
            return number
    raise ArgumentError(
        f"`effect` must be one that {_MOST_SEEDS} pairs can show, got {effect} with a spread of "
        f"{spread:g} between pairs; look for a larger effect"
    )


def _at_least_two(differences: Sequence[float]) -> list[float]:
    values = [float(each) for each in differences]
    if len(values) < 2 or not all(map(math.isfinite, values)):  # noqa: PLR2004
        raise ArgumentError(
            f"`differences` must be at least two finite numbers, got {values}; run more seeds"
        )
    return values
