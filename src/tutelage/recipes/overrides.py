"""Values that replace those of a recipe: `training.epochs=5`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tutelage.errors import RecipeError
from tutelage.recipes.reading import Document, Place, parse


def override(document: Document, overrides: Sequence[str]) -> None:
    """Set values by place; mappings that do not exist are made.

    Raises:
        RecipeError: An override has no `=`, or its place is inside of something else than a
            mapping or a list.
    """
    for each in overrides:
        name, equals, text = each.partition("=")
        place = tuple(name.strip().split("."))
        if not equals or not all(place):
            raise RecipeError(
                f"an override must be KEY=VALUE, got {each!r}; for instance training.epochs=5"
            )
        source = f"--set {each}"
        value = parse(text, source).values if text.strip() else None
        if document.values is None:
            document.values = {}
        _set(document.values, place, value, each)
        inside = [known for known in document.origins if known[: len(place)] == place]
        for known in inside:
            del document.origins[known]
        document.origins[place] = source


def _set(values: Any, place: Place, value: Any, override: str) -> None:
    for at, key in enumerate(place):
        last = at == len(place) - 1
        if isinstance(values, list):
            if not key.isdecimal() or int(key) >= len(values):
                raise RecipeError(
                    f"--set {override}: `{'.'.join(place[:at])}` is a list of {len(values)}, got "
                    f"{key!r}; give a position from 0"
                )
            index: Any = int(key)
        elif isinstance(values, dict):
            index = next((each for each in values if str(each) == key), key)  # keys may be numbers
        else:
            raise RecipeError(
                f"--set {override}: `{'.'.join(place[:at])}` must be a mapping or a list, got "
                f"{values!r}; replace it as a whole"
            )
        if last:
            values[index] = value
            return
        if isinstance(values, dict) and values.get(index) is None:
            values[index] = {}
        values = values[index]
