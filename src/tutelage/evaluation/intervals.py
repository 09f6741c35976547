"""Confidence intervals over seeds and examples, tests of paired differences, seeds needed.

Two arms are paired where the same seed gives both the same initialization, data order and test
examples. Only their differences are then compared, in a table `[seeds, examples]`.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from tutelage._checks import inner_fraction, not_negative, positive
from tutelage.errors import ArgumentError, DataError
from tutelage.nested import describe
from tutelage.tasks.metrics import CountedMetric

_MOST_SEEDS = 10_000
_USUAL = "0.95 is usual"
Groups = Sequence[Hashable] | NDArray[Any] | Tensor
"""For each example what it belongs to: a sequence, an array or a tensor."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and the ends of its confidence interval."""

    mean: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        """The number after ±: how far the further end is from the mean, where one is cut off."""
        return max(self.high - self.mean, self.mean - self.low)


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

    For values that repetitions alone make vary. Equal values give an interval of width 0, which
    shows nothing where few test examples make ties likely: see `paired_interval`.

    Args:
        values: One value per repetition, at least two.
        confidence: c in (0, 1).

    Raises:
        ArgumentError: There are fewer than two values, one is not finite, or `confidence` is out of
            its range.

    >>> interval = mean_interval([1.0, 2.0, 3.0])
    >>> round(interval.mean, 2), round(interval.half_width, 2)
    (2.0, 2.48)
    """
    if len(values) < 2 or not all(map(math.isfinite, values)):  # noqa: PLR2004 - no spread
        raise ArgumentError(
            f"an interval needs finite values of at least two repetitions, got {list(values)}; run "
            "more seeds, and leave out those that diverged"
        )
    mean, level = fmean(values), inner_fraction("confidence", confidence, _USUAL)
    half = _quantile(len(values) - 1, (1 + level) / 2) * stdev(values) / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half)


def paired_interval(
    differences: ArrayLike,
    *,
    groups: Groups | None = None,
    resolution: float = 0.0,
    confidence: float = 0.95,
) -> Interval:
    """Mean difference of two arms with an interval over both sources of chance, seeds and examples.

    With d_si the difference on example i of seed s, S seeds, N examples, and the mean squares of
    the two-way analysis of variance, M_S between seeds, M_N between examples and M_e of the rest,
    the interval is d̄ ± h,

        h² = [max(t²_{S−1} M_S, t²_{(S−1)(N−1)} M_e) + t²_{N−1} max(0, M_N − M_e)] / (S N),

    the root of the sum of the squared half widths of independent parts (Howe 1974,
    https://doi.org/10.1080/01621459.1974.10480170). The variation between seeds is never taken for
    less than what examples alone make of it, so that seeds which tie by chance give no certainty.
    Nor is h less than `resolution` · ln(2/(1−c))/N: a difference that is seen in none of N examples
    may still exist in that part of all. The ends are cut off at ±`resolution`, which no mean
    difference exceeds. `benchmarks/coverage.py` measures the coverage.

    Args:
        differences: `[seeds, examples]`, or one value per seed, `[seeds]`, where examples are not
            known; at least two values. A single row gives an interval over examples only.
        groups: For each example the document, patient or the like that it belongs to. Examples of
            a group are not independent: variation between groups takes the place of that between
            examples, and N is their number.
        resolution: By how much arms may differ on one example: 1 for accuracy, 0 for values.
        confidence: c in (0, 1).

    Raises:
        ArgumentError: The differences are no such table or, without examples, all equal; or another
            argument is outside its range.

    >>> found = paired_interval([[0, 1, 0, 1], [0, 1, 1, 1]])
    >>> found.mean, round(found.half_width, 2)
    (0.625, 1.72)
    """
    level = inner_fraction("confidence", confidence, _USUAL)
    spread = _spread(differences, groups, resolution)
    half = spread.half_width((1 + level) / 2)
    most = resolution or math.inf
    return Interval(spread.mean, max(spread.mean - half, -most), min(spread.mean + half, most))


def non_inferiority(
    differences: ArrayLike,
    margin: float,
    *,
    groups: Groups | None = None,
    resolution: float = 0.0,
    confidence: float = 0.95,
) -> NonInferiority:
    """Test whether a student is practically as good: the one-sided lower bound is above −margin.

    The test of a shifted null hypothesis (Schuirmann 1987). A "not significant" difference does not
    show that two arms are equally good; a bound above −margin does, if the margin was chosen before
    the results were seen. The bound is d̄ − h, h as in `paired_interval` with one-sided quantiles;
    without examples it is that of the one-sided t test.

    Args:
        differences: Student minus reference, higher is better, as for `paired_interval`.
        margin: The largest acceptable loss, zero or more, in the unit of the differences.
        groups: As for `paired_interval`.
        resolution: As for `paired_interval`.
        confidence: c in (0, 1).

    Raises:
        ArgumentError: As `paired_interval`.

    >>> test = non_inferiority([-0.010, -0.004, -0.007, -0.003], margin=0.015)
    >>> test.shown, round(test.bound, 4)
    (True, -0.0097)
    """
    not_negative("margin", margin, "it is the largest acceptable loss, such as 0.01 of accuracy")
    level = inner_fraction("confidence", confidence, _USUAL)
    spread = _spread(differences, groups, resolution)
    return NonInferiority(spread.mean, spread.mean - spread.half_width(level), margin, level)


def seeds_needed(
    differences: ArrayLike,
    effect: float,
    *,
    groups: Groups | None = None,
    power: float = 0.8,
    confidence: float = 0.95,
) -> int:
    """Return how many paired seeds are needed to detect an effect, given the spread of those run.

    The least n at which the interval of `paired_interval` excludes zero with probability `power`
    if the true difference is `effect`, by the normal approximation. More seeds do not reduce the
    variation between test examples.

    Args:
        differences: Those measured so far, of at least two seeds, as for `paired_interval`.
        effect: The true difference to detect, above zero, in their unit.
        groups: As for `paired_interval`.
        power: In (0, 1).
        confidence: c in (0, 1).

    Raises:
        ArgumentError: A number is outside its range, or 10,000 seeds would be too few.

    >>> seeds_needed([0.01, 0.02, 0.03], effect=0.01)
    10
    """
    from scipy.special import ndtr  # noqa: PLC0415 - slow to import

    positive("effect", effect, "it is the difference to detect")
    target = inner_fraction("power", power, "0.8 is usual")
    level = (1 + inner_fraction("confidence", confidence, _USUAL)) / 2
    spread = _spread(differences, groups, 0.0)
    if spread.seeds < 2:  # noqa: PLR2004 - one has no spread
        raise ArgumentError("`differences` must be of at least two seeds, got one; run more seeds")
    for number in range(2, _MOST_SEEDS + 1):
        planned = spread.of(number)
        if float(ndtr((effect - planned.half_width(level)) / planned.error)) >= target:
            return number
    raise ArgumentError(
        f"`effect` must be large enough for {_MOST_SEEDS} seeds to detect, got {effect}; look for "
        "a larger effect, or use more test examples"
    )


@dataclass(frozen=True, slots=True)
class _Spread:
    """Parts of a mean difference's variance: between seeds, of the rest, between examples.

    `seeds` and `units` are their numbers; `between_seeds` includes the rest, `between_units` not.
    """

    mean: float
    seeds: int
    units: int
    between_seeds: float
    rest: float
    between_units: float
    resolution: float = 0.0

    def half_width(self, level: float) -> float:
        """Return the distance of a bound at a one-sided level from the mean."""
        square = 0.0
        if self.seeds > 1:
            square += _quantile(self.seeds - 1, level) ** 2 * self.between_seeds
            if self.units > 1:
                freedom = (self.seeds - 1) * (self.units - 1)
                square = max(square, _quantile(freedom, level) ** 2 * self.rest)
        if self.units > 1:
            square += _quantile(self.units - 1, level) ** 2 * self.between_units
        unseen = -math.log1p(-level) / self.units  # the share that none of N examples may show
        return max(math.sqrt(square), self.resolution * unseen)

    @property
    def error(self) -> float:
        """The standard error of the mean."""
        return math.sqrt(max(self.between_seeds, self.rest) + self.between_units)

    def of(self, seeds: int) -> _Spread:
        """Return what another number of seeds would give."""
        less = self.seeds / seeds
        between_seeds = max(self.between_seeds, self.rest) * less
        return replace(self, seeds=seeds, between_seeds=between_seeds, rest=self.rest * less)


def _spread(differences: ArrayLike, groups: Groups | None, resolution: float) -> _Spread:
    not_negative("resolution", resolution, "1 for accuracy, 0 for values")
    table = _table(differences)
    if groups is not None:
        table = _by_group(table, groups)
    (seeds, units), mean = table.shape, float(table.mean())
    rows, columns = table.mean(axis=1), table.mean(axis=0)
    between_seeds = float(rows.var(ddof=1)) / seeds if seeds > 1 else 0.0
    total = float(columns.var(ddof=1)) / units if units > 1 else 0.0
    rest = 0.0
    if seeds > 1 and units > 1:
        residuals = table - rows[:, None] - columns + mean
        rest = float(np.square(residuals).mean()) / ((seeds - 1) * (units - 1))
    between_units = max(0.0, total - rest)
    if between_seeds == between_units == rest == 0 and (units == 1 or resolution == 0):
        raise ArgumentError(
            f"`differences` must not all be equal, got {mean:g} throughout: they may tie by "
            "chance; give them for each example, [seeds, examples], with the metric's `resolution`"
        )
    return _Spread(mean, seeds, units, between_seeds, rest, between_units, resolution)


def _table(differences: ArrayLike) -> NDArray[np.float64]:
    """Return differences as `[seeds, examples]`; one value per seed is one column."""
    table = np.asarray(differences, dtype=np.float64)
    table = table[:, None] if table.ndim == 1 else table
    if table.ndim != 2 or table.size < 2 or not np.isfinite(table).all():  # noqa: PLR2004
        raise ArgumentError(
            "`differences` must be a table [seeds, examples], or [seeds], of at least two finite "
            f"numbers, got {_described(differences)}; leave out what was not measured in both "
            "arms, or run more seeds"
        )
    return table


def _described(differences: Any) -> str:
    shape = np.shape(differences)
    return f"shape {list(shape)}" if np.size(differences) > 8 else repr(differences)  # noqa: PLR2004


def jackknife(counts: Tensor, metric: CountedMetric) -> Tensor:
    """Return n·θ − (n−1)·θ₋ᵢ for each example i, with θ the metric and θ₋ᵢ that without i.

    These pseudo-values take the place of one value for each example, which a metric such as the
    mean IoU does not have. They are shifted so that their mean is θ, and an interval of their mean,
    such as `mean_interval`, or `paired_interval` of the differences of two models, is one over
    examples.

    Tukey 1958, "Bias and confidence in not quite large samples",
    https://doi.org/10.1214/aoms/1177706647; Efron and Stein 1981, "The Jackknife Estimate of
    Variance", https://doi.org/10.1214/aos/1176345462.

    Args:
        counts: `[examples, …]`, of at least two examples with labels; leave those without out:
            their value would be θ and would make the interval narrower.
        metric: Gives the metric of counts.

    Returns:
        `[examples]` of float64.

    Raises:
        DataError: There is only one example.

    >>> import torch
    >>> from tutelage.evaluation import MeanIoU
    >>> counts = torch.tensor([[[1, 0], [0, 1]], [[1, 0], [1, 0]], [[1, 1], [0, 1]]])
    >>> [round(each, 3) for each in jackknife(counts, MeanIoU()).tolist()]
    [0.828, 0.328, 0.494]
    """
    if len(counts) < 2:  # noqa: PLR2004 - one has no spread
        raise DataError(
            f"a jackknife needs at least two examples, got {describe(counts)}; evaluate more"
        )
    total = counts.sum(dim=0)
    return pseudo_values(metric.of_counts(total), metric.of_counts(total - counts))


def pseudo_values(whole: Tensor, others: Tensor) -> Tensor:
    """Return them from a metric of all examples, and of all without each of n parts, `[n]`."""
    return whole + (len(others) - 1) * (others.mean() - others)


def listed(groups: Groups) -> Sequence[Hashable]:
    """Return groups, in order, as objects that are equal where their values are."""
    # A column of pandas, whose index may be in another order, has them in order when iterated.
    found = groups.tolist() if isinstance(groups, (np.ndarray, Tensor)) else list(groups)
    if not all(isinstance(each, Hashable) for each in found):
        raise ArgumentError(
            "`groups` must be one name or number for each example, got "
            f"{type(groups).__name__} of {type(found[0]).__name__}; give one dimension"
        )
    return found


def numbered(groups: Groups) -> list[int]:
    """Return the number of each one's group, from 0 in order of first occurrence."""
    numbers: dict[Hashable, int] = {}
    return [numbers.setdefault(each, len(numbers)) for each in listed(groups)]


def _by_group(table: NDArray[np.float64], groups: Groups) -> NDArray[np.float64]:
    """Return a column for each group, whose mean over columns is that of the table.

    With groups of unequal size the mean over examples is a ratio of two sums; its linearisation is
    d̄ + G/N · Σ_{i in g} (d_si − d̄), with G groups.
    """
    if len(groups) != table.shape[1]:
        raise ArgumentError(
            f"`groups` must give the group of each of {table.shape[1]} examples, got "
            f"{len(groups)}; write one for each, in their order"
        )
    numbers = numbered(groups)
    count = max(numbers) + 1
    if count < 2:  # noqa: PLR2004 - one has no spread
        raise ArgumentError(
            "`groups` must tell at least two groups apart, got one; leave it out if examples are "
            "independent"
        )
    mean = table.mean()
    sums = [np.bincount(numbers, row, count) for row in table - mean]
    return mean + np.stack(sums) * (count / table.shape[1])


def _quantile(freedom: int, level: float) -> float:
    from scipy.special import stdtrit  # noqa: PLC0415 - slow to import

    return float(stdtrit(freedom, level))
