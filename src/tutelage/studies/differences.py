"""Differences between arms, with intervals over seeds and examples: whole, by domain, by class."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tutelage.errors import ArgumentError, TutelageError
from tutelage.evaluation import Interval, non_inferiority, paired_interval, seeds_needed
from tutelage.objectives import Objective
from tutelage.results.record import Comparison, PartDifference
from tutelage.signals import UNLABELLED
from tutelage.studies.pseudo_values import PseudoValues
from tutelage.studies.score import Scorer
from tutelage.tasks.metrics import places

_ON_EXAMPLES = ("accuracy", "label_accuracy", "agreement")  # from 0 to 1 on each example
_CONFIDENCE = 0.95

Kind = Literal["domain", "class"]
"""Of parts of the test data."""


@dataclass(frozen=True)
class Scores:
    """What the deciding metric is the mean of, signed so that more is better.

    Args:
        table: `[seeds, units]`: scores of examples, or for a metric that is no mean over examples
            pseudo-values of examples, groups or folds (the jackknife); `[seeds, 1]` where neither
            can be had.
        rows: The example of each unit; empty where units are no examples.
        resolution: The difference that one example can make; 0 for values and pseudo-values.
    """

    table: NDArray[np.float64]
    rows: tuple[int, ...]
    resolution: float

    def __sub__(self, other: Scores) -> Scores:
        """Return the differences, seed by seed; a single row counts for every seed."""
        ours, theirs, rows = self.table, other.table, self.rows
        if rows != other.rows or ours.shape[1] != theirs.shape[1]:  # the units are not the same
            ours, theirs, rows = ours.mean(1, keepdims=True), theirs.mean(1, keepdims=True), ()
        return Scores(ours - theirs, rows, self.resolution if rows else 0.0)


class Differences:
    """Computes and compares scores on the test data, whose examples may belong to groups."""

    def __init__(self, scorer: Scorer, groups: Sequence[Hashable] | None) -> None:
        self.scorer, self.groups = scorer, groups
        self._pseudo = PseudoValues(scorer, groups)
        self._sign = 1.0 if scorer.monitor.higher else -1.0

    def scores(self, reading: Objective, outputs: Sequence[Tensor]) -> Scores:
        """Return the scores of an arm's outputs, one for each seed."""
        found = self._on_examples(self.scorer.monitor.name, reading, outputs)
        if found is None:
            found = _table([self._pseudo.deciding(reading, each) for each in outputs])
        return self._signed(found)

    def _signed(self, found: Scores) -> Scores:
        """Return scores of which more is better."""
        return replace(found, table=self._sign * found.table)

    def intervals(self, reading: Objective, outputs: Sequence[Tensor]) -> dict[str, Interval]:
        """Return the intervals of an arm's own metrics that are means over examples.

        Of language models also of those of counts.
        """
        task = self.scorer.task
        scores = {name: self._on_examples(name, reading, outputs) for name in task.means}
        for name in self.scorer.counted if task.keeps_scores else ():
            values = [self._pseudo.counted(name, each) for each in outputs]
            known = [each for each in values if each is not None]
            scores[name] = _table(known) if len(known) == len(values) else None
        found = {name: self._interval(each) for name, each in scores.items() if each is not None}
        return {name: each for name, each in found.items() if each is not None}

    def _on_examples(
        self,
        name: str,
        reading: Objective,
        outputs: Sequence[Tensor],
        among: Sequence[int] | None = None,
    ) -> Scores | None:
        columns = [self.scorer.per_example(name, reading, each, among) for each in outputs]
        known = [each for each in columns if each is not None]
        if len(known) < len(columns):
            return None
        table = torch.stack([values for _, values in known]).double().numpy()
        resolution = self.scorer.task.resolution(name, self.scorer.test.outputs(outputs[0]))
        return Scores(table, tuple(known[0][0].tolist()), resolution)

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
        # The share of all examples in which a difference may hide that none of these shows.
        unseen = math.log(2 / (1 - _CONFIDENCE)) / (units if groups is None else len(set(groups)))
        interval = self._interval(found)
        over = [
            name for name, several in (("seeds", seeds > 1), ("examples", units > 1)) if several
        ]
        needed = test = None
        with suppress(ArgumentError):  # no difference, one seed, or more than can be asked for
            needed = seeds_needed(found.table, abs(float(found.table.mean())), groups=groups)
        if margin is not None and seeds > 1:  # one seed shows nothing
            with suppress(ArgumentError):  # ties without examples, or a single group
                test = non_inferiority(
                    found.table, margin, groups=groups, resolution=found.resolution
                )
        return Comparison(
            arm=arm,
            other=other,
            differences=tuple(found.table.mean(axis=1).tolist()),
            interval=interval,
            corrected=self._interval(found, arms, arms * controls),
            over=" and ".join(over) if interval else "",
            resolution=found.resolution * unseen,
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
        sizes = Counter(map(str, self.scorer.test.domains or ())) if kind == "domain" else {}
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

    def by_part(
        self, kind: Kind, whole: Scores, reading: Objective, outputs: Sequence[Tensor]
    ) -> dict[str, Scores]:
        """Return the scores of an arm by domain or class: of a mean over examples, those of each.

        Of another metric they are those on each domain alone, or by class where the metric tells
        them; without the parts for which some seed's outputs have no finite one. `whole` are the
        scores on all examples.
        """
        if whole.rows:
            names = self.scorer.test.domains if kind == "domain" else self._classes()
            split = {} if names is None else _split(whole, names)
            if kind == "class":
                split.pop(str(UNLABELLED), None)  # whose agreement with the teacher is known
            if self.scorer.test.outputs(outputs[0]).rows is None:
                return split
            metric = self.scorer.monitor.name  # a ratio, to be linearised about each part's mean
            own = {
                name: self._on_examples(metric, reading, outputs, each.rows)
                for name, each in split.items()
            }
            return {name: self._signed(each) for name, each in own.items() if each is not None}
        found = self._by_class(outputs) if kind == "class" else self._by_domain(reading, outputs)
        known = {name: _table(seeds) for name, seeds in found.items()}
        return {
            name: self._signed(each)
            for name, each in known.items()
            if len(each.table) == len(outputs) and bool(np.isfinite(each.table).all())
        }

    def _by_class(self, outputs: Sequence[Tensor]) -> dict[str, list[list[float]]]:
        """Return the pseudo-values of each class and seed that has it."""
        if not self.scorer.is_by_class:
            return {}
        seeds = [self._pseudo.by_class(each) for each in outputs]
        return {str(name): [each[name] for each in seeds if name in each] for name in seeds[0]}

    def _by_domain(
        self, reading: Objective, outputs: Sequence[Tensor]
    ) -> dict[str, list[list[float]]]:
        """Return the pseudo-values of each domain that allows the metric, and seed."""
        members, found = places(self.scorer.test.domains or ()), {}
        for name, rows in members.items() if len(members) > 1 else ():
            with suppress(TutelageError):  # a metric that this domain does not allow
                found[name] = [self._pseudo.deciding(reading, each, rows) for each in outputs]
        return found

    def _classes(self) -> list[int] | None:
        labels = self.scorer.test.labels
        named = self.scorer.monitor.name in _ON_EXAMPLES
        whole = labels is not None and not labels.is_floating_point() and labels.ndim == 1
        return labels.tolist() if named and whole and labels is not None else None

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

        def at(comparisons: int) -> Interval:
            return paired_interval(
                found.table,
                groups=self._groups_of(found),
                resolution=found.resolution,
                confidence=1 - (1 - _CONFIDENCE) / comparisons,
            )

        with suppress(ArgumentError):
            low = at(max(1, gains))
            return low if gains == losses else replace(low, high=at(losses).high)
        return None


def _split(whole: Scores, names: Sequence[Hashable]) -> dict[str, Scores]:
    """Return the scores of the examples of each name; nothing where they all have one."""
    members = places(str(names[row]) for row in whole.rows)
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
