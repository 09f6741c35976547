"""What a finished run leaves beside the weights, so that any program can use the student."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from tutelage.datasets import Splits, TableInputs
from tutelage.errors import RunFolderError
from tutelage.files import write_json, writing
from tutelage.layers import ImageInputs, Prepared, TextInputs
from tutelage.layers.wrapper import Wrapper, unwrapped
from tutelage.objectives import Objective
from tutelage.references.pooled import Pooled

_FORMAT = 1


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
    model: Any = unwrapped(student)
    content = {
        "format": _FORMAT,
        "outputs": objective.output_kind,
        "classes": list(data.classes),
        "labels": list(data.labels),
        "inputs": _inputs(prepare, data),
        "pool": _pooling(student),
    }
    with writing(out, RunFolderError):
        write_json(out / "student.json", content)
        if hasattr(model, "save_pretrained") and hasattr(model, "config"):
            _name_classes(model.config, data.classes)
            with _without_bars():
                model.save_pretrained(out / "student")
            if isinstance(prepare, TextInputs):
                prepare.save(out / "student")


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


def _inputs(prepare: Any, data: Splits) -> dict[str, Any]:
    """Return how raw inputs are prepared; `by` is None where that is the student's own code."""
    found: dict[str, Any] = {"form": data.form, "by": None}
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
