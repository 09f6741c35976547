"""The end of a study: the record of its trials, the models measured, the command noted."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from torch import Tensor, nn

from tutelage.identity import digest, model_identity
from tutelage.reports.verdict import TEACHER, control_of
from tutelage.results.models import Timing, measure_models, measure_variants
from tutelage.results.record import ArmRecord, ModelRecord, Record
from tutelage.results.summary import unmeasured_scores, versions
from tutelage.studies.collect import Collector, Finished
from tutelage.studies.samples import Words, samples_of
from tutelage.tasks.classes import SIMILARITY_TEMPERATURE
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


def conclude(finished: Finished, options: ReportOptions, named: str | None) -> Record:
    """Return the record; the models are measured on the first seed's students."""
    plan, scorer = finished.plan, finished.scorer
    students = {
        name: finished.trials.student(done[0].planned) for name, done in finished.done.items()
    }
    keys = {name: _architecture(each) for name, each in students.items()}
    total = sum(map(len, finished.done.values()))
    finished.trials.tell("measuring the models", total, total)
    collector = Collector(finished, keys)
    ours = collector.teacher(TEACHER)
    arms = collector.arms(ours)
    models = _models(finished, students, keys)
    primary = named or _primary(arms, scorer.monitor.higher)
    if options.variants:
        model = models[keys[primary]]
        models[keys[primary]] = _with_variants(finished, model, students[primary], primary)
    data = {"val": scorer.val, "test": scorer.test}
    record = Record(
        title=options.title,
        metric=scorer.metric,
        seeds=plan.seeds,
        arms=arms,
        teacher=ours,
        comparisons=collector.comparisons(arms, primary),
        against_teacher=collector.against_teacher(arms, ours),
        primary=primary,
        chosen_by=_chosen_by(named, arms),
        margin=plan.margin,
        axis=options.axis,
        similarity_temperature=SIMILARITY_TEMPERATURE,
        models=models,
        examples={name: each.examples for name, each in data.items() if each is not None},
        class_names=tuple(options.class_names),
        fractions=scorer.fractions,
        versions=versions(),
        command=_command(),
        seconds=sum(trial.seconds for arm in arms for trial in arm.trials),
        task=plan.task.name,
        unmeasured=_unmeasured(finished),
        groups=None if plan.groups is None else len(set(plan.groups)),
    )
    control = control_of(record, primary)
    parts = () if control is None else collector.parts(primary, control.name)
    first = finished.done[primary][0].output
    shown = samples_of(plan.test, scorer.test, first, scorer.teacher_test, options.words)
    return replace(record, parts=parts, samples=shown)


def _unmeasured(finished: Finished) -> str:
    """Return why the teacher of language models cannot be judged; "" of other models."""
    teacher, scorer = finished.plan.teacher, finished.scorer
    if not finished.plan.task.keeps_scores or teacher is None:
        return ""
    theirs = scorer.teacher_test
    return unmeasured_scores(teacher, None if theirs is None else scorer.test.outputs(theirs))


def _models(
    finished: Finished,
    students: Mapping[str, nn.Module],
    keys: Mapping[str, str],
) -> dict[str, ModelRecord]:
    """Measure the teacher and one student of each architecture."""
    distinct = {key: students[name] for name, key in reversed(list(keys.items()))}
    sharing = {key: [name for name in keys if keys[name] == key] for key in distinct}
    names = {
        key: "student" if len(distinct) == 1 else f"student: {_some(sharing[key])}"
        for key in distinct
    }
    teacher = finished.plan.teacher
    first = {} if teacher is None else {TEACHER: teacher}
    everyone = first | {keys[name]: Live(distinct[keys[name]]) for name in keys}
    found = measure_models(everyone, _timing(finished))
    return {key: replace(each, name=names.get(key, each.name)) for key, each in found.items()}


def _timing(finished: Finished) -> Timing:
    plan = finished.plan
    task = plan.task
    return Timing("test", plan.test, task.timed_batch, _SECONDS, _ROUNDS, task.generates)


def _architecture(model: nn.Module) -> str:
    """Return a text that two models share if they differ in the values of tensors only."""
    return digest(model_identity(model, weights=False))


def _with_variants(
    finished: Finished, model: ModelRecord, student: nn.Module, primary: str
) -> ModelRecord:
    scorer = finished.scorer
    reading = finished.plan.reading(finished.done[primary][0].planned.arm)

    def metric(output: Tensor) -> float | None:
        return scorer.on_test(reading, output)[scorer.monitor.name]

    return replace(model, variants=measure_variants(student, _timing(finished), metric))


def _chosen_by(named: str | None, arms: Sequence[ArmRecord]) -> str:
    if named is not None:
        return "was named beforehand"
    on_val = any(trial.val is not None for arm in arms for trial in arm.trials)
    return "is the best on validation data" if on_val else "is the first one given"


def _primary(arms: Sequence[ArmRecord], higher: bool) -> str:
    """Return the primary arm: the best on validation data, else the first."""
    ours = [arm for arm in arms if not arm.is_control]

    def on_validation(arm: ArmRecord) -> float:
        mean = fmean([math.nan if trial.val is None else trial.val for trial in arm.trials])
        if not math.isfinite(mean):  # some seed has none
            return -math.inf
        return mean if higher else -mean

    return max(ours, key=on_validation).name


def _some(names: Sequence[str]) -> str:
    """Return names, of many the first and how many more."""
    return ", ".join(names) if len(names) <= _FEW else f"{names[0]} and {len(names) - 1} more"


def _command() -> str:
    """Return the command of this process, without folders."""
    program, *rest = sys.argv
    name = Path(program).name
    if not name or name == "-c" or name.startswith("ipykernel"):
        return ""  # a notebook's command reproduces nothing
    return shlex.join(["python", name, *rest] if name.endswith(".py") else [name, *rest])
