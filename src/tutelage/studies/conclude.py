"""The end of a study: the record of its trials, the models measured, the command noted."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from torch import nn

from tutelage.evaluation import evaluate
from tutelage.exporting import OnnxModel
from tutelage.identity import digest, model_identity
from tutelage.results.models import Timing, measure_models, measure_variants, unmeasured_scores
from tutelage.results.record import (
    TEACHER,
    ArmRecord,
    Comparison,
    ModelRecord,
    PartDifference,
    Record,
    TrialRecord,
    curves,
    finite,
    versions,
)
from tutelage.studies.arm import Arm
from tutelage.studies.differences import Differences, Kind, Scores
from tutelage.studies.eval_data import read_eval_data, source_of
from tutelage.studies.plan import StudyPlan, readable, readable_setting
from tutelage.studies.samples import SHOWN, ImageSample, TextSample, Words, samples_of
from tutelage.studies.score import Scorer
from tutelage.studies.search import Chosen
from tutelage.studies.trials import StudyTrial, Trials
from tutelage.tasks import Outputs
from tutelage.tasks.classes import SIMILARITY_TEMPERATURE, resemblance
from tutelage.teachers import Live

_FEW = 3
_SECONDS, _ROUNDS = 0.5, 20


@dataclass(frozen=True)
class ReportOptions:
    """Title, names and optional parts of a study's report.

    Args:
        title: Of the report.
        axis: Name of the arms' `at`, such as "temperature".
        class_names: In the order of the logits.
        variants: Whether to measure cheaper variants of the primary arm's student too: compiled,
            in bfloat16, in int8, in ONNX Runtime.
        words: For taggers, to show some tagged texts: a function from an example of the test data
            to its words, one for each row that has a label.
    """

    title: str = "Study"
    axis: str = ""
    class_names: Sequence[str] = ()
    variants: bool = False
    words: Words | None = None


@dataclass(frozen=True)
class Finished:
    """A study whose trials are done: by arm the chosen setting, and a trial for each seed."""

    trials: Trials
    scorer: Scorer
    chosen: Mapping[str, Chosen]
    done: Mapping[str, Sequence[StudyTrial]]

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
            name: [self.scorer.outputs_on_test(each) for each in done]
            for name, done in finished.done.items()
        }
        self.scores = {
            name: self.differences.scores(outputs) for name, outputs in self.outputs.items()
        }
        self.of_teacher = self.scorer.of_teacher(self.plan.test, self.scorer.teacher_test)

    def arms(self, teacher: ArmRecord | None) -> tuple[ArmRecord, ...]:
        """Return all arms, controls first; their class similarities are set against a teacher's."""
        names = sorted(self.plan.arms, key=lambda name: name not in self.plan.controls)
        return tuple(self._arm(name, teacher) for name in names)

    def teacher(self, model: str) -> ArmRecord | None:
        """Return the teacher as an arm with one trial; `model` is its name and its model's key."""
        outputs, scorer, kept = self.of_teacher, self.scorer, self.scorer.teacher_test
        if outputs is None or kept is None:
            return None
        theirs = next(iter(self.done.values()))[0].output
        if not self.plan.task.same_form(kept, theirs):
            judged = kept.ndim == 2 and len(kept) == len(theirs)  # noqa: PLR2004
            metrics = finite(scorer.metrics(outputs)) if judged else {}
            return ArmRecord(model, (TrialRecord(metrics=metrics),))
        held_out = scorer.of_teacher(self.plan.val, scorer.teacher_val)
        trial = TrialRecord(
            metrics=finite(scorer.metrics(outputs)),
            calibration=self.plan.task.calibrate(outputs, held_out),
            domains=scorer.by_domain(outputs),
        )
        summary = self.plan.task.summarize([outputs])
        return replace(ArmRecord(model, (trial,), model=model, **summary), residuals=())

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
        output, metric = self.of_teacher, self.scorer.metric
        if teacher is None or output is None or metric.name not in teacher.metrics:
            return ()
        theirs = self.differences.scores([output])
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
            return self.differences.by_part(kind, self.scores[name], self.outputs[name])

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

    def _arm(self, name: str, teacher: ArmRecord | None) -> ArmRecord:
        arm, done = self.plan.arms[name], self.done[name]
        found = self.plan.task.summarize(self.outputs[name])
        theirs = () if teacher is None else teacher.similarity
        return ArmRecord(
            name=name,
            trials=tuple(map(self._trial, done, self.outputs[name])),
            is_control=name in self.plan.controls,
            learns_from=arm.note or _learns_from(self.plan, done[0].arm),
            settings=self._settings(name),
            model=self.models[name],
            tried=self.chosen[name].tried,
            edges=self.chosen[name].edges,
            tuning=self.chosen[name].tuning,
            similarity_correlation=resemblance(found["similarity"], theirs),
            against=arm.against,
            series=arm.series,
            at=arm.at,
            intervals=self.differences.intervals(self.outputs[name]),
            **found,
        )

    def _trial(self, done: StudyTrial, outputs: Outputs) -> TrialRecord:
        kept = done.record
        return TrialRecord(
            seed=done.seed,
            metrics=finite(self.scorer.metrics_on_test(outputs)),
            val=self.scorer.value_on_val(done),
            train=finite(kept.get("train", {})),
            calibration=self.plan.task.calibrate(outputs, self.scorer.outputs_on_val(done)),
            domains=self.scorer.by_domain(outputs),
            epochs=kept.get("epochs"),
            steps=kept.get("steps"),
            best_epoch=kept.get("best_epoch"),
            seconds=kept["seconds"],
            curves=curves(kept.get("history", [])),
        )

    def _settings(self, name: str) -> dict[str, str]:
        arm = self.done[name][0].arm
        seed = self.plan.seeds[0]
        own = {} if arm.run else {"objective": _learns_from(self.plan, arm)}
        used = self.plan.settings(arm, seed, self.plan.train_data(arm, seed))
        chosen = self.chosen[name]
        swept = {"chosen": readable_setting(chosen.setting)} if chosen.setting else {}
        left_out = ("seed", "engine", "metrics", "monitor")
        shown = {key: readable(value) for key, value in used.items() if key not in left_out}
        file = {} if arm.precision is None else {"exported": f"ONNX, {arm.precision}"}
        return own | swept | shown | {"precision": used["engine"].precision} | file


