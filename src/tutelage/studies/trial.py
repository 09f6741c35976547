"""One trial: an arm at one setting with one seed, from initial weights to the trained student."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn
from torch.utils.data import DataLoader, IterableDataset, Subset

from tutelage.data import Indexed, LoaderSource, Shard, as_dataset, randomness
from tutelage.errors import ModelError, StoreError
from tutelage.evaluation import Outputs, divergence, evaluate, measure
from tutelage.results.samples import evenly
from tutelage.studies.arm import Arm, Trial
from tutelage.studies.outputs import source_of
from tutelage.studies.plan import StudyPlan
from tutelage.teachers import Live
from tutelage.training import Run, distill, fit
from tutelage.training.notices import without_notices

_BATCH = 32


@dataclass(frozen=True)
class Planned:
    """A trial that is to be, or has been, carried out: an arm at one setting of its sweep.

    `key` is a file name that is this trial's alone.
    """

    name: str
    arm: Arm
    setting: Mapping[str, Any]
    seed: int
    key: str


@dataclass(frozen=True)
class Trained:
    """A trained student in eval mode, and what is known of its training.

    The record is plain data: steps, epochs, the log of each epoch; for an arm that is a function
    those of the run that it returns, empty where it returns a module.
    """

    student: nn.Module
    record: dict[str, Any]
    seconds: float


def train(plan: StudyPlan, planned: Planned, out: Path) -> Trained:
    """Train a trial's student, or resume its run in `out`.

    Raises:
        TutelageError: As `distill`; ModelError too if a function returns no module.
    """
    began, arm = time.monotonic(), planned.arm
    data = plan.train_data(arm, planned.seed)
    if isinstance(data, DataLoader):  # so that all arms of a seed see the same order
        LoaderSource("train", data, Shard()).reseed(planned.seed)
    settings = plan.settings(arm, planned.seed, data)
    student = plan.first_student(arm, planned.seed)
    teacher, val = plan.teacher_of(arm), plan.val if plan.training.keep_best else None
    with without_notices():  # a study says itself which of its trials are finished
        if arm.run is not None:
            trial = Trial(
                planned.seed, student, teacher, data, val, out, settings, dict(planned.setting)
            )
            with randomness.preserved():
                randomness.seed_everything(planned.seed)
                found = arm.run(trial)
        else:
            found = _run(plan, arm, student, {"train": data, "val": val, "out": out}, settings)
    record = _record(found) if isinstance(found, Run) else {}
    history = record.get("history", [])
    before = history[-1].get("seconds", 0.0) if history else 0.0  # of a run that was resumed
    seconds = max(before, time.monotonic() - began)
    return Trained(_module(planned.name, found), record, seconds)


def _run(
    plan: StudyPlan,
    arm: Arm,
    student: nn.Module,
    data: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> Run:
    if arm.stages:
        own = {key: value for key, value in settings.items() if key != "epochs"}
        return distill(plan.teacher_of(arm), student, **data, stages=arm.stages, **own)
    objective = plan.reading(arm)
    if plan.needs_teacher(arm):
        return distill(plan.teacher_of(arm), student, **data, objective=objective, **settings)
    return fit(student, **data, objective=objective, **settings)


def train_fidelity(plan: StudyPlan, planned: Planned, student: nn.Module) -> dict[str, float]:
    """Return a student's fidelity to the study's teacher on a sample of its training data."""
    if not plan.task.teacher_metrics:
        return {}
    data = plan.train_data(planned.arm, planned.seed)
    most = plan.task.fidelity_sample
    outputs = None if plan.teacher is None else _on_sample(plan, student, "train", data, most)
    if outputs is None or (outputs.teacher is None and outputs.scores is None):
        return {}
    reading, compared = plan.reading(planned.arm), replace(outputs, labels=None, domains=None)
    return measure(reading, compared) | divergence(reading, compared)


def metrics_beforehand(plan: StudyPlan, name: str, data: object) -> tuple[set[str], bool] | None:
    """Return the metrics of an untrained student on a few examples, and whether any has a label.

    None where they cannot be told: of a stream, of boxes, and where each arm is a function.
    """
    arm = next((each for each in plan.arms.values() if each.run is None), None)
    if arm is None or not plan.task.label_metrics:
        return None
    student = plan.first_student(arm, plan.seeds[0]).eval()
    outputs = _on_sample(plan, student, name, data, _BATCH)
    if outputs is None:
        return None
    reading, outputs = plan.reading(arm), replace(outputs, domains=None)
    found = measure(reading, outputs) | divergence(reading, outputs)
    known = outputs.labelled().labels
    return plan.task.with_companions(found), known is not None and len(known) > 0


def _on_sample(
    plan: StudyPlan, student: nn.Module, name: str, data: object, most: int
) -> Outputs | None:
    """Return the outputs of a student and the study's teacher on some examples of data.

    None of a stream, and where the teacher has no targets for the data.
    """
    sample, teacher = _sample(data, most), plan.teacher
    if sample is None:
        return None
    try:
        teacher = None if teacher is None else teacher.for_data(name, data)
    except StoreError:  # of other data than this arm's
        return None
    judged, device, tokens = Live(student), plan.device, plan.task.keeps_scores
    source = source_of(name, sample, tokens)
    chunk = plan.engine.chunk_logits_from
    with judged.ready(device), nullcontext() if teacher is None else teacher.ready(device):
        return evaluate(
            judged, teacher, None, source, device=device, scores=tokens, chunk_logits_from=chunk
        ).outputs


def _record(run: Run) -> dict[str, Any]:
    return {
        "steps": run.history[-1]["step"],
        "epochs": run.settings["epochs"],
        "best_epoch": run.best_epoch,
        "history": run.history,
    }


def _module(name: str, found: object) -> nn.Module:
    if isinstance(found, Run):
        found = found.student
    if not isinstance(found, nn.Module):
        raise ModelError(
            f"arm {name!r} must return a trained torch.nn.Module (or a Run), got "
            f"{type(found).__name__}; end its function with `return run.student`"
        )
    return found.eval()


def _sample(data: object, most: int) -> object | None:
    """Return some of the data, evenly spread and in order; None for a stream."""
    loader = data if isinstance(data, DataLoader) else None
    examples = as_dataset("train", data) if loader is None else loader.dataset
    if isinstance(examples, IterableDataset) or not hasattr(examples, "__len__"):
        return None
    length = len(examples)  # pyright: ignore[reportArgumentType]
    rows = evenly(length, most).tolist()
    if loader is None:
        return Subset(Indexed(examples), rows)  # stored targets are found by the index
    sample = Subset(examples, rows)  # pyright: ignore[reportArgumentType]
    return in_order(loader, sample)


def in_order(loader: DataLoader[Any], dataset: Any) -> DataLoader[Any]:
    """Return a loader of other examples, in their order, that collates as another one does."""
    # Without a batch sampler each example is a whole batch.
    size = None if loader.batch_sampler is None else loader.batch_size or _BATCH
    return DataLoader(dataset, size, collate_fn=loader.collate_fn)
