"""The settings of an arm that sweeps: those that do best on validation data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from tutelage.errors import NonFiniteError
from tutelage.results.record import Edge, Tried, Tuning
from tutelage.studies.arm import Arm
from tutelage.studies.carry_out import Trials
from tutelage.studies.describe import readable_setting
from tutelage.studies.score import Scorer
from tutelage.studies.sweep import FURTHER, as_sweep, at_edge, beyond
from tutelage.studies.trial import Planned


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
    searches = {name: _Search(name, arm, scorer) for name, arm in arms.items() if arm.sweep}
    _try(trials, {name: list(each.arm.settings()) for name, each in searches.items()}, searches)
    extends = any(as_sweep(each.arm.sweep).extend for each in searches.values())
    most = FURTHER if extends else 0
    for _ in range(most):
        _try(trials, {name: each.further() for name, each in searches.items()}, searches)
    return {name: searches[name].chosen(most) if name in searches else Chosen({}) for name in arms}


def all_trials(trials: Trials, chosen: Mapping[str, Chosen]) -> list[Planned]:
    """Return the trials of all arms at their settings, seed by seed."""
    return [
        trials.keys.trial(name, arm, chosen[name].setting, seed)
        for seed in trials.plan.seeds
        for name, arm in trials.plan.arms.items()
    ]


@dataclass
class _Search:
    """The settings that an arm has tried."""

    name: str
    arm: Arm
    scorer: Scorer
    settings: list[dict[str, Any]] = field(default_factory=list)
    values: list[float | None] = field(default_factory=list)
    steps: int | None = 0
    seconds: float = 0.0

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
        return [*self.arm.sweep[name], *(each[name] for each in self.settings)]

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
        best, texts = self.best, _told_apart([readable_setting(each) for each in self.settings])
        grid = len(list(self.arm.settings()))
        tried = (
            Tried(text, value, place >= grid)
            for place, (text, value) in enumerate(zip(texts, self.values, strict=True))
        )
        edges = (
            Edge(name, float(value), tuple(sorted({float(each) for each in self.known(name)})))
            for name, value in best.items()
            if at_edge(name, self.known(name), value)
        )
        tuning = Tuning(self.steps, self.seconds, further)
        return Chosen(best, tuple(tried), tuple(edges), tuning)


def _try(
    trials: Trials,
    wanted: Mapping[str, Sequence[dict[str, Any]]],
    searches: Mapping[str, _Search],
) -> None:
    """Carry out the trials of some settings of each arm, and note how good they are."""
    plan = trials.plan
    seeds = plan.seeds[: plan.training.sweep_seeds]
    planned = [
        trials.keys.trial(name, plan.arms[name], setting, seed)
        for name, settings in wanted.items()
        for setting in settings
        for seed in seeds
    ]
    done = iter(trials.all(planned, tuning=True))
    for name, settings in wanted.items():
        search = searches[name]
        for setting in settings:
            tried = [next(done) for _ in seeds]
            search.settings.append(setting)
            search.values.append(_mean([search.scorer.on_validation(each) for each in tried]))
            for each in tried:
                steps: int | None = each.record.get("steps")  # unknown where it diverged
                if steps is None or search.steps is None:
                    search.steps = None
                else:
                    search.steps += steps
                search.seconds += each.record.get("seconds", 0.0)


def _mean(values: list[float | None]) -> float | None:
    """Return the mean over seeds; None where a seed diverged or has no finite value."""
    known = [each for each in values if each is not None and math.isfinite(each)]
    return fmean(known) if len(known) == len(values) else None


def _told_apart(texts: list[str]) -> list[str]:
    """Number settings that read alike, such as functions of one name."""
    return [
        f"{text} ({texts[: place + 1].count(text)})" if texts.count(text) > 1 else text
        for place, text in enumerate(texts)
    ]
