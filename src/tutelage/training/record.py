"""The record of a run: what it logged, and what is measured with its models."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch

from tutelage.data import as_source, randomness
from tutelage.errors import ArgumentError, ModelError, StoreError
from tutelage.evaluation import Outputs, evaluate
from tutelage.evaluation.evaluate import is_of_language, learns_by_own_loss
from tutelage.layers.wrapper import unwrapped
from tutelage.results.models import Timing, measure_models
from tutelage.results.record import (
    FRACTIONS,
    ArmRecord,
    Comparison,
    DecidingMetric,
    Record,
    TrialRecord,
)
from tutelage.results.summary import (
    curves,
    finite,
    unmeasured_scores,
    versions,
)
from tutelage.tasks import task_of
from tutelage.tasks.classes import resemblance
from tutelage.tasks.token_scores import BATCH_OF_TEXTS
from tutelage.teachers import Live
from tutelage.training.monitor import choose_monitor

if TYPE_CHECKING:
    from tutelage.training.run import Run

_BATCH = 256
_TIMED_BATCH, _SECONDS, _ROUNDS = 32, 0.2, 5
STUDENT, _TEACHER = "student", "teacher"


def record_of(run: Run) -> Record:
    """Measure a run's student and teacher on its validation data: quality, size, time.

    Raises:
        DataError: The validation data cannot be read.
        ModelError: A model refuses its inputs.
    """
    first = next(chain(run.student.parameters(), run.student.buffers()), None)
    device = torch.device("cpu") if first is None else first.device
    tokens = is_of_language(run.student, run.objective)
    outputs, theirs, unmeasured = None, None, ""
    everyone = {} if run.teacher is None else {_TEACHER: run.teacher}
    timing = Timing("val", run.val, 1 if tokens else _TIMED_BATCH, _SECONDS, _ROUNDS, tokens)
    with randomness.preserved():
        if run.val is not None:
            with nullcontext() if run.teacher is None else run.teacher.ready(device):
                if tokens:
                    outputs, theirs, unmeasured = _scores(run, run.val)
                if outputs is None and not learns_by_own_loss(run.objective):
                    outputs, unmeasured = _outputs(run, run.val)
        models = measure_models(everyone | {STUDENT: Live(run.student)}, timing, device)
    name = type(unwrapped(run.student)).__name__
    record = logged_record(run.settings, run.history, run.best_epoch, versions(), name)
    record = replace(record, unmeasured=unmeasured)
    student, teacher = record.arm(STUDENT), None
    if outputs is not None and outputs.scores is not None:
        student, teacher = _judged(run, student, outputs, theirs)
        record = replace(record, examples={"val": outputs.examples}, task="language")
    elif outputs is not None and outputs.student is not None:
        # Of another form than the student's outputs they are not read by the objective.
        theirs = None if outputs.comparable_teacher is None else outputs.of_teacher()
        student, teacher = _judged(run, student, outputs, theirs)
        task = task_of(run.objective, outputs.read_by(run.objective))
        names = run.class_names if len(run.class_names) == outputs.student.shape[-1] else ()
        record = replace(
            record,
            examples={"val": outputs.examples},
            task=task.name,
            class_names=names,
        )
    elif run.teacher is not None:
        teacher = ArmRecord(_TEACHER, (TrialRecord(),), model=_TEACHER)
    return decided(replace(record, arms=(student,), teacher=teacher, models=models))


def _outputs(run: Run, val: object) -> tuple[Outputs, str]:
    """Return the outputs on validation data, and why the teacher's are missing if they are."""
    source = as_source("val", val, _BATCH)
    try:
        return evaluate(run.student, run.teacher, run.objective, source, outputs=True).outputs, ""
    except (ModelError, StoreError) as error:  # such as a store of features only
        if run.teacher is None:
            raise
        return evaluate(run.student, None, None, source).outputs, str(error)


def _scores(run: Run, val: object) -> tuple[Outputs | None, Outputs | None, str]:
    """Return the scores of tokens of student and teacher, and why the teacher's are missing.

    None of a student that has one output for each text, such as an embedding.
    """
    source = as_source("val", val, BATCH_OF_TEXTS)
    if run.teacher is None:
        ours = evaluate(run.student, None, None, source, scores=True).outputs
        return None if ours.rows is None else ours, None, ""
    try:
        ours = evaluate(run.student, run.teacher, None, source, scores=True).outputs
        if ours.rows is None:
            return None, None, ""
        theirs = evaluate(
            run.teacher, None, None, source, scores=True, asked_as=run.student
        ).outputs
    except (ModelError, StoreError) as error:  # such as a store of features only
        ours = evaluate(run.student, None, None, source, scores=True).outputs
        return ours, None, str(error)
    return ours, theirs, unmeasured_scores(run.teacher, theirs)