def _learns_from(plan: StudyPlan, arm: Arm) -> str:
    if arm.run:
        return "a function of its own"
    return "; then ".join(map(readable, arm.objectives or (plan.reading(arm),)))


def conclude(finished: Finished, options: ReportOptions, named: str | None) -> Record:
    """Return the record; the models are measured on the first seed's students."""
    plan, scorer = finished.plan, finished.scorer
    trials = finished.trials
    first = {name: done[0] for name, done in finished.done.items()}
    trained = {name: trials.trained(trial) for name, trial in first.items()}
    students = {name: trials.in_precision(first[name], each) for name, each in trained.items()}
    # Models share a key if they differ in the values of tensors only.
    keys = {
        name: digest(model_identity(each, weights=False), first[name].suffix)
        for name, each in trained.items()
    }
    total = sum(map(len, finished.done.values()))
    trials.tell("measuring the models", total, total)
    collector = Collector(finished, keys)
    ours = collector.teacher(TEACHER)
    arms = collector.arms(ours)
    models = _models(plan, {name: (keys[name], each) for name, each in students.items()})
    primary = named or _primary(arms, scorer.monitor.higher)
    if options.variants:

        def metric(form: nn.Module) -> float | None:
            source = source_of("test", plan.test.data, plan.training.batch_size)
            found = evaluate(form, None, None, source, whole=plan.whole).outputs
            trial = replace(finished.done[primary][0], test=plan.task.pack(found))
            return scorer.metrics_on_test(scorer.outputs_on_test(trial))[scorer.monitor.name]

        variants = measure_variants(trained[primary], _timing(plan), metric)
        models[keys[primary]] = replace(models[keys[primary]], variants=variants)
    unmeasured = ""
    if plan.task.keeps_scores and plan.teacher is not None:
        unmeasured = unmeasured_scores(plan.teacher, collector.of_teacher)
    on_val = any(trial.val is not None for arm in arms for trial in arm.trials)
    chosen_by = "is the best on validation data" if on_val else "is the first one given"
    record = Record(
        title=options.title,
        metric=scorer.metric,
        seeds=plan.seeds,
        arms=arms,
        teacher=ours,
        comparisons=collector.comparisons(arms, primary),
        against_teacher=collector.against_teacher(arms, ours),
        primary=primary,
        chosen_by=chosen_by if named is None else "was named beforehand",
        margin=plan.margin,
        axis=options.axis,
        similarity_temperature=SIMILARITY_TEMPERATURE,
        models=models,
        examples={each.name: each.examples for each in (plan.val, plan.test) if each is not None},
        class_names=tuple(options.class_names),
        fractions=scorer.fractions,
        versions=versions(),
        command=_command(),
        seconds=sum(
            trial.seconds for arm in arms if not plan.arms[arm.name].of for trial in arm.trials
        ),
        task=plan.task.name,
        unmeasured=unmeasured,
        groups=None if plan.groups is None else len(set(plan.groups)),
    )
    note = plan.task.note_on_labels(collector.outputs[primary][0])
    control = record.control_of(primary)
    parts = () if control is None else collector.parts(primary, control.name)
    shown = _samples(finished, students[primary], primary, options.words)
    return replace(record, parts=parts, samples=shown, notes=(note,) if note else ())


