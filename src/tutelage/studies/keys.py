"""Which trial is which: equal keys, in any process, mean the same trial."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tutelage.identity import digest, identity
from tutelage.studies.arm import Arm
from tutelage.studies.describe import data_identity
from tutelage.studies.plan import StudyPlan
from tutelage.studies.trial import Planned


class Keys:
    """Makes the keys of a study's trials, looking at each data set and model once.

    A key changes with all that decides a trial's result, as far as it can be seen: teacher, first
    weights, data, objective, settings. So a trial is never mistaken for that of another study in
    the same folder; one whose settings were changed is simply another trial. `val` is a text that
    changes with the validation data.
    """

    def __init__(self, plan: StudyPlan, val: str) -> None:
        self.plan = plan
        self._seen: dict[tuple[str, Any], tuple[object, str]] = {}
        self._same: dict[str, list[Mapping[str, Any]]] = {}
        self._val = val if plan.training.keep_best else ""

    def trial(self, name: str, arm: Arm, setting: Mapping[str, Any], seed: int) -> Planned:
        """Return a trial with its key."""
        plan = self.plan
        arm = arm.at_setting(setting)
        train = plan.train_data(arm, seed)
        parts = (
            self.teacher(arm),
            identity(plan.first_student(arm, seed)),
            self.data(train),
            self._val,
            identity(self._asked(arm, setting)),
            identity(plan.settings(arm, seed, train)),
        )
        key = f"{_as_file_name(name)}-seed{seed}-{digest(*parts)}"
        # Functions go by their names, so the settings of one sweep may have equal keys.
        same = self._same.setdefault(key, [])
        if not any(_are_one(setting, each) for each in same):
            same.append(setting)
        number = next(at for at, each in enumerate(same) if _are_one(setting, each))
        return Planned(name, arm, dict(setting), seed, f"{key}-{number + 1}" if number else key)

    def _asked(self, arm: Arm, setting: Mapping[str, Any]) -> object:
        if arm.run is not None:
            return arm.run, dict(setting)
        return arm.stages or self.plan.reading(arm)

    def teacher(self, arm: Arm) -> str:
        """Return a text that changes with the arm's teacher."""
        teacher = self.plan.teacher_of(arm)
        if teacher is None or (arm.run is None and not self.plan.needs_teacher(arm)):
            return ""
        return self._once("teacher", teacher, teacher.fingerprint)

    def data(self, data: object) -> str:
        """Return a text that changes with a data set."""
        return self._once(
            "data", data, lambda: digest(data_identity(data, self.plan.training.batch_size))
        )

    def _once(self, kind: str, value: object, look: Any) -> str:
        """Return what `look` finds; the value is held, so that its id stays its own."""
        place = (kind, id(value))
        if place not in self._seen:
            self._seen[place] = (value, look())
        return self._seen[place][1]


def _are_one(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(one[name] is other[name] or not callable(one[name]) for name in one)


def _as_file_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-").lower() or "arm"
