"""From finished trials to results."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from tutelage.evaluation import (
    Calibration,
    Reliability,
    by_class,
    calibration,
    class_similarity,
    reliability,
    similarity_correlation,
)
from tutelage.objectives import Objective
from tutelage.signals import UNLABELLED
from tutelage.studies.arm import Arm
from tutelage.studies.carry_out import Done
from tutelage.studies.choose import Chosen
from tutelage.studies.compare import against_teacher, compare
from tutelage.studies.describe import readable, readable_setting
from tutelage.studies.plan import StudyPlan
from tutelage.studies.results import (
    AgainstTeacher,
    ArmResult,
    Comparison,
    Curve,
    TeacherResult,
    TrialResult,
)
from tutelage.studies.score import Scorer, pooled

MOST_CLASSES = 100
SIMILARITY_TEMPERATURE = 4.0
_SCATTERED = 2000


@dataclass(frozen=True)
class Collector:
    """Makes results of finished trials.

    Args:
        plan: The study.
        scorer: Gives figures.
        done: Of each arm its trials, one for each seed.
        chosen: Of each arm its setting.
        models: Of each arm the key of its model.
    """

    plan: StudyPlan
    scorer: Scorer
    done: Mapping[str, Sequence[Done]]
    chosen: Mapping[str, Chosen]
    models: Mapping[str, str]

    def arms(self) -> tuple[ArmResult, ...]:
        """Return all arms, controls first."""
        controls = [name for name in self.plan.arms if name in self.plan.controls]
        others = [name for name in self.plan.arms if name not in self.plan.controls]
        return tuple(self._arm(name) for name in (*controls, *others))

    def teacher(self, model: str) -> TeacherResult | None:
        """Return the teacher's own figures.

        Args:
            model: The key of its model.
        """
        output, scorer = self.scorer.teacher_test, self.scorer
        if output is None:
            return None
        reading = scorer.reading_of_teacher
        if not self._fits(reading, output):
            return TeacherResult(scorer.of_teacher(output) if _same_kind(output) else {}, None)
        return TeacherResult(
            _finite(scorer.of_teacher(output)),
            self._calibration(output, scorer.teacher_val),
            scorer.by_domain(reading, output),
            model,
            self._similarity([output]),
            self._by_class([output]),
            self._reliability([output]),
        )

    def comparisons(self, arms: Sequence[ArmResult]) -> tuple[Comparison, ...]:
        """Return each arm against each control."""
        controls = [arm for arm in arms if arm.is_control]
        scores = {arm.name: self._scores(arm.name) for arm in arms}
        return tuple(
            compare(arm, control, self.scorer.figure, (scores[arm.name], scores[control.name]))
            for arm in arms
            for control in controls
            if not arm.is_control and arm.against in (None, control.name)
        )

    def against_teacher(
        self, arms: Sequence[ArmResult], teacher: TeacherResult | None
    ) -> tuple[AgainstTeacher, ...]:
        """Return each arm against the teacher, where the teacher has the deciding figure."""
        figure = self.scorer.figure
        value = None if teacher is None else teacher.figures.get(figure.name)
        if value is None:
            return ()
        return tuple(against_teacher(arm, value, figure, self.plan.margin) for arm in arms)

    def _arm(self, name: str) -> ArmResult:
        arm, done = self.plan.arms[name], self.done[name]
        outputs = [each.test for each in done if each.test is not None]
        similarity = self._similarity(outputs)
        return ArmResult(
            name=name,
            is_control=name in self.plan.controls,
            learns_from=arm.note or _learns_from(self.plan, arm),
            settings=self._settings(name),
            model=self.models[name],
            trials=tuple(self._trial(each) for each in done),
            tried=self.chosen[name].tried,
            similarity=similarity,
            similarity_correlation=self._correlation(similarity),
            by_class=self._by_class(outputs),
            reliability=self._reliability(outputs),
            scatter=self._scatter(self.plan.reading(done[0].planned.arm), outputs[0]),
            against=arm.against,
            series=arm.series,
            at=arm.at,
        )

    def _trial(self, done: Done) -> TrialResult:
        record, reading = done.record, self.plan.reading(done.planned.arm)
        output = _given(done)
        history = record.get("history", [])
        return TrialResult(
            seed=done.planned.seed,
            figures=_finite(self.scorer.on_test(reading, output)),
            val=self.scorer.on_validation(done),
            train=_finite(record.get("train", {})),
            calibration=self._calibration(output, done.val),
            domains=_finite(self.scorer.by_domain(reading, output)),
            steps=record.get("steps"),
            best_epoch=record.get("best_epoch"),
            seconds=record["seconds"],
            curves=_curves(history),
        )

    def _settings(self, name: str) -> dict[str, str]:
        arm = self.done[name][0].planned.arm
        seed = self.plan.seeds[0]
        own = {} if arm.run else {"objective": _learns_from(self.plan, arm)}
        used = self.plan.settings(arm, seed, self.plan.train_data(arm, seed))
        chosen = self.chosen[name]
        swept = {"chosen": readable_setting(chosen.setting)} if chosen.setting else {}
        left_out = ("seed", "engine", "metrics", "monitor")
        shown = {key: readable(value) for key, value in used.items() if key not in left_out}
        return own | swept | shown | {"precision": used["engine"].precision}

    def _scores(self, name: str) -> list[Tensor | None]:
        reading = self.plan.reading(self.done[name][0].planned.arm)
        return [self.scorer.per_example(reading, _given(each)) for each in self.done[name]]

    def _calibration(self, output: Tensor, val: Tensor | None) -> Calibration | None:
        labels = self._class_labels(output)
        if labels is None:
            return None
        known = self.scorer.val
        fits = val is not None and known is not None and _any_known(known.labels)
        held_out = (val, known.labels) if fits else None  # pyright: ignore[reportOptionalMemberAccess]
        return calibration(output, labels, held_out)  # pyright: ignore[reportArgumentType]

    def _similarity(self, outputs: Sequence[Tensor]) -> tuple[tuple[float, ...], ...]:
        labels = self._class_labels(outputs[0])
        if labels is None or not 1 < outputs[0].shape[1] <= MOST_CLASSES:
            return ()
        found = class_similarity(*pooled(list(outputs), labels), SIMILARITY_TEMPERATURE)
        return tuple(tuple(row) for row in found.nan_to_num().tolist())

    def _correlation(self, similarity: tuple[tuple[float, ...], ...]) -> float | None:
        teacher = self.scorer.teacher_test
        if not similarity or teacher is None or not self._fits(None, teacher):
            return None
        theirs = self._similarity([teacher])
        if len(theirs) != len(similarity) or len(theirs) < 3:  # noqa: PLR2004 - no spread
            return None
        value = similarity_correlation(torch.tensor(similarity), torch.tensor(theirs))
        return value if math.isfinite(value) else None

    def _by_class(self, outputs: Sequence[Tensor]) -> dict[int, float]:
        labels = self._class_labels(outputs[0])
        if labels is None or outputs[0].shape[1] > MOST_CLASSES:
            return {}
        found = [by_class(each, labels) for each in outputs]
        return {label: fmean(each[label] for each in found) for label in found[0]}

    def _reliability(self, outputs: Sequence[Tensor]) -> Reliability | None:
        labels = self._class_labels(outputs[0])
        return None if labels is None else reliability(*pooled(list(outputs), labels))

    def _scatter(
        self, reading: Objective, output: Tensor
    ) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        labels = self.scorer.test.labels
        prediction = reading.prediction(output)
        if not reading.predicts_values or labels is None or prediction.numel() != labels.numel():
            return None
        step = max(1, labels.numel() // _SCATTERED)
        true, said = labels.flatten()[::step], prediction.flatten()[::step]
        known = ~true.isnan()
        return tuple(true[known].tolist()), tuple(said[known].tolist())

    def _class_labels(self, output: Tensor) -> Tensor | None:
        """Return the test labels where they are classes that the output has logits for."""
        labels = self.scorer.test.labels
        fits = _any_known(labels) and not labels.is_floating_point()  # pyright: ignore[reportOptionalMemberAccess]
        return labels if fits and not self.plan.values and _same_kind(output) else None

    def _fits(self, reading: Objective | None, output: Tensor) -> bool:
        """Tell whether a teacher's outputs are of the students' shape."""
        first = _given(next(iter(self.done.values()))[0])
        return output.shape == first.shape


def versions() -> dict[str, str]:
    """Return what a study was made with."""
    packages = ("tutelage", "torch", "numpy", "scikit-learn")
    return {name: version(name) for name in packages} | {
        "Python": platform.python_version(),
        "system": f"{platform.system()} on {platform.machine()}",
        "threads": str(torch.get_num_threads()),
    }


def _given(done: Done) -> Tensor:
    if done.test is None:
        raise RuntimeError("a finished trial has answers")
    return done.test


def _any_known(labels: Tensor | None) -> bool:
    """Tell whether there are class labels, and one of them is known."""
    return labels is not None and labels.ndim == 1 and bool((labels != UNLABELLED).any())


def _same_kind(output: Tensor) -> bool:
    return output.ndim == 2  # noqa: PLR2004 - [examples, outputs]


def _finite(figures: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in figures.items() if math.isfinite(value)}


def _curves(history: Sequence[Mapping[str, Any]]) -> dict[str, Curve]:
    """Return the figures of each epoch that were finite throughout."""
    if not history:
        return {}
    curves = {}
    for name in dict.fromkeys(name for record in history for name in record):
        rows = [(record["step"], record[name]) for record in history if name in record]
        steps, values = zip(*rows, strict=True)
        if name.startswith(("train/", "val/")) and all(math.isfinite(each) for each in values):
            curves[name] = Curve(steps, values)
    return curves


def _learns_from(plan: StudyPlan, arm: Arm) -> str:
    if arm.run:
        return "a function of its own"
    return "; then ".join(map(readable, arm.asked or (plan.reading(arm),)))
