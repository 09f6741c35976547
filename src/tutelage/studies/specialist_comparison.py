"""The result of `compare_specialists`, and the advice that follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from torch import nn

from tutelage.evaluation import Interval
from tutelage.reports.record import DecidingMetric
from tutelage.reports.verdict import ends, gain, metric_name
from tutelage.studies.routed import Routed
from tutelage.studies.study import Study

SPECIALISTS, GENERALIST = "specialists", "generalist"


@dataclass(frozen=True, repr=False)
class SpecialistComparison:
    """Specialists against a generalist of the same size and steps; above zero they are better.

    Args:
        difference: Over all measured examples, with its 95 % interval over seeds and examples.
        by_domain: For each domain, with intervals that hold for all domains together with 95 %
            (Bonferroni).
        study: The study behind it, with the arms "specialists" and "generalist".
    """

    difference: Interval
    by_domain: Mapping[str, Interval]
    study: Study

    def specialists(self, seed: int | None = None) -> dict[str, nn.Module]:
        """Return the trained specialists by domain, a teacher for `distill`.

        Args:
            seed: Of the repetition; None for the first.
        """
        return dict(zip(self.by_domain, self._members(SPECIALISTS, seed), strict=True))

    def generalist(self, seed: int | None = None) -> nn.Module:
        """Return the trained generalist.

        Args:
            seed: Of the repetition; None for the first.
        """
        return self._members(GENERALIST, seed)[0]

    @property
    def advice(self) -> str:
        """What was found, and from whom to distil."""
        side = _side(self.difference)
        better, worse = self._domains(+1), self._domains(-1)
        kept = [name for name in self.by_domain if name not in worse] if side > 0 else better
        return " ".join(part for part in (self._found(side), _in(better, worse)) if part) + (
            " Distil from the specialists, routed by domain."
            if len(kept) == len(self.by_domain)
            else f" Distil from the specialists of {_listed(kept)}, and from the generalist in the "
            "other domains: tl.teachers.Specialists({...}, generalist=...)."
            if kept
            else " Distil from the generalist."
            if side < 0
            else " Distil from the generalist, which is one model to train, or run more seeds."
        )

    def __str__(self) -> str:
        """The advice."""
        return self.advice

    __repr__ = __str__

    def _members(self, arm: str, seed: int | None) -> list[nn.Module]:
        return list(cast("Routed", self.study.student(arm, seed)).members)  # as both arms return it

    def _domains(self, side: int) -> list[str]:
        """Return the domains whose interval lies on this side of zero."""
        return [name for name, each in self.by_domain.items() if _side(each) == side]

    def _found(self, side: int) -> str:
        record, found = self.study.results, self.difference
        metric = cast("DecidingMetric", record.metric)
        sizes = (
            f"{metric_name(metric)} {gain(found.mean, metric, 2)}, 95 % interval "
            f"{ends(found, metric, 2)}, {len(record.seeds)} seeds"
        )
        one = f"one generalist of the same size and number of steps ({sizes})."
        if side == 0:
            return f"No difference is shown between specialists and {one}"
        return f"Specialists are {'better' if side > 0 else 'worse'} than {one}"


def _in(better: list[str], worse: list[str]) -> str:
    named = (("better", better), ("worse", worse))
    parts = [f"{word} in {_listed(names)}" for word, names in named if names]
    return f"By domain they are {' and '.join(parts)}." if parts else ""


def _listed(names: list[str]) -> str:
    return ", ".join(map(repr, names))


def _side(found: Interval) -> int:
    """Return 1 or −1 where an interval lies above or below zero, else 0."""
    return (found.low > 0) - (found.high < 0)