def _samples(
    finished: Finished, student: nn.Module, primary: str, words: Words | None
) -> tuple[ImageSample | TextSample, ...]:
    """Return some test examples to be looked at; large maps are shown with all their positions."""
    plan, data = finished.plan, finished.plan.test
    output, teacher = finished.done[primary][0].output, finished.scorer.teacher_test
    if not data.has_maps or plan.whole:
        return samples_of(data, output, teacher, words)
    found = plan.outputs_on_sample(student, "test", data.data, SHOWN, whole=True)
    if found is None:
        return ()
    outputs, examples = found
    if outputs.student is None:
        return ()
    few = replace(read_eval_data("test", examples), task=plan.task)
    return samples_of(few, outputs.student, outputs.teacher, words)


def _models(
    plan: StudyPlan, students: Mapping[str, tuple[str, nn.Module]]
) -> dict[str, ModelRecord]:
    """Measure the teacher and one student of each architecture, by key; `students` by arm."""
    arms: dict[str, list[str]] = {}
    for arm, (key, _) in students.items():
        arms.setdefault(key, []).append(arm)
    models = {} if plan.teacher is None else {TEACHER: plan.teacher}
    models |= {key: Live(students[names[0]][1]) for key, names in arms.items()}
    found = measure_models(models, _timing(plan))
    for key, names in arms.items():
        some = ", ".join(names) if len(names) <= _FEW else f"{names[0]} and {len(names) - 1} more"
        words = "student" if len(arms) == 1 else f"student: {some}"
        found[key] = replace(found[key], name=words)
        model = students[names[0]][1]
        if isinstance(model, OnnxModel):
            found[key] = replace(found[key], cost=model.cost, uncounted="ONNX Runtime computes it")
    return found


def _timing(plan: StudyPlan) -> Timing:
    task = plan.task
    return Timing("test", plan.test.data, task.timed_batch, _SECONDS, _ROUNDS, task.generates)


def _primary(arms: Sequence[ArmRecord], higher: bool) -> str:
    """Return the primary arm: the best on validation data, else the first."""
    ours = [arm for arm in arms if not arm.is_control]

    def on_validation(arm: ArmRecord) -> float:
        mean = fmean([math.nan if trial.val is None else trial.val for trial in arm.trials])
        if not math.isfinite(mean):  # some seed has none
            return -math.inf
        return mean if higher else -mean

    return max(ours, key=on_validation).name


def _command() -> str:
    """Return the command of this process, without folders."""
    program, *rest = sys.argv
    name = Path(program).name
    if not name or name == "-c" or name.startswith("ipykernel"):
        return ""  # a notebook's command reproduces nothing
    return shlex.join(["python", name, *rest] if name.endswith(".py") else [name, *rest])
