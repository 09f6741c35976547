"""The settings of an arm that sweeps: those that do best on validation data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from tutelage.errors import NonFiniteError
from tutelage.results.record import Edge, Tried, Tuning
from tutelage.studies.plan import readable_setting
from tutelage.studies.score import Scorer
from tutelage.studies.sweep import FURTHER, Sweep, as_sweep, at_edge, beyond
from tutelage.studies.trials import StudyTrial, Trials


@dataclass(frozen=True)
class Chosen:
    """The setting of an arm, what else was tried, and what that took; empty without a sweep."""

    setting: Mapping[str, Any]
    tried: tuple[Tried, ...] = ()
    edges: tuple[Edge, ...] = ()
    tuning: Tuning | None = None


def choose(trials: Trials, scorer: Scorer) -> dict[str, Chosen]:
    """Return each arm's setting, the best in the deciding metric, tried out on the first seeds."""
    arms = trials.plan.arms
    searches = {
        name: _Search(name, as_sweep(arm.sweep), scorer) for name, arm in arms.items() if arm.sweep
    }
    seeds = trials.plan.seeds[: trials.plan.training.sweep_seeds]

    def attempt(wanted: Mapping[str, Sequence[dict[str, Any]]]) -> None:
        pairs = [(name, each) for name, settings in wanted.items() for each in settings]
        planned = [trials.trial(name, each, seed) for name, each in pairs for seed in seeds]
        done = iter(trials.carried_out(planned, tuning=True))
        for name, setting in pairs:
            searches[name].add(setting, [next(done) for _ in seeds])

    attempt({name: list(each.sweep.settings()) for name, each in searches.items()})
    extends = any(each.sweep.extend for each in searches.values())
    most = FURTHER if extends else 0
    for _ in range(most):
        attempt({name: each.further() for name, each in searches.items()})
    return {name: searches[name].chosen(most) if name in searches else Chosen({}) for name in arms}


@dataclass
class _Search:
    """The settings that an arm has tried."""

    name: str
    sweep: Sweep
    scorer: Scorer
    settings: list[dict[str, Any]] = field(default_factory=list)
    values: list[float | None] = field(default_factory=list)
    trials: list[StudyTrial] = field(default_factory=list)

    def add(self, setting: dict[str, Any], trials: Sequence[StudyTrial]) -> None:
        """Note how good a setting was, the mean over seeds."""
        values = [self.scorer.value_on_val(each) for each in trials]
        known = [each for each in values if each is not None and math.isfinite(each)]
        self.settings.append(setting)
        # None where a seed diverged or has no finite value.
        self.values.append(fmean(known) if len(known) == len(values) else None)
        self.trials += trials

    @property
    def best(self) -> dict[str, Any]:
        """The setting with the best metric; the first of equals."""
        finite = [(value, place) for place, value in enumerate(self.values) if value is not None]
        if not finite:
            raise NonFiniteError(
                f"arm {self.name!r} must train at one of its settings at least, got no finite loss "
                f"or no {self.scorer.monitor.name} on `val` at any; sweep over lower learning "
                "rates, and let `val` have labels"
            )
        sign = 1 if self.scorer.monitor.higher else -1
        return self.settings[max(finite, key=lambda pair: (sign * pair[0], -pair[1]))[1]]

    def known(self, name: str) -> list[Any]:
        """Return the values of a setting: of the grid, and beyond it."""
        return [*self.sweep[name], *(each[name] for each in self.settings)]

    def further(self) -> list[dict[str, Any]]:
        """Return the best setting with one number beyond its edge, if it is at one."""
        best = self.best
        for name, value in best.items():
            found = beyond(name, self.known(name), value)
            if found is not None:
                return [{**best, name: found}]
        return []

    def chosen(self, further: int) -> Chosen:
        """Return what was chosen; `further` settings beyond the grid were allowed."""
        best, grid = self.best, len(list(self.sweep.settings()))
        tried, texts = [], [readable_setting(each) for each in self.settings]
        for place, (text, value) in enumerate(zip(texts, self.values, strict=True)):
            number = texts[: place + 1].count(text)  # of those that read alike, as functions may
            words = f"{text} ({number})" if texts.count(text) > 1 else text
            tried.append(Tried(words, value, place >= grid))
        edges = (
            Edge(name, float(value), tuple(sorted({float(each) for each in self.known(name)})))
            for name, value in best.items()
            if at_edge(name, self.known(name), value)
        )
        steps = [each.record.get("steps") for each in self.trials]  # unknown where one diverged
        known = [each for each in steps if each is not None]
        seconds = math.fsum(each.record.get("seconds", 0.0) for each in self.trials)
        tuning = Tuning(sum(known) if len(known) == len(steps) else None, seconds, further)
        return Chosen(best, tuple(tried), tuple(edges), tuning)
