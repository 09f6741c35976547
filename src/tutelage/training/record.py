"""The record of a run: what it logged, and what is measured with its models.

Of a folder it is read without the code of the models: `run.json` holds settings and versions,
`metrics.jsonl` the log, `best-EPOCH.safetensors` and `student.safetensors` weights. `report.json`
has what was measured before, and is used if it belongs to this very run.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open

from tutelage.data import as_source, randomness
from tutelage.errors import ArgumentError, ModelError, RunFolderError, StoreError
from tutelage.evaluation import Cost, Outputs, evaluate
from tutelage.evaluation.evaluate import is_of_language
from tutelage.evaluation.measure import learns_by_own_loss
from tutelage.layers.wrapper import unwrapped
from tutelage.results.models import Timing, measure_models, unmeasured_scores
from tutelage.results.record import (
    FRACTIONS,
    TEACHER,
    ArmRecord,
    Comparison,
    DecidingMetric,
    ModelRecord,
    Record,
    TrialRecord,
    curves,
    finite,
    read_record,
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
STUDENT = "student"


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
    everyone = {} if run.teacher is None else {TEACHER: run.teacher}
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
        # The teacher's outputs are left out where their form is not that of the student's.
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
        teacher = ArmRecord(TEACHER, (TrialRecord(),), model=TEACHER)
    return decided(replace(record, arms=(student,), teacher=teacher, models=models))


def _outputs(run: Run, val: object) -> tuple[Outputs, str]:
    """Return the outputs on validation data, and why the teacher's are missing if they are."""
    known = run.settings["val"] or {}  # batches of the user's have no size there
    source = as_source("val", val, min(_BATCH, known.get("batch_size") or _BATCH))
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
    name = student or str(plain["student"])
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
    teacher = ArmRecord(TEACHER, (TrialRecord(),), model=TEACHER)
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
        against = (Comparison(STUDENT, TEACHER, (gain if monitor.higher else -gain,)),)
    metric = DecidingMetric(monitor.name, monitor.higher, record.is_fraction(monitor.name))
    return replace(record, metric=metric, against_teacher=against)


_BEST = re.compile(r"best-(\d+)\.safetensors")


def read_run(folder: Path) -> Record:
    """Return the record of a run's folder: what was measured before, else what was logged.

    Raises:
        RunFolderError: The folder is none of a run, has no epoch yet, or a file is damaged.
    """
    logged, report = _read(folder), folder / "report.json"
    if not report.exists():
        return logged
    found = read_record(report)
    ours, theirs = found.arms[0], logged.arms[0]
    # A report of another run in the same folder, or of fewer epochs, does not describe this one.
    same = ours.settings == theirs.settings and ours.trials[0].curves == theirs.trials[0].curves
    same = same and ours.trials[0].best_epoch == theirs.trials[0].best_epoch
    return found if same and found.measured and logged.finished else logged


@dataclass(frozen=True)
class _Found:
    """The content of the folder of one training, or of several stages."""

    settings: dict[str, Any]
    versions: dict[str, str]
    history: list[dict[str, Any]]
    best_epoch: int
    weights: Path | None


def _read(folder: Path) -> Record:
    found = _training(folder)
    record = logged_record(found.settings, found.history, found.best_epoch, found.versions)
    best = next(each for each in found.history if each["epoch"] == found.best_epoch)
    metrics = finite({key[4:]: each for key, each in best.items() if key.startswith("val/")})
    own = {key: each for key, each in metrics.items() if "/" not in key and key != "loss"}
    student = record.arm(STUDENT)
    student = replace(student, trials=(replace(student.trials[0], metrics=own),))
    cost = None
    if found.weights is not None:
        with (
            _reading(found.weights),
            safe_open(found.weights, "pt") as file,
        ):  # sizes alone are read
            shapes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118
        cost = Cost(sum(math.prod(shape) for shape in shapes), found.weights.stat().st_size)
    return decided(
        replace(
            record,
            arms=(student,),
            models={STUDENT: ModelRecord(STUDENT, cost)},
            measured=False,
            finished=(folder / "student.safetensors").exists(),
        )
    )


def _training(folder: Path) -> _Found:
    """Read the folder of a training, or of the stages that have begun."""
    with _reading(folder / "run.json"):
        run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        settings, made_with = dict(run["run"]), dict(run["made_with"])
        names = list(settings.pop("stages", ()))
        _ = settings["objective"], names or settings["student"]  # without which there is no record
    if names:
        return _stages(folder, names, settings)
    history = _history(folder / "metrics.jsonl")
    if not history:
        raise RunFolderError(f"{folder} must have one epoch at least, got none; wait for the first")
    logged = {epoch["epoch"] for epoch in history}
    found = (_BEST.fullmatch(path.name) for path in folder.glob("best-*.safetensors"))
    kept = {int(match[1]) for match in found if match is not None}
    best = max(kept & logged, default=history[-1]["epoch"])
    files = (folder / "student.safetensors", folder / f"best-{best}.safetensors")
    weights = next((file for file in files if file.exists()), None)
    return _Found(settings, made_with, history, best, weights)


def _stages(folder: Path, names: list[str], planned: dict[str, Any]) -> _Found:
    """Read the stages as far as they have come; the first must have begun."""
    later = [name for name in names[1:] if (folder / name / "metrics.jsonl").exists()]
    begun = [name for name in later if _history(folder / name / "metrics.jsonl")]
    stages = {name: _training(folder / name) for name in (names[0], *begun)}
    *earlier, last = stages.values()
    return replace(
        last,
        settings=joined_settings({name: each.settings for name, each in stages.items()}, planned),
        history=joined_history({name: each.history for name, each in stages.items()}),
        best_epoch=last.best_epoch + sum(len(each.history) for each in earlier),
    )


def _history(log: Path) -> list[dict[str, Any]]:
    """Return the log's epochs; a last line that is being written does not count yet."""
    with _reading(log):
        *lines, _unfinished = log.read_bytes().split(b"\n")
        epochs = [each for each in map(json.loads, lines) if each["kind"] == "epoch"]
        _ = [(each["epoch"], each["step"], each["train/loss"]) for each in epochs]
    return [  # as the run had them: JSON's null was NaN or infinite
        {key: math.nan if value is None else value for key, value in each.items() if key != "kind"}
        for each in epochs
    ]


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise RunFolderError(
            f"{path} must be as `distill(..., out=...)` wrote it, got {type(error).__name__}: "
            f"{error}; give the folder of a run, and bring back what is missing or damaged"
        ) from error
