"""The categories that a model was fitted on, such as those of the encoders of scikit-learn."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tutelage.datasets.cells import as_text, mapped, number, places

_Names = list[str | None] | None


@dataclass
class KnownCategories:
    """The categories that a model was fitted on, as it had them, such as 10 and not "10".

    Args:
        by_column: Those of columns of which the name is known.
        in_order: Those of all columns of categories in their order, where names are not known.
        elsewhere: Those of columns that are not known.
    """

    by_column: dict[str, list[Any]] = field(default_factory=dict)
    in_order: list[list[Any]] = field(default_factory=list)
    elsewhere: list[list[Any]] = field(default_factory=list)

    def of(self, categorical: Iterable[str]) -> dict[str, list[Any]]:
        """Return the categories by column, where these columns of the data are categories."""
        return {**self.by_column, **dict(zip(categorical, self.in_order, strict=False))}


def known_categories(model: Any) -> KnownCategories:
    """Return the categories of the encoders within an estimator of scikit-learn."""
    found = KnownCategories()
    _visit(model, None, found, set())
    return found


def as_fitted(values: Iterable[Any], categories: Sequence[Any], keep: bool = True) -> list[Any]:
    """Return the values of a column as the categories that a model was fitted on.

    Args:
        values: Numbers, or texts of categories; None or NaN for missing.
        categories: As the model has them, of any type.
        keep: Whether values that the model does not know stay as they are, or become numbers if its
            categories are; otherwise they become missing.
    """
    own = [each for each in categories if not _is_nothing(each)]
    place = _places(own)
    nothing = None if any(each is None for each in categories) else np.nan
    numeric = are_numbers(own)

    def known(value: Any) -> Any:
        at = None if _is_nothing(value) else place(value)
        if at is not None:
            return own[at]
        if _is_nothing(value) or not keep:
            return nothing
        as_number = _number(value) if numeric else None
        return value if as_number is None else as_number

    return mapped(known, list(values))


def are_numbers(categories: Sequence[Any]) -> bool:
    """Tell whether categories are numbers, or true and false."""
    present = [each for each in categories if not _is_nothing(each)]
    return bool(present) and not any(isinstance(each, (str, bytes)) for each in present)


def unknown_of(texts: Iterable[str], categories: Sequence[Any]) -> list[str]:
    """Return the texts of categories that a model does not know."""
    place = _places([each for each in categories if not _is_nothing(each)])
    return [each for each in texts if place(each) is None]


def _places(categories: Sequence[Any]) -> Callable[[Any], int | None]:
    place = places([as_text(each) for each in categories])
    if not are_numbers(categories):
        return place

    def of_number(value: Any) -> int | None:  # where true is 1
        at = place(value)
        return place(_number(value)) if at is None else at

    return of_number


def _number(value: Any) -> float | None:
    """Return the number that a library takes a value for; None if it is none."""
    found = number(value)
    return {"true": 1.0, "false": 0.0}.get(as_text(value).lower()) if found is None else found


def _visit(part: Any, names: _Names, found: KnownCategories, seen: set[int]) -> None:
    if isinstance(part, dict):
        part = list(part.values())
    if isinstance(part, (list, tuple)):
        for each in part:
            _visit(each, names, found, seen)
        return
    of_sklearn = type(part).__module__.startswith("sklearn.") and hasattr(part, "__dict__")
    if not of_sklearn or id(part) in seen:
        return
    seen.add(id(part))
    names = _names_of(part, names)
    if isinstance(categories := getattr(part, "categories_", None), list):
        _note(categories, names, found)
    if hasattr(part, "transformers_"):  # a ColumnTransformer
        indices = getattr(part, "_transformer_to_input_indices", {})
        for name, inner, _ in part.transformers_:
            chosen = names and name in indices and [names[at] for at in indices[name]]
            _visit(inner, chosen or None, found, seen)
    elif hasattr(part, "steps"):  # a Pipeline
        for _, step in part.steps:
            _visit(step, names, found, seen)
            names = _behind(step, names)
    else:
        _visit(vars(part), names, found, seen)


def _names_of(part: Any, names: _Names) -> _Names:
    """Return the names of the columns that a part of a model is given, if they are known."""
    own = getattr(part, "feature_names_in_", None)
    if own is not None:
        return list(map(str, own))
    count = getattr(part, "n_features_in_", None)
    return names if names is None or count is None or count == len(names) else None


def _note(categories: list[Any], names: _Names, found: KnownCategories) -> None:
    for name, own in zip(names or [None] * len(categories), categories, strict=False):
        if name is not None:
            found.by_column.setdefault(name, own.tolist())
        else:
            found.elsewhere.append(own.tolist())


def _behind(step: Any, names: _Names) -> _Names:
    """Return the names of the columns behind a step of a pipeline; None for each made of others."""
    if names is None or isinstance(step, str) or step is None:
        return names
    given = [f"\0{at}" if each is None else each for at, each in enumerate(names)]
    try:
        made = list(map(str, step.get_feature_names_out(np.array(given, dtype=object))))
    except Exception:  # noqa: BLE001 - not every transformer knows its names
        return None
    return [_origin(each, given) for each in made]


def _origin(made: str, names: Sequence[str]) -> str | None:
    same = [each for each in names if made == each or made.endswith(f"__{each}")]
    found = max(same, key=len, default="\0")
    return None if found.startswith("\0") else found


def _is_nothing(value: Any) -> bool:
    return value is None or bool(value != value)  # noqa: PLR0124 - NaN, NaT
