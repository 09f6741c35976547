"""What a recipe has trained: its metrics, its predictions for files, the student as one file."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_model
from torch import Tensor, nn

from tutelage.data import as_source
from tutelage.errors import (
    ArgumentError,
    DataError,
    ModelError,
    NotFoundError,
    RunFolderError,
    StoreError,
    TutelageError,
)
from tutelage.evaluation import evaluate
from tutelage.exporting import ABOUT, Exported, Precision, export
from tutelage.files import write_whole, writing
from tutelage.layers.language import generates
from tutelage.nested import describe
from tutelage.objectives import Objective
from tutelage.recipes.building import uses_teacher
from tutelage.recipes.job import Job
from tutelage.recipes.student_files import FILE, check_student, thresholds_in
from tutelage.recipes.teacher_check import sample_of
from tutelage.studies.eval_data import read_eval_data
from tutelage.tasks import TASKS, infer_task
from tutelage.tasks.token_scores import BATCH_OF_TEXTS
from tutelage.teachers import Retokenized, Teacher, as_teacher
from tutelage.wants import OUTPUT

if TYPE_CHECKING:
    import pandas as pd

_LOG = logging.getLogger(__name__)
_SPLITS = ("test", "val", "train")
_BATCH = 256
_SUFFIXES = (".csv", ".tsv", ".parquet", ".jsonl")


def load_for_student(job: Job) -> None:
    """Load data and teacher; without the teacher where it is gone and its student is trained."""
    try:
        job.load()
    except TutelageError as error:
        gone = isinstance(error.__cause__, NotFoundError) and job.model.teacher is not None
        trained = (job.out / "student.safetensors").exists()
        if not gone or not trained or uses_teacher(job.model.student):
            raise
        _LOG.warning("The teacher is gone, and the student is used without it: %s", error)
        job.load(teacher=False)


def models_of(job: Job) -> dict[str, Any]:
    """Return the models of a loaded job by name: teachers as `Teacher`s, the student as a module.

    What the student is built from (the tuned teacher, scale, thresholds, outputs) is set on the
    job.
    """
    found: dict[str, Any] = {}
    teacher = job.given_teacher
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
        if (known := thresholds_in(job.out)) is not None:
            job.build.thresholds = known
        if teacher is not None and job.build.number_of_outputs() is None:
            some = sample_of(job.tuned or teacher, job.data, torch.device("cpu"), 2)
            job.build.outputs = None if some is None else some.outputs.shape[1]
        found["student"] = _loaded(job.student(), trained)
        check_student(job.out, found["student"], job.data, job.build.tokens)
    return found


def _scale_in(weights: Path) -> tuple[Tensor, Tensor] | None:
    """Return mean and deviation of the values that a student learned, if it was scaled."""
    names = [f"target_{each}" for each in ("mean", "deviation")]
    try:
        with safe_open(weights, "pt") as found:
            if set(names) <= set(found.keys()):
                return found.get_tensor(names[0]), found.get_tensor(names[1])
    except (OSError, SafetensorError):  # which `_loaded` says
        pass
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


def evaluate_models(  # noqa: C901 - one after the other
    job: Job, split: str
) -> dict[str, dict[str, float]]:
    """Return metrics of the teacher, the fine-tuned teacher and the student, of those there are.

    The student is compared with the fine-tuned teacher, if there is one. Without labels there is
    nothing to compare a teacher with, so that only the student is evaluated.
    """
    if split not in _SPLITS:
        raise ArgumentError(f"`split` must be one of {', '.join(_SPLITS)}, got {split!r}")
    load_for_student(job)
    data = getattr(job.data, split)
    if data is None:
        raise DataError(
            f"`{split}` must be in the data of the recipe to evaluate models on it, got none; add "
            f"`{split}:` to {job.document.source}, or choose another part"
        )
    models = models_of(job)
    if not models:
        raise job.missing("teacher", "or train the student first")
    objective, is_whole = _objective_of(job, split, data)
    for name, each in list(models.items()):
        if not isinstance(each, Teacher):
            continue
        try:
            models[name] = each.for_data(split, data)
        except StoreError:
            _LOG.info("The %s has no stored targets for `%s` and is left out.", name, split)
            del models[name]
    teacher = next((models[name] for name in reversed(models) if name != "student"), None)
    texts = any(generates(each) for model in models.values() for each in model.modules())
    source = as_source(split, data, BATCH_OF_TEXTS if texts else _batch_size(job))
    if texts:  # whose labels are the next tokens, of which some teachers say nothing
        models = {
            name: each
            for name, each in models.items()
            if name == "student" or (each.modules() and not isinstance(each, Retokenized))
        }
    elif next(iter(source.epoch(0))).labels is None:
        models = {name: each for name, each in models.items() if name == "student" and teacher}
    if not models:
        raise DataError(
            f"`{split}` must have labels, or a student that was trained by its teacher, got "
            f"neither; run `tutelage distill {job.document.source}` first"
        )
    found = {}
    for name, model in models.items():
        other = teacher if name == "student" else None
        if isinstance(model, nn.Module):
            model.to(job.device)
        ready = model.ready(job.device) if isinstance(model, Teacher) else nullcontext()
        with ready, nullcontext() if other is None else other.ready(job.device):
            found[name] = evaluate(
                model,
                other,
                objective,
                source,
                metrics=job.settings.get("metrics"),
                device=job.device,
                outputs=not is_whole,
            ).metrics
        if not is_whole:
            found[name].pop("loss", None)
    return found


def _batch_size(job: Job) -> int:
    """Return how many examples are evaluated at a time: at most as many as in training."""
    return min(_BATCH, job.settings.get("batch_size", _BATCH))


def _objective_of(job: Job, split: str, data: Any) -> tuple[Objective, bool]:
    """Return the objective that tells how outputs are read, and whether its loss is the run's.

    It is not where the run's objective has projectors between layers, which are not kept.
    """
    found = job.last_objective()
    if found is not None and found.built:
        return found, True
    for term in () if found is None else found.terms():
        if term.objective.built and term.objective.output_kind is not None:
            return term.objective, False
    kind = None if found is None else found.output_kind
    task = TASKS[kind] if kind else infer_task((), labels=read_eval_data(split, data).labels)
    return task.default_objective(), False


def predict_file(job: Job, file: str, out: Path, *, teacher: bool = False) -> pd.DataFrame:
    """Write a file's columns with predictions beside them; return that table.

    Of classes these are `prediction` and `probability CLASS`, of binary labels `probability LABEL`,
    of values `prediction LABEL` in the units of the labels, of tags of words `prediction` with a
    tag for each word. Those of the teacher have `teacher` in front, those of the student `student`
    where the file has such a column; where it has that too, `new` is in front.

    Args:
        job: Of the recipe.
        file: Of the kind of the recipe's training data, with labels or without.
        out: The table that is written: .csv, .tsv, .parquet or .jsonl.
        teacher: Whether the teacher predicts too; it does without a trained student.

    Raises:
        ArgumentError: `out` has another suffix.
        RunFolderError: There is nothing that predicts.
        TutelageError: The file cannot be read, or a model refuses it.
    """
    import pandas as pd  # noqa: PLC0415 - heavy

    suffix = out.suffix.lower()
    if suffix not in _SUFFIXES:
        raise ArgumentError(f"`out` must end in one of {', '.join(_SUFFIXES)}, got {out}")
    job.load() if teacher else load_for_student(job)
    models = models_of(job)
    chosen = {"": models.pop("student")} if "student" in models else {}
    if teacher and models:
        chosen["teacher "] = [*models.values()][-1]  # fine-tuned, if it is
    if not chosen:
        raise RunFolderError(
            f"the student of {job.document.source} must be trained before it predicts, got none in "
            f"{job.out}; run `tutelage distill {job.document.source}`, or add --teacher"
        )
    examples, frame = job.data.examples(file)
    table = frame
    for name, model in chosen.items():
        columns = _predictions(job, model, examples)
        taken, prefix = set(map(str, table.columns)), name
        while any(f"{prefix}{each}" in taken for each in columns):
            prefix = f"new {prefix}" if prefix else "student "
        columns = {f"{prefix}{each}": values for each, values in columns.items()}
        table = pd.concat([table, pd.DataFrame(columns, index=frame.index)], axis=1)

    def write(path: Path) -> None:
        if suffix == ".parquet":
            table.to_parquet(path, index=False)
        elif suffix == ".jsonl":
            table.to_json(path, orient="records", lines=True, force_ascii=False, date_format="iso")
        else:
            table.to_csv(path, index=False, sep="\t" if suffix == ".tsv" else ",")

    with writing(out.parent, RunFolderError):
        out.parent.mkdir(parents=True, exist_ok=True)
        write_whole(out, write)
    return table


def _predictions(job: Job, model: Any, examples: Any) -> dict[str, Any]:
    """Return columns of what a model's outputs for examples say, by name."""
    kind, names = job.kind(), list(job.data.classes)
    if isinstance(model, nn.Module):
        model.to(job.device)
    model = as_teacher(model).for_data("FILE", examples)
    outputs: list[Tensor] = []
    with model.ready(job.device), torch.no_grad():
        for batch in as_source("FILE", examples, _batch_size(job)).epoch(0):
            output = model.signals(batch.to(job.device), OUTPUT).output
            if not isinstance(output, Tensor) or output.ndim > 2 + (kind == "tags"):
                raise ModelError(
                    "predictions are written of models with one row of outputs for an example, got "
                    f"{describe(output)}; use the student in Python: tl.evaluation.predict"
                )
            outputs += output.float().cpu()
    if kind == "tags":
        words = [len(str(text).split()) for text in getattr(examples, "inputs", ())]
        return {
            "prediction": [
                " ".join(names[at] for at in row.argmax(1)[:count].tolist())
                for row, count in zip(outputs, words, strict=True)
            ]
        }
    if job.data.kind == "values":
        names = list(job.data.labels)
    return _columns(torch.stack(outputs).reshape(len(outputs), -1), kind, names)


