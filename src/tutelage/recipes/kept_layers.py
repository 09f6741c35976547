"""Students whose layers are chosen by examples; the choice is kept in the recipe's folder."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn
from torch.utils.data import Dataset

from tutelage.data import randomness
from tutelage.errors import RunFolderError
from tutelage.files import write_json, writing
from tutelage.identity import dataset_fingerprint, digest, identity
from tutelage.layers.blocks import children
from tutelage.students import Kept, keep_layers
from tutelage.students.keep_layers import container_of
from tutelage.teachers import as_teacher

FILE = "kept_layers.json"


def kept_student(
    make: Callable[..., Kept[Any]],
    teacher: nn.Module,
    data: Dataset[Any],
    arguments: Mapping[str, Any],
    out: Path,
    seed: int,
) -> Kept[Any]:
    """Return the student that a function makes of a teacher and of some training examples.

    The layers that it keeps are chosen once for a teacher, examples and arguments, and read again,
    so that the choice costs nothing when a run is resumed or evaluated, and rounding on another
    machine does not change it.

    Args:
        make: Such as `most_influential`.
        teacher: As it teaches.
        data: The examples, see `teacher_check.some_examples`.
        arguments: Others, by name.
        out: The folder of the recipe, for `kept_layers.json`.
        seed: Under which examples are drawn, if they are augmented.

    Raises:
        TutelageError: As the function; the file is damaged.
    """
    teacher_key = str(as_teacher(teacher).fingerprint())
    key = digest(make.__name__, teacher_key, dataset_fingerprint(data), identity(dict(arguments)))
    path, file, known = arguments.get("path"), out / FILE, dict[str, list[int]]()
    try:
        if file.exists():
            content = json.loads(file.read_text(encoding="utf-8"))
            known = {str(key): list(map(int, each)) for key, each in content.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise RunFolderError(
            f"{file} must have the layers that students keep, got a damaged file ({error}); "
            "remove it, and they are chosen again"
        ) from error
    if key in known:
        return keep_layers(teacher, known[key], path)
    with randomness.preserved():
        randomness.seed_everything(seed)
        kept = make(teacher, data=data, **arguments)
    names = children(teacher, container_of(teacher, path))
    chosen = [names.index(each) for each in kept.layer_map.values()]
    if os.environ.get("RANK", "0") == "0":
        with writing(out, RunFolderError):
            out.mkdir(parents=True, exist_ok=True)
            write_json(file, known | {key: chosen})
    return kept
