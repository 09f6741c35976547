"""Predictions for a file: its own columns, and what the models of a recipe predict beside them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from tutelage.data import as_source
from tutelage.errors import ArgumentError, ModelError, RunFolderError
from tutelage.files import write_whole, writing
from tutelage.nested import describe
from tutelage.recipes.evaluating import load_for_student, models_of
from tutelage.recipes.job import Job
from tutelage.teachers import as_teacher
from tutelage.wants import Fields

if TYPE_CHECKING:
    import pandas as pd

_BATCH = 256
_SUFFIXES = (".csv", ".tsv", ".parquet", ".jsonl")


def predict_file(job: Job, file: str, out: Path, *, teacher: bool = False) -> pd.DataFrame:
    """Write a file's columns with predictions beside them; return that table.

    Of classes these are `prediction` and `probability CLASS`, of binary labels `probability LABEL`,
    of values `prediction LABEL` in the units of the labels. Those of the teacher have `teacher` in
    front, those of the student `student` where the file has such a column.

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

    if out.suffix.lower() not in _SUFFIXES:
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
    found = [frame]
    for name, model in chosen.items():
        outputs = _outputs(job, model, examples)
        columns = _columns(job, outputs, name)
        if not (name or columns.keys().isdisjoint(map(str, frame.columns))):
            columns = {f"student {each}": values for each, values in columns.items()}
        found.append(pd.DataFrame(columns, index=frame.index))
    table = pd.concat(found, axis=1)
    with writing(out.parent, RunFolderError):
        out.parent.mkdir(parents=True, exist_ok=True)
        write_whole(out, lambda path: _write(table, path, out.suffix.lower()))
    return table


def _outputs(job: Job, model: Any, examples: Any) -> Tensor:
    """Return a model's outputs, `[examples, outputs]`."""
    engine = job.settings.get("engine")
    device = torch.device("cpu") if engine is None else engine.torch_device()
    if isinstance(model, nn.Module):
        model.to(device)
    asked = as_teacher(model).for_data("FILE", examples)
    found = []
    with asked.ready(device), torch.no_grad():
        for batch in as_source("FILE", examples, _BATCH).epoch(0):
            output = asked.signals(batch.to(device), Fields(output=True)).output
            if not isinstance(output, Tensor) or output.ndim > 2:  # noqa: PLR2004 - rows
                raise ModelError(
                    "predictions are written of models with one row of outputs for an example, got "
                    f"{describe(output)}; use the student in Python: tl.evaluation.predict"
                )
            found.append(output.float().cpu().reshape(len(output), -1))
    return torch.cat(found)


def _columns(job: Job, outputs: Tensor, prefix: str) -> dict[str, Any]:
    """Return columns of what outputs say, by name."""
    kind, width = job.data.kind or job.output_kind(), outputs.shape[1]
    names = list(job.data.classes if kind != "values" else job.data.labels)
    names = names if len(names) == width else [str(at) for at in range(width)]
    if kind == "classes":
        likely = outputs.softmax(1)
        found = {"prediction": [names[at] for at in likely.argmax(1).tolist()]}
    else:
        likely, found = outputs.sigmoid() if kind == "binary" else outputs, {}
    word = "probability" if kind in ("classes", "binary") else "prediction"
    if word == "prediction" and width == 1:
        found["prediction"] = likely[:, 0].tolist()
    else:
        found |= {f"{word} {name}": likely[:, at].tolist() for at, name in enumerate(names)}
    return {f"{prefix}{name}": each for name, each in found.items()}


def _write(table: pd.DataFrame, path: Path, suffix: str) -> None:
    if suffix == ".parquet":
        table.to_parquet(path, index=False)
    elif suffix == ".jsonl":
        table.to_json(path, orient="records", lines=True, force_ascii=False, date_format="iso")
    else:
        table.to_csv(path, index=False, sep="\t" if suffix == ".tsv" else ",")
