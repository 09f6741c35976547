"""The forms in which a model of CatBoost knows the categories of a table."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage.datasets.cells import plain

_PROBES, _SEED = 16, 0
_UNKNOWN = "\0"
_RELEVANT = 1.0
"""Per cent of the importance of all features."""


def known_forms(
    model: Any, categories: Mapping[str, Sequence[str]]
) -> tuple[dict[str, list[Any]], list[str]]:
    """Return categories as a model was fitted on them, by column, and columns that matter without.

    The model keeps a hash of each category's text, so that it answers "10", "10.0" and " 10" in
    different ways, and a text that it does not know as any other such text. Which form it knows is
    therefore seen by its outputs for some rows. True and false are 1 and 0 for it.

    Args:
        model: Of CatBoost.
        categories: The texts of categories in the data, by column.
    """
    names = list(model.feature_names_)
    coded = {names[at] for at in model.get_cat_feature_indices()}
    probes = _probes(model, names, coded, categories)
    found: dict[str, list[Any]] = {}
    unknown = []
    for name in (each for each in names if each in coded and each in categories):
        texts = list(categories[name])
        forms = [list(_forms(each)) for each in texts]
        flat = [each for some in forms for each in some]
        try:
            known = dict(zip(flat, _differs(model, probes, name, flat), strict=True))
        except Exception:  # noqa: BLE001 - it takes other rows, such as vectors, and will say so
            return {}, []
        found[name] = [
            next((each for each in some if known[each]), text)
            for text, some in zip(texts, forms, strict=True)
        ]
        if not any(known.values()) and _importance(model, names.index(name)) > _RELEVANT:
            unknown.append(name)
    return found, unknown


def _forms(text: str) -> Iterator[Any]:
    """Yield a category in the forms that programs write it in, the most likely ones first."""
    yield text
    if text.lower() in ("true", "false"):
        yield text.lower() == "true"
        yield from (text.lower(), text.title(), text.upper())
    elif plain(text) != text:
        yield plain(text)
    elif re.fullmatch(r"-?\d+", text):
        yield f"{text}.0"
    yield from (f" {text}", f"{text} ")


def _probes(
    model: Any, names: list[str], coded: set[str], categories: Mapping[str, Sequence[str]]
) -> dict[str, NDArray[Any]]:
    """Return rows that differ in where the model divides numbers, and in categories."""
    random = np.random.default_rng(_SEED)
    borders = model.get_borders()
    rows: dict[str, NDArray[Any]] = {}
    for at, name in enumerate(names):
        if name in coded:
            rows[name] = random.choice(
                np.array([_UNKNOWN, *categories.get(name, ())], object), _PROBES
            )
        elif at in model.get_text_feature_indices():
            rows[name] = np.full(_PROBES, "", dtype=object)
        else:
            some = np.array(borders.get(at) or [0.0], dtype=np.float64)
            rows[name] = random.choice(some, _PROBES) + random.normal(size=_PROBES) * some.std()
    return rows


def _differs(
    model: Any, probes: Mapping[str, NDArray[Any]], name: str, values: Sequence[Any]
) -> list[bool]:
    """Tell for each value of a column whether the outputs are others than for an unknown one."""
    import pandas as pd  # noqa: PLC0415 - heavy, and needed here only

    tried = [_UNKNOWN, *values]
    frame = pd.DataFrame({key: np.tile(each, len(tried)) for key, each in probes.items()})
    frame[name] = pd.Series([each for each in tried for _ in range(_PROBES)], dtype=object)
    outputs = model.predict(frame, prediction_type="RawFormulaVal", thread_count=1)
    outputs = np.asarray(outputs).reshape(len(tried), -1)
    return (outputs[1:] != outputs[0]).any(axis=1).tolist()


def _importance(model: Any, at: int) -> float:
    try:
        return float(model.get_feature_importance()[at])
    except Exception:  # noqa: BLE001 - of models that were saved without what it needs
        return 0.0
