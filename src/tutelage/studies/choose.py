"""The settings of an arm that sweeps: those that do best on validation data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from tutelage.errors import NonFiniteError
from tutelage.reports.record import Tried
from tutelage.studies.carry_out import Trials
from tutelage.studies.describe import readable_setting
from tutelage.studies.plan import StudyPlan
from tutelage.studies.score import Scorer
from tutelage.studies.trial import Planned


@dataclass(frozen=True)
class Chosen:
    """The setting of an arm, and what else was tried.

    Args:
        setting: The values of its sweep; empty without one.
        tried: All settings with their metrics.
    """

    setting: Mapping[str, Any]
    tried: tuple[Tried, ...]


def choose(plan: StudyPlan, trials: Trials, scorer: Scorer, seeds: int) -> dict[str, Chosen]:
    """Return each arm's setting, tried out on the first seeds.

    Args:
        plan: The study.
        trials: Carries them out.
        scorer: Gives the deciding metric.
        seeds: How many seeds each setting is tried with.
    """
    chosen = {name: Chosen({}, ()) for name in plan.arms}
    swept = {name: list(arm.settings()) for name, arm in plan.arms.items() if arm.sweep}
    places = [
        (name, place)
        for name, settings in swept.items()
        for place in range(len(settings))
        for _ in plan.seeds[:seeds]
    ]
    wanted = [
        trials.keys.trial(name, plan.arms[name], setting, seed)
        for name, settings in swept.items()
        for setting in settings
        for seed in plan.seeds[:seeds]
    ]
    values: dict[tuple[str, int], list[float | None]] = {}
    for place, done in zip(places, trials.all(wanted, tuning=True), strict=True):
        values.setdefault(place, []).append(scorer.on_validation(done))
    for name, settings in swept.items():
        means = [_mean(values[name, place]) for place in range(len(settings))]
        texts = _told_apart([readable_setting(setting) for setting in settings])
        tried = tuple(map(Tried, texts, means))
        chosen[name] = Chosen(settings[_best(name, means, scorer)], tried)
    return chosen


def all_trials(plan: StudyPlan, trials: Trials, chosen: Mapping[str, Chosen]) -> list[Planned]:
    """Return the trials of all arms at their settings, seed by seed."""
    return [
        trials.keys.trial(name, arm, chosen[name].setting, seed)
        for seed in plan.seeds
        for name, arm in plan.arms.items()
    ]


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


def _best(name: str, values: list[float | None], scorer: Scorer) -> int:
    finite = [(value, place) for place, value in enumerate(values) if value is not None]
    if not finite:
        raise NonFiniteError(
            f"arm {name!r} must train at one of its settings at least, got no finite loss or no "
            f"{scorer.monitor.name} on `val` at any; sweep over lower learning rates, and let "
            "`val` have labels"
        )
    sign = 1 if scorer.higher else -1
    return max(finite, key=lambda pair: (sign * pair[0], -pair[1]))[1]
