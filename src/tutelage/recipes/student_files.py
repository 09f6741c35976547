"""What a finished run leaves beside the weights, so that any program can use the student."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import isclose
from pathlib import Path
from typing import Any

from torch import nn

from tutelage.datasets import Splits, TableInputs
from tutelage.errors import RunFolderError, in_short
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
    prepare = _prepare(student, tokens)
    model: Any = unwrapped(student)
    content = {"format": _FORMAT, "outputs": objective.output_kind, "pool": _pooling(student)}
    with writing(out, RunFolderError):
        write_json(out / FILE, content | _described(student, data, tokens))
        if hasattr(model, "save_pretrained") and hasattr(model, "config"):
            _name_classes(model.config, data.classes)
            with _without_bars():
                model.save_pretrained(out / "student")
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


def _same(one: Any, other: Any) -> bool:
    """Tell whether two values of JSON are the same, up to the rounding of floats."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return isclose(one, other, rel_tol=1e-6, abs_tol=1e-9)
    return one == other


@contextmanager
def _without_bars() -> Iterator[None]:
    """Let transformers show no progress of writing a file."""
    logging: Any = sys.modules.get("transformers.utils.logging")
    if logging is None or not logging.is_progress_bar_enabled():
        yield
        return
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.enable_progress_bar()


def _prepare(student: nn.Module, tokens: TextInputs | None) -> Any:
    return student.prepare if isinstance(student, Prepared) else tokens


def _described(student: nn.Module, data: Splits, tokens: TextInputs | None) -> dict[str, Any]:
    """Return what a student's outputs are of, and how its inputs are prepared."""
    return {
        "classes": list(data.classes),
        "labels": list(data.labels),
        "inputs": _inputs(_prepare(student, tokens), data),
    }


def _inputs(prepare: Any, data: Splits) -> dict[str, Any]:
    """Return how raw inputs are prepared; `by` is None where that is the student's own code."""
    found: dict[str, Any] = {"form": data.form, "by": None}
    if data.form == "image":
        first: Any = data.train[0]
        image = first[0] if isinstance(first, tuple) else first
        found["size"] = list(image.shape[-2:])
    if isinstance(prepare, TableInputs):
        return {**found, "by": "table", **prepare.as_json()}
    if isinstance(prepare, TextInputs):
        return {**found, "by": "tokenizer"} | {
            "max_length": prepare.max_length,
            "words": prepare.words,
        }
    if isinstance(prepare, ImageInputs):
        names = ("resize", "crop", "interpolation", "scale", "mean", "std")
        return {**found, "by": "image", **{name: getattr(prepare, name) for name in names}}
    return found


def _pooling(student: nn.Module) -> dict[str, Any] | None:
    """Return how the vectors of tokens become an embedding, if they do."""
    inner = student
    while isinstance(inner, Wrapper):
        if isinstance(inner, Pooled):
            return {"pool": inner.pool, "normalise": inner.normalise}
        inner = inner.wrapped
    return None


def _name_classes(config: Any, classes: Sequence[str]) -> None:
    if classes and getattr(config, "num_labels", None) == len(classes):
        config.id2label = dict(enumerate(classes))
        config.label2id = {name: at for at, name in config.id2label.items()}
