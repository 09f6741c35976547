"""Deciding metrics that are no means over examples, as values of examples: the jackknife."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from tutelage.errors import TutelageError
from tutelage.evaluation import CountedMetric, pseudo_values
from tutelage.evaluation.intervals import numbered
from tutelage.objectives import Objective
from tutelage.studies.score import Scorer

_FOLDS = 20
_Name = TypeVar("_Name", int, int | str)


class PseudoValues:
    """Pseudo-values of metrics on the test data; see `tutelage.evaluation.jackknife`.

    Of a metric of counts there is one for each example, or group; of any other for each of 20
    folds; and where parts of the data do not allow the metric, only the metric itself. Of `among`
    the examples, where it is given, alone.
    """

    def __init__(self, scorer: Scorer, groups: Sequence[Hashable] | None) -> None:
        self.scorer, self.groups = scorer, groups

    def deciding(
        self, reading: Objective, output: Tensor, among: Sequence[int] | None = None
    ) -> list[float]:
        """Return pseudo-values of the deciding metric, on some examples or all."""
        found = self.counted(self.scorer.monitor.name, output, among)
        if found is None:
            folds = self._folds(lambda rows: {0: self.scorer.value(reading, output, rows)}, among)
            found = folds[0]
        return found

    def counted(
        self, name: str, output: Tensor, among: Sequence[int] | None = None
    ) -> list[float] | None:
        """Return those of a metric of counts; None of another, or if it is not finite."""
        counted = self._counted(name, output, among)
        if counted is None:
            return None
        metric, counts = counted
        return _without_each(lambda part: {0: metric.of_counts(part)}, counts).get(0)

    def by_class(self, output: Tensor) -> dict[int | str, list[float]]:
        """Return those of the deciding metric of each class."""
        counted = self._counted(self.scorer.monitor.name, output)
        if counted is None:
            return self._folds(partial(self.scorer.value_by_class, output))
        return _without_each(counted[0].by_class_of_counts, counted[1])

    def _counted(
        self, name: str, output: Tensor, among: Sequence[int] | None = None
    ) -> tuple[CountedMetric, Tensor] | None:
        """Return a metric and its counts of each example, or group, if it has counts."""
        found = self.scorer.counts(name, output)
        if found is None:
            return None
        metric, examples, counts = found
        if among is not None:
            chosen = torch.isin(examples, torch.tensor(among))
            examples, counts = examples[chosen], counts[chosen]
        if self.groups is None:
            return metric, counts
        units = torch.tensor(self._units(examples.tolist()), dtype=torch.int64)
        sums = counts.new_zeros(len(units.unique()), *counts.shape[1:])
        return metric, sums.index_add(0, units, counts)

    def _units(self, examples: Sequence[int]) -> list[int]:
        """Return the number of each example's group; without groups each is one of its own."""
        return numbered([row if self.groups is None else self.groups[row] for row in examples])

    def _folds(
        self,
        metric: Callable[[Sequence[int] | None], Mapping[_Name, float]],
        among: Sequence[int] | None = None,
    ) -> dict[_Name, list[float]]:
        """Return pseudo-values of metrics that are neither means over examples nor of counts.

        By the jackknife over 20 folds: with G folds, the metric θ and θ_g without fold g,
        G θ − (G − 1) θ_g, shifted so that their mean is θ.
        """
        whole = metric(among)
        examples = range(self.scorer.test.examples) if among is None else among
        units = self._units(examples)
        order = torch.randperm(len(set(units)), generator=torch.Generator().manual_seed(0)).tolist()
        fold = {unit: place % _FOLDS for place, unit in enumerate(order)}
        rows = [
            [row for row, unit in zip(examples, units, strict=True) if fold[unit] != number]
            for number in range(min(_FOLDS, len(order)))
        ]
        try:
            less = [metric(each) for each in rows if each]
        except TutelageError:  # a metric that some part of the examples does not allow
            return {name: [value] for name, value in whole.items()}
        return {
            name: _finite(
                torch.tensor(value, dtype=torch.float64),
                torch.tensor([each.get(name, math.nan) for each in less], dtype=torch.float64),
            )
            for name, value in whole.items()
        }


def _without_each(
    metric: Callable[[Tensor], Mapping[_Name, Tensor]], counts: Tensor
) -> dict[_Name, list[float]]:
    """Return pseudo-values of metrics of counts, `[units, …]`; without the metrics that are NaN."""
    total = counts.sum(dim=0)
    whole, others = metric(total), metric(total - counts)
    return {
        name: _finite(value, others[name])
        for name, value in whole.items()
        if bool(value.isfinite())
    }


def _finite(whole: Tensor, others: Tensor) -> list[float]:
    """Return the pseudo-values; the metric alone where some part of the examples has none."""
    if len(others) < 2 or not bool(others.isfinite().all()):  # noqa: PLR2004 - no spread
        return [whole.item()]
    return pseudo_values(whole, others).tolist()
