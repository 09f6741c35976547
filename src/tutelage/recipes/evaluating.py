"""The trained models of a recipe: their metrics, and the student as one file without PyTorch."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import nullcontext
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_model
from torch import Tensor, nn

from tutelage.data import as_source
from tutelage.errors import (
    ArgumentError,
    DataError,
    NotFoundError,
    RunFolderError,
    StoreError,
    TutelageError,
)
from tutelage.evaluation import evaluate
from tutelage.exporting import ABOUT, Exported, export
from tutelage.layers.language import generates
from tutelage.objectives import Objective
from tutelage.recipes.building import uses_teacher
from tutelage.recipes.job import Job
from tutelage.recipes.student_files import FILE, check_student
from tutelage.recipes.teacher_check import sample_of
from tutelage.studies.outputs import truth
from tutelage.tasks import TASKS
from tutelage.tasks.token_scores import BATCH_OF_TEXTS
from tutelage.teachers import Teacher, as_teacher

_LOG = logging.getLogger(__name__)
_SPLITS = ("test", "val", "train")
_BATCH = 256


def evaluate_models(job: Job, split: str) -> dict[str, dict[str, float]]:
    """Return metrics of the teacher, the fine-tuned teacher and the student, of those there are.

    The student is compared with the fine-tuned teacher, if there is one. Without labels there is
    nothing to compare a teacher with, so that only the student is evaluated.
    """
    if split not in _SPLITS:
        raise ArgumentError(f"`split` must be one of {', '.join(_SPLITS)}, got {split!r}")
    job.load()
    data = getattr(job.data, split)
    if data is None:
        raise DataError(
            f"`{split}` must be in the data of the recipe to evaluate models on it, got none; add "
            f"`{split}:` to {job.document.source}, or choose another part"
        )
    models = models_of(job)
    if not models:
        raise job.missing("teacher", "or train the student first")
    objective, is_whole = _reading(job, split, data)
    texts = any(generates(each) for model in models.values() for each in model.modules())
    source = as_source(split, data, BATCH_OF_TEXTS if texts else _BATCH)
    engine = job.settings.get("engine")
    device = torch.device("cpu") if engine is None else engine.torch_device()
    models = _with_targets(models, split, data)
    teachers = {name: each for name, each in models.items() if name != "student"}
    teacher = next(reversed(teachers.values()), None)
    if next(iter(source.epoch(0))).labels is None:
        models = {name: each for name, each in models.items() if name == "student" and teachers}
    if not models:
        raise DataError(
            f"`{split}` must have labels, or a student that was trained by its teacher, got "
            f"neither; run `tutelage distill {job.document.source}` first"
        )
    found = {}
    for name, model in models.items():
        other = teacher if name == "student" else None
        if isinstance(model, nn.Module):
            model.to(device)
        ready = model.ready(device) if isinstance(model, Teacher) else nullcontext()
        with ready, nullcontext() if other is None else other.ready(device):
            metrics = job.settings.get("metrics")
            found[name] = evaluate(
                model,
                other,
                objective,
                source,
                metrics=metrics,
                device=device,
                outputs=not is_whole,
            ).metrics
            if not is_whole:
                found[name].pop("loss", None)
    return found


def _with_targets(models: Mapping[str, Any], split: str, data: Any) -> dict[str, Any]:
    """Return models without those teachers whose stored targets are of other data."""
    found = {}
    for name, each in models.items():
        try:
            found[name] = each.for_data(split, data) if isinstance(each, Teacher) else each
        except StoreError:
            _LOG.info("The %s has no stored targets for `%s` and is left out.", name, split)
    return found


def load_for_student(job: Job) -> None:
    """Load data and teacher; without the teacher where that is gone and the student has its own."""
    try:
        job.load()
    except TutelageError as error:
        gone = isinstance(error.__cause__, NotFoundError)
        if not gone or uses_teacher(job.model.student) or job.model.teacher is None:
            raise
        job.load(teacher=False)


def models_of(job: Job) -> dict[str, Any]:
    """Return teachers as such and the student as a module, by name, of a job that is loaded."""
    found: dict[str, Any] = {}
    teacher = job.live_teacher
    if teacher is not None:
        found["teacher"] = as_teacher(teacher)
        tuned = job.out / "teacher" / "student.safetensors"
        if job.model.fine_tune is not None and tuned.exists():
            job.tuned = _loaded(deepcopy(teacher), tuned)
            found["fine-tuned teacher"] = as_teacher(job.tuned)
    trained = job.out / "student.safetensors"
    if trained.exists():
        job.map_layers(teacher if job.tuned is None else job.tuned)
        job.build.scale = _scale_in(trained)
        if teacher is not None and job.build.number_of_outputs() is None:
            some = sample_of(job.tuned or teacher, job.data, torch.device("cpu"), 2)
            job.build.outputs = None if some is None else some.outputs.shape[1]
        found["student"] = _loaded(job.student(), trained)
        check_student(job.out, found["student"], job.data, job.build.tokens)
    return found


def _scale_in(weights: Path) -> tuple[Tensor, Tensor] | None:
    """Return mean and deviation of the values that a student learned, if it was scaled."""
    try:
        with safe_open(weights, "pt") as found:
            names = [f"target_{each}" for each in ("mean", "deviation")]
            if not set(names) <= set(found.keys()):
                return None
            return found.get_tensor(names[0]), found.get_tensor(names[1])
    except (OSError, SafetensorError):  # `_loaded` says it
        return None


def _loaded(model: nn.Module, path: Path) -> nn.Module:
    try:
        load_model(model, path)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise RunFolderError(
            f"{path} must hold the weights of the recipe's model, got: {error}; use the recipe in "
            "its folder, recipe.yaml"
        ) from error
    return model.eval()


def _reading(job: Job, split: str, data: Any) -> tuple[Objective, bool]:
    """Return the objective that tells how outputs are read, and whether its loss is the run's.

    It is not where the run's objective has projectors between layers, which are not kept.
    """
    stages = job.objectives.get("stages")
    found = stages[-1].objective if stages else job.objectives.get("objective")
    if found is not None and found.built:
        return found, True
    for term in () if found is None else found.terms():
        if term.objective.built and term.objective.output_kind is not None:
            return term.objective, False
    kind = None if found is None else found.output_kind
    task = TASKS[kind] if kind else truth(split, data).task()
    return task.default_objective(), False


def export_student(job: Job, path: Path | None) -> Exported:
    """Write the trained student to a file of ONNX, compared on test, validation or training data.

    The file carries `student.json`: what outputs mean, and how inputs are prepared.

    Raises:
        RunFolderError: The student is not trained yet.
        TutelageError: As `export`.
    """
    load_for_student(job)
    student = models_of(job).get("student")
    about = job.out / FILE
    if student is None or not about.exists():
        raise RunFolderError(
            f"the student of {job.document.source} must be trained before it is exported, got none "
            f"in {job.out}; run `tutelage distill {job.document.source}`"
        )
    data = next(each for each in (job.data.test, job.data.val, job.data.train) if each is not None)
    metadata = {ABOUT: about.read_text(encoding="utf-8")}
    return export(student, data, path or job.out / "student.onnx", metadata=metadata)