def joined_history(histories: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Return the logs of all stages as one, with epochs, steps and seconds counted on.

    >>> first, last = {"epoch": 1, "step": 5, "seconds": 2.0}, {"epoch": 1, "step": 3, "seconds": 1}
    >>> joined_history({"hint": [first], "output": [last]})[1]
    {'epoch': 2, 'step': 8, 'seconds': 3.0, 'stage': 'output'}
    """
    joined: list[dict[str, Any]] = []
    for name, history in histories.items():
        before = joined[-1] if joined else {}
        for record in history:
            counted = {
                key: record[key] + before.get(key, 0) for key in ("epoch", "step", "seconds")
            }
            joined.append({**record, **counted, "stage": name})
    return joined


def joined_settings(
    stages: Mapping[str, Mapping[str, Any]], planned: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the settings of all stages: the last one's, what all are to do, and what differs.

    Args:
        stages: The settings of those that have begun, by name, in order.
        planned: `epochs`, `objective` and `seed` of the whole.
    """
    last = list(stages.values())[-1]
    differing = {
        key: {name: settings.get(key) for name, settings in stages.items()}
        for key in {key for settings in stages.values() for key in settings}
        if any(settings.get(key) != last.get(key) for settings in stages.values())
    }
    return {**last, **planned, "stages": {key: differing[key] for key in sorted(differing)}}


def logged_record(
    settings: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
    best_epoch: int,
    made_with: dict[str, str],
    student: str = "",
) -> Record:
    """Return the record that settings and log give; the metrics are those of the best epoch.

    Without the name of the student's class, the title has that of the settings.
    """
    plain = json.loads(json.dumps(dict(settings), default=str))
    best = next(each for each in history if each["epoch"] == best_epoch)
    metrics = {key[4:]: value for key, value in best.items() if key.startswith("val/")}
    domains: dict[str, dict[str, float]] = {}
    for key, value in finite(metrics).items():
        name, _, domain = key.partition("/")
        if domain and name in metrics:
            domains.setdefault(domain, {})[name] = value
    trial = TrialRecord(
        domains=domains,
        epochs=len(history),
        steps=history[-1]["step"],
        best_epoch=best_epoch,
        seconds=history[-1].get("seconds", 0.0),
        curves=curves(history),
    )
    name = student or str(plain["student"]).split(" ", 1)[0]
    how = "distilled" if plain.get("teacher") is not None else "trained on labels"
    val = plain.get("val")
    examples = val.get("examples") if isinstance(val, dict) else None
    return Record(
        title=f"{name}: {how}",
        metric=None,
        arms=(
            ArmRecord(
                STUDENT,
                (trial,),
                learns_from=str(plain["objective"]),
                settings=plain,
                model=STUDENT,
            ),
        ),
        primary=STUDENT,
        models={},
        examples={"val": examples} if examples else {},
        # A user's metric may have such a name and another range.
        fractions=tuple(name for name in FRACTIONS if 0 <= finite(metrics).get(name, 0) <= 1),
        versions=made_with,
        seconds=trial.seconds,
    )


def _judged(
    run: Run, student: ArmRecord, outputs: Outputs, theirs: Outputs | None
) -> tuple[ArmRecord, ArmRecord | None]:
    """Return student and teacher with what is measured on their outputs."""
    student = _measured(run, student, outputs)
    if run.teacher is None:
        return student, None
    teacher = ArmRecord(_TEACHER, (TrialRecord(),), model=_TEACHER)
    if theirs is not None:
        teacher = _measured(run, teacher, theirs)
    likeness = resemblance(student.similarity, teacher.similarity)
    return replace(student, similarity_correlation=likeness), teacher


def _measured(run: Run, arm: ArmRecord, outputs: Outputs) -> ArmRecord:
    """Return an arm with what is measured on the outputs of its model."""
    outputs = replace(outputs, domains=None).read_by(run.objective)
    task = task_of(run.objective, outputs)
    metrics = task.metrics(outputs) | task.fidelity(outputs)
    calibration = task.calibrate(outputs)
    trial = replace(arm.trials[0], metrics=finite(metrics), calibration=calibration)
    return replace(arm, trials=(trial,), **task.summarize([outputs]))


def decided(record: Record) -> Record:
    """Return the record with its deciding metric, and the student set against the teacher by it."""
    student = record.arm(STUDENT)
    ours = {name: each for name, each in student.metrics.items() if name != "loss"}
    try:
        monitor = choose_monitor(ours)
    except ArgumentError:  # nothing but a loss is known
        return record
    against: tuple[Comparison, ...] = ()
    if record.teacher is not None and record.teacher.values(monitor.name):
        gain = ours[monitor.name] - record.teacher.metrics[monitor.name]
        against = (Comparison(STUDENT, _TEACHER, (gain if monitor.higher else -gain,)),)
    metric = DecidingMetric(monitor.name, monitor.higher, record.is_fraction(monitor.name))
    return replace(record, metric=metric, against_teacher=against)