def _columns(rows: Tensor, kind: str | None, names: list[str]) -> dict[str, Any]:
    """Return columns of what rows of outputs `[examples, outputs]` say, by name."""
    width = rows.shape[1]
    if kind == "binary" and width == 1:  # the logit of the second of two classes
        names = names[-1:]
    if len(names) != width:
        names = [str(at) for at in range(width)]
    if kind == "classes":
        likely = rows.softmax(1)
        found: dict[str, Any] = {"prediction": [names[at] for at in likely.argmax(1).tolist()]}
        return found | {f"probability {name}": likely[:, at] for at, name in enumerate(names)}
    if kind == "binary":
        return {f"probability {name}": rows[:, at].sigmoid() for at, name in enumerate(names)}
    if width == 1:
        return {"prediction": rows[:, 0]}
    return {f"prediction {name}": rows[:, at] for at, name in enumerate(names)}


def export_student(job: Job, path: Path | None, precision: Precision) -> Exported:
    """Write the trained student to a file of ONNX, compared on test, validation or training data.

    The file carries `student.json`: what outputs mean, how inputs are prepared. In int8 training
    data come first, since ranges of activations are found on them.

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
    splits = [job.data.test, job.data.val, job.data.train]
    in_order = splits if precision == "float32" else splits[::-1]
    data = next(each for each in in_order if each is not None)
    metadata = {ABOUT: about.read_text(encoding="utf-8")}
    file = path or job.out / "student.onnx"
    return export(student, data, file, precision=precision, metadata=metadata)
