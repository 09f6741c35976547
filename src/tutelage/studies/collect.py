"""From finished trials to the arms of a record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from tutelage.evaluation import Calibration
from tutelage.objectives import Objective
from tutelage.results.record import ArmRecord, Comparison, PartDifference, TrialRecord
from tutelage.results.summary import (
    curves,
    finite,
)
from tutelage.studies.arm import Arm
from tutelage.studies.carry_out import Done, Trials
from tutelage.studies.choose import Chosen
from tutelage.studies.describe import readable, readable_setting
from tutelage.studies.differences import Differences, Kind, Scores
from tutelage.studies.plan import StudyPlan
from tutelage.studies.score import Scorer
from tutelage.tasks.classes import resemblance
from tutelage.tasks.task import Summary


@dataclass(frozen=True)
class Finished:
    """A study whose trials are done: by arm the chosen setting, and a trial for each seed."""

    trials: Trials
    scorer: Scorer
    chosen: Mapping[str, Chosen]
    done: Mapping[str, Sequence[Done]]

    @property
    def plan(self) -> StudyPlan:
        """The study."""
        return self.trials.plan


class Collector:
    """Makes the arms of a record from finished trials; `models` has the key of each arm's model."""

    def __init__(self, finished: Finished, models: Mapping[str, str]) -> None:
        self.plan, self.scorer = finished.plan, finished.scorer
        self.done, self.chosen, self.models = finished.done, finished.chosen, models
        self.differences = Differences(self.scorer, self.plan.groups)
        self.outputs = {
            name: [each.output for each in done] for name, done in finished.done.items()
        }
        self.scores = {
            name: self.differences.scores(self._reading(name), outputs)
            for name, outputs in self.outputs.items()
        }

    def arms(self, teacher: ArmRecord | None) -> tuple[ArmRecord, ...]:
        """Return all arms, controls first; their class similarities are set against a teacher's."""
        names = sorted(self.plan.arms, key=lambda name: name not in self.plan.controls)
        return tuple(self._arm(name, teacher) for name in names)

    def teacher(self, model: str) -> ArmRecord | None:
        """Return the teacher as an arm with one trial; `model` is its name and its model's key."""
        output, scorer = self.scorer.teacher_test, self.scorer
        if output is None:
            return None
        reading, theirs = scorer.reading_of_teacher, next(iter(self.outputs.values()))[0]
        if not self.plan.task.same_form(output, theirs):
            judged = output.ndim == 2 and len(output) == len(theirs)  # noqa: PLR2004
            metrics = finite(scorer.of_teacher(output)) if judged else {}
            return ArmRecord(model, (TrialRecord(metrics=metrics),))
        trial = TrialRecord(
            metrics=finite(scorer.of_teacher(output)),
            calibration=self._calibration(reading, output, scorer.teacher_val),
            domains=scorer.by_domain(reading, output),
        )
        found = ArmRecord(model, (trial,), model=model, **self._summary(reading, [output]))
        return replace(found, residuals=())

    def comparisons(self, arms: Sequence[ArmRecord], primary: str) -> tuple[Comparison, ...]:
        """Return each arm against each control; those beside the primary one count together."""
        controls = [arm.name for arm in arms if arm.is_control]
        others = len(arms) - len(controls) - 1
        return tuple(
            self.differences.comparison(
                arm.name,
                control,
                self.scores[arm.name] - self.scores[control],
                arms=1 if arm.name == primary else others,
                controls=len(controls) if arm.against is None else 1,
            )
            for arm in arms
            for control in controls
            if not arm.is_control and arm.against in (None, control)
        )

    def against_teacher(
        self, arms: Sequence[ArmRecord], teacher: ArmRecord | None
    ) -> tuple[Comparison, ...]:
        """Return each arm against the teacher, where the teacher has the deciding metric."""
        output, metric = self.scorer.teacher_test, self.scorer.metric
        if teacher is None or output is None or metric.name not in teacher.metrics:
            return ()
        theirs = self.differences.scores(self.scorer.reading_of_teacher, [output])
        controls = len(self.plan.controls)
        return tuple(
            self.differences.comparison(
                arm.name,
                teacher.name,
                self.scores[arm.name] - theirs,
                self.plan.margin,
                arms=controls if arm.is_control else 1,  # the strongest of them is looked at
            )
            for arm in arms
        )

    def parts(self, arm: str, control: str) -> tuple[PartDifference, ...]:
        """Return an arm against a control by domain and by class."""

        def scores(name: str, kind: Kind) -> dict[str, Scores]:
            reading, outputs = self._reading(name), self.outputs[name]
            return self.differences.by_part(kind, self.scores[name], reading, outputs)

        kinds: tuple[Kind, ...] = ("domain", "class")
        own = self.plan.arms[arm].against is not None
        controls = 1 if own else len(self.plan.controls)
        return tuple(
            part
            for kind in kinds
            for part in self.differences.parts(
                kind, scores(arm, kind), scores(control, kind), controls
            )
        )

    def _reading(self, name: str) -> Objective:
        """Return the objective by which an arm's outputs are read, at its chosen setting."""
        return self.plan.reading(self.done[name][0].planned.arm)

    def _arm(self, name: str, teacher: ArmRecord | None) -> ArmRecord:
        arm, done = self.plan.arms[name], self.done[name]
        reading, outputs = self._reading(name), self.outputs[name]
        found = self._summary(reading, outputs)
        theirs = () if teacher is None else teacher.similarity
        return ArmRecord(
            name=name,
            trials=tuple(self._trial(each) for each in done),
            is_control=name in self.plan.controls,
            learns_from=arm.note or _learns_from(self.plan, done[0].planned.arm),
            settings=self._settings(name),
            model=self.models[name],
            tried=self.chosen[name].tried,
            edges=self.chosen[name].edges,
            tuning=self.chosen[name].tuning,
            similarity_correlation=resemblance(found["similarity"], theirs),
            against=arm.against,
            series=arm.series,
            at=arm.at,
            intervals=self.differences.intervals(reading, outputs),
            **found,
        )

    def _trial(self, done: Done) -> TrialRecord:
        kept, reading = done.record, self.plan.reading(done.planned.arm)
        output = done.output
        return TrialRecord(
            seed=done.planned.seed,
            metrics=finite(self.scorer.on_test(reading, output)),
            val=self.scorer.on_validation(done),
            train=finite(kept.get("train", {})),
            calibration=self._calibration(reading, output, done.val),
            domains=self.scorer.by_domain(reading, output),
            epochs=kept.get("epochs"),
            steps=kept.get("steps"),
            best_epoch=kept.get("best_epoch"),
            seconds=kept["seconds"],
            curves=curves(kept.get("history", [])),
        )

    def _summary(self, reading: Objective, outputs: Sequence[Tensor]) -> Summary:
        return self.plan.task.summarize([self.scorer.read(reading, each) for each in outputs])

    def _calibration(
        self, reading: Objective, output: Tensor, val: Tensor | None
    ) -> Calibration | None:
        held_out = None
        if val is not None and self.scorer.val is not None:
            held_out = self.scorer.val.outputs(val).read_by(reading)
        return self.plan.task.calibrate(self.scorer.read(reading, output), held_out)

    def _settings(self, name: str) -> dict[str, str]:
        arm = self.done[name][0].planned.arm
        seed = self.plan.seeds[0]
        own = {} if arm.run else {"objective": _learns_from(self.plan, arm)}
        used = self.plan.settings(arm, seed, self.plan.train_data(arm, seed))
        if arm.stages:
            used["epochs"] = sum(stage.epochs for stage in arm.stages)
        chosen = self.chosen[name]
        swept = {"chosen": readable_setting(chosen.setting)} if chosen.setting else {}
        left_out = ("seed", "engine", "metrics", "monitor")
        shown = {key: readable(value) for key, value in used.items() if key not in left_out}
        return own | swept | shown | {"precision": used["engine"].precision}


def _learns_from(plan: StudyPlan, arm: Arm) -> str:
    if arm.run:
        return "a function of its own"
    return "; then ".join(map(readable, arm.asked or (plan.reading(arm),)))
