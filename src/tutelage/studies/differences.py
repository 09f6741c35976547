"""Differences between arms, with intervals over seeds and examples: whole, by domain, by class."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from statistics import fmean
from typing import Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tutelage.errors import ArgumentError, TutelageError
from tutelage.evaluation import (
    CountedMetric,
    Interval,
    non_inferiority,
    paired_interval,
    pseudo_values,
    seeds_needed,
)
from tutelage.evaluation.intervals import numbered
from tutelage.labels import UNLABELLED
from tutelage.results.record import Comparison, PartDifference
from tutelage.studies.score import Scorer
from tutelage.tasks import Outputs
from tutelage.tasks.metrics import STANDARD
from tutelage.tasks.outputs import positions_of

_CONFIDENCE = 0.95
_FOLDS = 20
_RAREST = 20  # classes whose effect on a metric is measured
_Name = TypeVar("_Name", int, int | str)

Kind = Literal["domain", "class"]
"""Of parts of the test data."""


@dataclass(frozen=True)
class Scores:
    """What the deciding metric is the mean of, signed so that more is better.

    Args:
        table: `[seeds, units]`: scores of examples, or for a metric that is not a mean over
            examples pseudo-values of examples, groups or folds (the jackknife); `[seeds, 1]` where
            neither can be had.
        rows: The example of each unit; empty where units are no examples.
        resolution: The difference that one example can make; 0 for values and pseudo-values.
        rare: For pseudo-values, of classes with few examples: by how much the metric changes
            between all of them right and all wrong, and the number of these examples (or groups).
    """

    table: NDArray[np.float64]
    rows: tuple[int, ...]
    resolution: float
    rare: tuple[tuple[float, int], ...] = ()

    def __sub__(self, other: Scores) -> Scores:
        """Return the differences, seed by seed; a single row counts for every seed."""
        ours, theirs, rows = self.table, other.table, self.rows
        if rows != other.rows or ours.shape[1] != theirs.shape[1]:  # the units are not the same
            ours, theirs, rows = ours.mean(1, keepdims=True), theirs.mean(1, keepdims=True), ()
        resolution = self.resolution if rows else 0.0
        return Scores(ours - theirs, rows, resolution, self.rare + other.rare)

    def floor(self, confidence: float) -> float:
        """Return the largest difference of a metric that rare classes may hide.

        Of a class with n examples, a difference that none of them shows may still exist in
        ln(1/(1 − c)) / n of all its examples, and so be that fraction of the class's effect.
        """
        unseen = -math.log1p(-confidence)
        return max((effect * min(1.0, unseen / number) for effect, number in self.rare), default=0)


class Differences:
    """Computes and compares scores on the test data, whose examples may belong to groups.

    A metric that is not a mean over examples has pseudo-values in their place: see
    `tutelage.evaluation.jackknife`. Of a metric of counts there is one for each example, or group;
    of any other for each of 20 folds; where parts of the data do not allow the metric, only the
    metric itself.
    """

    def __init__(self, scorer: Scorer, groups: Sequence[Hashable] | None) -> None:
        self.scorer, self.groups = scorer, groups
        self._sign = 1.0 if scorer.monitor.higher else -1.0

    def scores(self, outputs: Sequence[Outputs]) -> Scores:
        """Return the scores of an arm's outputs, one for each seed."""
        outputs = self._without_teacher(outputs)
        found = self._on_examples(self.scorer.monitor.name, outputs)
        if found is None:
            found = _table([self._pseudo_values(each) for each in outputs])
            found = replace(found, rare=self._rare(outputs[0]))
        return self._signed(found)

    def _without_teacher(self, outputs: Sequence[Outputs]) -> list[Outputs]:
        """Return outputs without the teacher's where the user's metric decides: it reads none."""
        if self.scorer.monitor.name not in self.scorer.plan.metrics:
            return list(outputs)
        return [replace(each, teacher=None) for each in outputs]

    def _signed(self, found: Scores) -> Scores:
        """Return scores of which more is better."""
        return replace(found, table=self._sign * found.table)

    def intervals(self, outputs: Sequence[Outputs]) -> dict[str, Interval]:
        """Return the intervals of an arm's own metrics that are means over examples.

        Of language models also of those of counts.
        """
        task = self.scorer.plan.task
        scores = {name: self._on_examples(name, outputs) for name in task.means}
        for name in self.scorer.counted if task.keeps_scores else ():
            values = [self._of_counts(name, each) for each in outputs]
            known = [each for each in values if each is not None]
            scores[name] = _table(known) if len(known) == len(values) else None
        found = {name: self._interval(each) for name, each in scores.items() if each is not None}
        return {name: each for name, each in found.items() if each is not None}

    def _on_examples(
        self, name: str, outputs: Sequence[Outputs], among: Sequence[int] | None = None
    ) -> Scores | None:
        """Return the values whose mean a metric is; None of other metrics."""
        task = self.scorer.plan.task
        columns = [task.example_values(name, each, among) for each in outputs]
        known = [each for each in columns if each is not None]
        if len(known) < len(columns) or name in self.scorer.plan.metrics:
            return None
        table = torch.stack([values for _, values in known]).double().numpy()
        rows = tuple(known[0][0].tolist())
        return Scores(table, rows, task.resolution(name, outputs[0]))

    def comparison(
        self,
        arm: str,
        other: str,
        found: Scores,
        margin: float | None = None,
        *,
        arms: int = 1,
        controls: int = 1,
    ) -> Comparison:
        """Return the differences of two arms, or of an arm and the teacher, as a record.

        Args:
            arm: Its name.
            other: What it is compared with.
            found: The differences of their scores.
            margin: For a test of non-inferiority.
            arms: How many arms are looked at together.
            controls: Among how many `other` may be selected, by the same test data, as the best.
        """
        seeds, units = found.table.shape
        groups = self._groups_of(found)
        # The fraction of all examples in which a difference may hide that none of these shows.
        unseen = math.log(2 / (1 - _CONFIDENCE)) / (units if groups is None else len(set(groups)))
        interval = self._interval(found)
        over = [
            name for name, several in (("seeds", seeds > 1), ("examples", units > 1)) if several
        ]
        needed = test = None
        effect = abs(float(found.table.mean()))
        resolution = max(found.resolution * unseen, found.floor((1 + _CONFIDENCE) / 2))
        with suppress(ArgumentError):  # no difference, one seed, or more than can be asked for
            # More seeds cannot show what the test examples are too few to resolve.
            needed = (
                seeds_needed(found.table, effect, groups=groups) if effect > resolution else None
            )
        if margin is not None and seeds > 1:  # one seed shows nothing
            with suppress(ArgumentError):  # ties without examples, or a single group
                test = non_inferiority(
                    found.table, margin, groups=groups, resolution=found.resolution
                )
                lowest = test.mean - found.floor(test.confidence)
                test = replace(test, bound=min(test.bound, lowest))
        return Comparison(
            arm=arm,
            other=other,
            differences=tuple(found.table.mean(axis=1).tolist()),
            interval=interval,
            corrected=self._interval(found, arms, arms * controls),
            over=" and ".join(over) if interval else "",
            resolution=resolution,
            seeds_needed=needed,
            non_inferiority=test,
        )

    def parts(
        self,
        kind: Kind,
        ours: Mapping[str, Scores],
        theirs: Mapping[str, Scores],
        controls: int = 1,
    ) -> tuple[PartDifference, ...]:
        """Return the differences of two arms `by_part`, corrected for the number of parts.

        And of `controls`, of which the second arm may be the best by the same test data.
        """
        found = {name: ours[name] - theirs[name] for name in ours if name in theirs}
        sizes = Counter(map(str, self.scorer.plan.test.domains or ())) if kind == "domain" else {}
        return tuple(
            PartDifference(
                kind,
                name,
                len(each.rows) or sizes.get(name),
                float(each.table.mean()),
                self._interval(each, len(found), len(found) * controls),
            )
            for name, each in found.items()
        )

    def by_part(self, kind: Kind, whole: Scores, outputs: Sequence[Outputs]) -> dict[str, Scores]:
        """Return the scores of an arm by domain or class: of a mean over examples, those of each.

        Of another metric they are those on each domain alone, or by class where the metric tells
        them; without the parts for which some seed's outputs have no finite one. `whole` are the
        scores on all examples.
        """
        outputs = self._without_teacher(outputs)
        if not whole.rows:
            found = self._by_class(outputs) if kind == "class" else self._by_domain(outputs)
            return {
                name: self._signed(each)
                for name, each in found.items()
                if len(each.table) == len(outputs) and bool(np.isfinite(each.table).all())
            }
        names = self.scorer.plan.test.domains if kind == "domain" else self._classes()
        split = {} if names is None else _split(whole, names)
        if kind == "class":
            split.pop(str(UNLABELLED), None)  # whose agreement with the teacher is known
        if outputs[0].rows is None:
            return split
        metric = self.scorer.monitor.name  # a ratio, to be linearised about each part's mean
        own = {name: self._on_examples(metric, outputs, each.rows) for name, each in split.items()}
        return {name: self._signed(each) for name, each in own.items() if each is not None}

    def _by_class(self, outputs: Sequence[Outputs]) -> dict[str, Scores]:
        """Return the pseudo-values of each class, for the seeds that have it."""

        def one(output: Outputs) -> dict[int | str, list[float]]:
            counted = self._counted(self.scorer.monitor.name, output)
            if counted is None:
                return self._folds(self.scorer.value_by_class, output)
            return _without_each(counted[0].by_class_of_counts, counted[1])

        seeds = [one(each) for each in outputs]
        found = {name: [each[name] for each in seeds if name in each] for name in seeds[0]}
        return {str(name): _table(each) for name, each in found.items()}

    def _by_domain(self, outputs: Sequence[Outputs]) -> dict[str, Scores]:
        """Return the pseudo-values of each domain that allows the metric."""
        members, found = positions_of(self.scorer.plan.test.domains or ()), {}
        for name, rows in members.items() if len(members) > 1 else ():
            with suppress(TutelageError):  # a metric that this domain does not allow
                each = _table([self._pseudo_values(one, rows) for one in outputs])
                found[name] = replace(each, rare=self._rare(outputs[0], rows))
        return found

    def _classes(self) -> list[int] | None:
        """Return the class of each example; None where the metric is not a mean of fractions."""
        plan, name = self.scorer.plan, self.scorer.monitor.name
        labels, task = plan.test.labels, plan.task
        if name not in task.means or not STANDARD[name].fraction or not isinstance(labels, Tensor):
            return None
        return None if labels.is_floating_point() or labels.ndim > 1 else labels.tolist()

    def _pseudo_values(self, outputs: Outputs, among: Sequence[int] | None = None) -> list[float]:
        """Return pseudo-values of the deciding metric, on some examples or all."""
        found = self._of_counts(self.scorer.monitor.name, outputs, among)
        if found is None:
            found = self._folds(lambda part: {0: self.scorer.value(part)}, outputs, among)[0]
        return found

    def _of_counts(
        self, name: str, outputs: Outputs, among: Sequence[int] | None = None
    ) -> list[float] | None:
        """Return those of a metric of counts; None of another, or if it is not finite."""
        counted = self._counted(name, outputs, among)
        if counted is None:
            return None
        metric, counts = counted
        return _without_each(lambda part: {0: metric.of_counts(part)}, counts).get(0)

    def _counted(
        self, name: str, outputs: Outputs, among: Sequence[int] | None = None
    ) -> tuple[CountedMetric, Tensor] | None:
        """Return a metric and its counts of each example, or group, if it has counts."""
        metric = self.scorer.counted.get(name)
        found = None if metric is None else outputs.counts(metric)
        if metric is None or found is None:
            return None
        examples, counts = found
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
        metric: Callable[[Outputs], Mapping[_Name, float]],
        outputs: Outputs,
        among: Sequence[int] | None = None,
    ) -> dict[_Name, list[float]]:
        """Return pseudo-values of metrics that are neither means over examples nor of counts.

        By the jackknife over 20 folds: with G folds, the metric θ and θ_g without fold g,
        G θ − (G − 1) θ_g, shifted so that their mean is θ.
        """
        whole = metric(outputs if among is None else outputs[among])
        if not whole:
            return {}
        examples = range(outputs.examples) if among is None else among
        units = self._units(examples)
        order = torch.randperm(len(set(units)), generator=torch.Generator().manual_seed(0)).tolist()
        fold = {unit: place % _FOLDS for place, unit in enumerate(order)}
        rows = [
            [row for row, unit in zip(examples, units, strict=True) if fold[unit] != number]
            for number in range(min(_FOLDS, len(order)))
        ]
        try:
            less = [metric(outputs[each]) for each in rows if each]
        except TutelageError:  # a metric that some part of the examples does not allow
            return {name: [value] for name, value in whole.items()}
        return {
            name: _finite(
                torch.tensor(value, dtype=torch.float64),
                torch.tensor([each.get(name, math.nan) for each in less], dtype=torch.float64),
            )
            for name, value in whole.items()
        }

    def _rare(
        self, outputs: Outputs, among: Sequence[int] | None = None
    ) -> tuple[tuple[float, int], ...]:
        """Return the effect of the rarest classes on the deciding metric: see `Scores.rare`.

        The jackknife says nothing of a class in whose few examples the arms happen to agree.
        """
        found, task = [], self.scorer.plan.task
        if self.scorer.monitor.name in task.teacher_metrics:
            return ()  # which is not about labels
        for examples, right, wrong in islice(task.extremes(outputs, among), _RAREST):
            both = (replace(outputs, student=each) for each in (right, wrong))
            with suppress(TutelageError):  # a metric that such outputs do not allow
                best, worst = (
                    self.scorer.value(each if among is None else each[among]) for each in both
                )
                if math.isfinite(best - worst):
                    found.append((abs(best - worst), len(set(self._units(examples)))))
        return tuple(found)

    def _groups_of(self, found: Scores) -> list[Hashable] | None:
        if self.groups is None or not found.rows:
            return None
        return [self.groups[row] for row in found.rows]

    def _interval(self, found: Scores, gains: int = 1, losses: int = 1) -> Interval | None:
        """Return the 95 % interval; None where one seed or ties leave nothing to estimate it from.

        Bonferroni's correction: each end is that of an interval of the confidence 1 − 0.05/n. The
        lower end, above 0 where a gain is shown, is for n = `gains` differences looked at, the
        upper one for n = `losses`: against the best of K controls there are K ways to seem worse.
        """

        def at(comparisons: int) -> Interval | None:
            confidence = 1 - (1 - _CONFIDENCE) / comparisons
            least = found.floor((1 + confidence) / 2)
            try:
                known = paired_interval(
                    found.table,
                    groups=self._groups_of(found),
                    resolution=found.resolution,
                    confidence=confidence,
                )
            except ArgumentError:
                if not least or found.table.shape[1] == 1:
                    return None
                known = Interval(*[float(found.table.mean())] * 3)  # few examples often tie
            low, high = min(known.low, known.mean - least), max(known.high, known.mean + least)
            return Interval(known.mean, low, high)

        low, high = at(max(1, gains)), at(max(1, losses))
        return None if low is None or high is None else replace(low, high=high.high)


def _split(whole: Scores, names: Sequence[Hashable]) -> dict[str, Scores]:
    """Return the scores of the examples of each name; nothing where they all have one."""
    members = positions_of(str(names[row]) for row in whole.rows)
    if len(members) < 2:  # noqa: PLR2004 - nothing to tell apart
        return {}
    return {
        name: Scores(whole.table[:, own], tuple(whole.rows[each] for each in own), whole.resolution)
        for name, own in members.items()
    }


def _table(seeds: Sequence[Sequence[float]]) -> Scores:
    """Return pseudo-values of each seed as scores; their means where some seeds have others."""
    if len(set(map(len, seeds))) > 1:
        seeds = [[fmean(each)] for each in seeds]
    return Scores(np.array(seeds), (), 0.0)


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
