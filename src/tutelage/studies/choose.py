"""The settings of an arm that sweeps: those that do best on validation data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from tutelage.errors import NonFiniteError
from tutelage.studies.carry_out import Done, Trials
from tutelage.studies.describe import readable_setting
from tutelage.studies.plan import StudyPlan
from tutelage.studies.results import Tried
from tutelage.studies.score import Scorer
from tutelage.studies.trial import Planned


@dataclass(frozen=True)
class Chosen:
    """The setting of an arm, and what else was tried.

    Args:
        setting: The values of its sweep; empty without one.
        tried: All settings with their figures.
    """

    setting: Mapping[str, Any]
    tried: tuple[Tried, ...]


def choose(plan: StudyPlan, trials: Trials, scorer: Scorer, seeds: int) -> dict[str, Chosen]:
    """Return each arm's setting, tried out on the first seeds.

    Args:
        plan: The study.
        trials: Carries them out.
        scorer: Gives the deciding figure.
        seeds: How many seeds each setting is tried with.
    """
    chosen = {name: Chosen({}, ()) for name in plan.arms}
    swept = {name: list(arm.settings()) for name, arm in plan.arms.items() if arm.sweep}
    wanted = [
        trials.keys.trial(name, plan.arms[name], setting, seed)
        for seed in plan.seeds[:seeds]
        for name, settings in swept.items()
        for setting in settings
    ]
    found = _by_setting(trials.all(wanted, tuning=True), scorer)
    for name, settings in swept.items():
        values = [found[name, readable_setting(setting)] for setting in settings]
        tried = tuple(
            Tried(readable_setting(setting), value)
            for setting, value in zip(settings, values, strict=True)
        )
        chosen[name] = Chosen(settings[_best(name, values, scorer)], tried)
    return chosen


def all_trials(plan: StudyPlan, trials: Trials, chosen: Mapping[str, Chosen]) -> list[Planned]:
    """Return the trials of all arms at their settings, seed by seed."""
    return [
        trials.keys.trial(name, arm, chosen[name].setting, seed)
        for seed in plan.seeds
        for name, arm in plan.arms.items()
    ]


def _by_setting(done: list[Done], scorer: Scorer) -> dict[tuple[str, str], float | None]:
    """Return the mean figure of each arm and setting; None where a seed diverged."""
    values: dict[tuple[str, str], list[float | None]] = {}
    for each in done:
        key = (each.planned.name, readable_setting(each.planned.setting))
        values.setdefault(key, []).append(scorer.on_validation(each))
    return {
        key: None if None in found else fmean(each for each in found if each is not None)
        for key, found in values.items()
    }


def _best(name: str, values: list[float | None], scorer: Scorer) -> int:
    finite = [(value, place) for place, value in enumerate(values) if value is not None]
    if not finite:
        raise NonFiniteError(
            f"arm {name!r} must train at one of its settings at least, got a loss that is not "
            "finite at each; sweep over lower learning rates"
        )
    sign = 1 if scorer.higher else -1
    return max(finite, key=lambda pair: (sign * pair[0], -pair[1]))[1]
