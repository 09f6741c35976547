"""Differences between arms, with intervals over seeds and examples: whole, by domain, by class."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tutelage.errors import ArgumentError, TutelageError
from tutelage.evaluation import (
    Interval,
    NonInferiority,
    non_inferiority,
    paired_interval,
    seeds_needed,
)
from tutelage.objectives import Objective
from tutelage.reports.record import Comparison, PartDifference
from tutelage.studies.pseudo_values import PseudoValues
from tutelage.studies.score import Scorer

_ON_EXAMPLES = ("accuracy", "label_accuracy", "agreement")  # from 0 to 1 on each example
_ON_TOKENS = ("kl", "acceptance_rate")
_CONFIDENCE = 0.95


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
        if ours.shape[1] != theirs.shape[1]:  # one of the two has no parts
            ours, theirs, rows = ours.mean(1, keepdims=True), theirs.mean(1, keepdims=True), ()
        return Scores(ours - theirs, rows, self.resolution if rows else 0.0)


class Differences:
    """Computes and compares scores on the test data.

    Args:
        scorer: Has the deciding metric, the labels and domains.
        groups: The document, patient or the like of each test example; None if they are
            independent.
    """

    def __init__(self, scorer: Scorer, groups: Sequence[Hashable] | None) -> None:
        self.scorer, self.groups = scorer, groups
        self._pseudo = PseudoValues(scorer, groups)
        self._sign = 1.0 if scorer.higher else -1.0

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
        found: dict[str, Interval] = {}
        tokens = self.scorer.plan.kind == "tokens"
        for name in (*_ON_EXAMPLES, *(_ON_TOKENS if tokens else ("mse",))):
            scores = self._on_examples(name, reading, outputs)
            interval = None if scores is None else self._interval(scores, _CONFIDENCE)
            found |= {} if interval is None else {name: interval}
        for name in self.scorer.counted if tokens else ():
            values = [self._pseudo.counted(name, each) for each in outputs]
            known = [each for each in values if each is not None]
            scores = _table(known) if len(known) == len(values) else None
            interval = None if scores is None else self._interval(scores, _CONFIDENCE)
            found |= {} if interval is None else {name: interval}
        return found

    def _on_examples(
        self, name: str, reading: Objective, outputs: Sequence[Tensor]
    ) -> Scores | None:
        columns = [self.scorer.per_example(name, reading, each) for each in outputs]
        known = [each for each in columns if each is not None]
        if len(known) < len(columns):
            return None
        table = torch.stack([values for _, values in known]).double().numpy()
        one_answer = all(len(each) == self.scorer.test.examples for each in outputs)
        resolution = 1.0 if name in _ON_EXAMPLES and one_answer else 0.0
        return Scores(table, tuple(known[0][0].tolist()), resolution)

    def comparison(
        self, arm: str, other: str, found: Scores, margin: float | None = None
    ) -> Comparison:
        """Return the differences of two arms, or of an arm and the teacher, as a record."""
        seeds, units = found.table.shape
        groups = self._groups_of(found)
        interval = self._interval(found, _CONFIDENCE)
        over = [
            name for name, several in (("seeds", seeds > 1), ("examples", units > 1)) if several
        ]
        return Comparison(
            arm=arm,
            other=other,
            differences=tuple(found.table.mean(axis=1).tolist()),
            interval=interval,
            over=" and ".join(over) if interval else "",
            resolution=found.resolution * _unseen(units if groups is None else len(set(groups))),
            seeds_needed=self._seeds_needed(found, groups),
            non_inferiority=self._non_inferiority(found, groups, margin),
        )

    def parts(self, found: Scores) -> tuple[PartDifference, ...]:
        """Return the differences of each domain and of each class, corrected for their number."""
        return (
            *self._parts("domain", found, self.scorer.test.domains),
            *self._parts("class", found, self._classes()),
        )

    def class_scores(self, outputs: Sequence[Tensor]) -> dict[str, Scores]:
        """Return the scores of an arm's outputs by class, where the deciding metric tells them.

        Without the classes that some seed's outputs do not have.
        """
        if not self.scorer.is_by_class:
            return {}
        seeds = [self._pseudo.by_class(each) for each in outputs]
        return {
            str(name): self._signed(_table([each[name] for each in seeds]))
            for name in seeds[0]
            if all(name in each for each in seeds)
        }

    def domain_scores(self, reading: Objective, outputs: Sequence[Tensor]) -> dict[str, Scores]:
        """Return the scores of an arm's outputs on each domain alone.

        For a deciding metric that is no mean over examples: of one that is, `parts` tells them.
        """
        domains, name = self.scorer.test.domains, self.scorer.monitor.name
        different = list(dict.fromkeys(domains or ()))
        if len(different) < 2 or self._on_examples(name, reading, outputs[:1]) is not None:  # noqa: PLR2004
            return {}
        found: dict[str, Scores] = {}
        for each in different:
            rows = [row for row, domain in enumerate(domains or ()) if domain == each]
            with suppress(TutelageError):  # a metric that this domain does not allow
                scores = _table(
                    [self._pseudo.deciding(reading, output, rows) for output in outputs]
                )
                if bool(np.isfinite(scores.table).all()):
                    found[str(each)] = self._signed(scores)
        return found

    def named_parts(
        self, kind: str, ours: Mapping[str, Scores], theirs: Mapping[str, Scores]
    ) -> tuple[PartDifference, ...]:
        """Return differences of domains or classes from their scores, corrected for their number.

        Args:
            kind: "domain" or "class".
            ours: The scores of an arm by name.
            theirs: Those of the arm that it is compared with.
        """
        common = [name for name in ours if name in theirs]
        level = 1 - (1 - _CONFIDENCE) / max(1, len(common))  # Bonferroni
        found = {name: ours[name] - theirs[name] for name in common}
        sizes = Counter(map(str, self.scorer.test.domains or ())) if kind == "domain" else {}
        return tuple(
            PartDifference(
                kind, name, sizes.get(name), float(each.table.mean()), self._interval(each, level)
            )
            for name, each in found.items()
        )

    def _parts(
        self, kind: str, found: Scores, names: Sequence[Hashable] | None
    ) -> Iterator[PartDifference]:
        members: dict[Hashable, list[int]] = {}
        for place, row in enumerate(found.rows):
            members.setdefault("" if names is None else names[row], []).append(place)
        if len(members) < 2:  # noqa: PLR2004 - nothing to tell apart
            return
        level = 1 - (1 - _CONFIDENCE) / len(members)  # Bonferroni
        for name, places in members.items():
            rows = tuple(found.rows[each] for each in places)
            own = Scores(found.table[:, places], rows, found.resolution)
            mean = float(own.table.mean())
            yield PartDifference(kind, str(name), len(rows), mean, self._interval(own, level))

    def _classes(self) -> list[int] | None:
        labels = self.scorer.test.labels
        named = self.scorer.monitor.name in _ON_EXAMPLES
        whole = labels is not None and not labels.is_floating_point() and labels.ndim == 1
        return labels.tolist() if named and whole and labels is not None else None

    def _groups_of(self, found: Scores) -> list[Hashable] | None:
        if self.groups is None or not found.rows:
            return None
        return [self.groups[row] for row in found.rows]

    def _interval(self, found: Scores, level: float) -> Interval | None:
        try:
            return paired_interval(
                found.table,
                groups=self._groups_of(found),
                resolution=found.resolution,
                confidence=level,
            )
        except ArgumentError:  # one seed or ties without examples, or a single group
            return None

    def _seeds_needed(self, found: Scores, groups: Sequence[Hashable] | None) -> int | None:
        try:
            return seeds_needed(found.table, abs(float(found.table.mean())), groups=groups)
        except ArgumentError:  # no difference, one seed, or more than can be asked for
            return None

    def _non_inferiority(
        self, found: Scores, groups: Sequence[Hashable] | None, margin: float | None
    ) -> NonInferiority | None:
        if margin is None or len(found.table) < 2:  # noqa: PLR2004 - one seed shows nothing
            return None
        try:
            return non_inferiority(found.table, margin, groups=groups, resolution=found.resolution)
        except ArgumentError:  # ties without examples, or a single group
            return None


def _table(seeds: Sequence[Sequence[float]]) -> Scores:
    """Return pseudo-values of each seed as scores; their means where some seeds have others."""
    if len(set(map(len, seeds))) > 1:
        seeds = [[fmean(each)] for each in seeds]
    return Scores(np.array(seeds), (), 0.0)


def _unseen(units: int) -> float:
    """Return the share of all examples in which a difference may hide that none of these shows."""
    return math.log(2 / (1 - _CONFIDENCE)) / units
