"""What a finished run leaves beside the weights, so that any program can use the student."""

from __future__ import annotations

import json
from math import isclose
from pathlib import Path
from typing import Any

from torch import nn

from tutelage.datasets import Splits, TableInputs
from tutelage.errors import DataError, RunFolderError, in_short
from tutelage.files import write_json, writing
from tutelage.layers import ImageInputs, Prepared, TextInputs
from tutelage.layers.wrapper import Wrapper, unwrapped
from tutelage.objectives import Objective
from tutelage.references.hugging_face import Pooled

FILE, _FORMAT = "student.json", 1


def write_student(
    out: Path,
    student: nn.Module,
    data: Splits,
    objective: Objective,
    tokens: TextInputs | None = None,
) -> None:
    """Write `student.json`, and for a model of transformers the folder `student`.

    `student.json` says what the outputs mean and how inputs are prepared; docs/run_folder.md has
    its keys, and programs that use it without this library. The folder is that of
    `save_pretrained`, with the tokenizer, and can be a reference: `hf:runs/NAME/student`.

    Args:
        out: The folder of the run.
        student: As it was trained.
        data: Of the recipe.
        objective: Whose `output_kind` says what outputs hold.
        tokens: How texts became the tokens of a language model, which takes these.

    Raises:
        RunFolderError: The folder cannot be written.
    """
    prepare = student.prepare if isinstance(student, Prepared) else tokens
    model, inner, pool = unwrapped(student), student, None
    while isinstance(inner, Wrapper):
        if isinstance(inner, Pooled):
            pool = {"pool": inner.pool, "normalise": inner.normalise}
        inner = inner.wrapped
    content = {"format": _FORMAT, "outputs": objective.output_kind, "pool": pool}
    with writing(out, RunFolderError):
        write_json(out / FILE, content | _described(student, data, tokens))
        if not (hasattr(model, "save_pretrained") and hasattr(model, "config")):
            return
        found: Any = model
        if data.classes and getattr(found.config, "num_labels", None) == len(data.classes):
            found.config.id2label = dict(enumerate(data.classes))
            found.config.label2id = {name: at for at, name in enumerate(data.classes)}
        found.save_pretrained(out / "student")
        if isinstance(prepare, TextInputs):
            prepare.save(out / "student")


def check_student(
    out: Path, student: nn.Module, data: Splits, tokens: TextInputs | None = None
) -> None:
    """Refuse data whose classes or preprocessing are not those that a student was trained with.

    Its weights would fit, and its outputs would be read as other classes than they are of.

    Raises:
        RunFolderError: They differ from those in `student.json`, or that is damaged.
    """
    try:
        kept = json.loads((out / FILE).read_text(encoding="utf-8"))
        now = _described(student, data, tokens)
        other = [name for name, each in now.items() if not _same(kept[name], each)]
    except FileNotFoundError:  # of a run that was killed before it was written
        return
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunFolderError(
            f"{out / FILE} must say what the student was trained with, got a damaged file "
            f"({in_short(error)}); run `tutelage distill` again, which writes it"
        ) from error
    if other:
        raise RunFolderError(
            f"the student in {out} must have been trained with the classes and the preprocessing "
            f"of the recipe's data, got other {' and '.join(other)} in its {FILE}; has the data or "
            "the recipe been changed since? Evaluate it on those, or train again into another `out`"
        )


def thresholds_in(out: Path) -> dict[str, list[float]] | None:
    """Return the thresholds of the steps that a student was trained with; None if not known."""
    try:
        inputs = json.loads((out / FILE).read_text(encoding="utf-8"))["inputs"]
        prepare = TableInputs.of_json(inputs) if inputs["by"] == "table" else None
    except (OSError, ValueError, KeyError, TypeError, DataError):  # which `check_student` says
        return None
    return {} if prepare is None else prepare.steps


def _same(one: Any, other: Any) -> bool:
    """Tell whether two values of JSON are the same, up to the rounding of floats."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return isclose(one, other, rel_tol=1e-6, abs_tol=1e-9)
    return one == other


def _described(student: nn.Module, data: Splits, tokens: TextInputs | None) -> dict[str, Any]:
    """Return what a student's outputs are of, and how its inputs are prepared.

    `by` is None where that is the student's own code.
    """
    prepare = student.prepare if isinstance(student, Prepared) else tokens
    inputs: dict[str, Any] = {"form": data.form, "by": None}
    if data.form == "image":
        first: Any = data.train[0]
        inputs["size"] = list((first[0] if isinstance(first, tuple) else first).shape[-2:])
    if isinstance(prepare, TableInputs):
        inputs |= {"by": "table", **prepare.as_json()}
    elif isinstance(prepare, TextInputs):
        inputs |= {"by": "tokenizer", "max_length": prepare.max_length, "words": prepare.words}
    elif isinstance(prepare, ImageInputs):
        names = ("resize", "crop", "interpolation", "scale", "mean", "std")
        inputs |= {"by": "image", **{name: getattr(prepare, name) for name in names}}
    return {"classes": list(data.classes), "labels": list(data.labels), "inputs": inputs}
