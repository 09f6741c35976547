"""From what pydantic finds wrong to errors with the line, the expected value, the nearest key."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from tutelage.datasets import DataOptions, SplitOptions
from tutelage.errors import RecipeError
from tutelage.recipes.reading import Document, Place

_MOST_SHOWN, _LONGEST = 5, 60
_EXPECTED = {
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "int_type": "an integer",
    "int_parsing": "an integer",
    "int_from_float": "an integer",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "a text",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}


def recipe_error(error: ValidationError, document: Document) -> RecipeError:
    """Return one error that lists what is wrong, each with its line."""
    found = error.errors(include_url=False)
    lines = list(dict.fromkeys(line for each in found for line in _lines(each, document)))
    more = len(lines) - _MOST_SHOWN
    return RecipeError("\n".join(lines[:_MOST_SHOWN] + ([f"and {more} more"] if more > 0 else [])))


def dotted(place: Place) -> str:
    """Return a place as `training.epochs`."""
    return ".".join(place)


def nearest(key: str, known: Iterable[str]) -> str:
    """Return advice for a key that is unknown."""
    names = sorted(known, key=str.lower)
    lower = {name.lower(): name for name in names}
    close = difflib.get_close_matches(key.lower(), lower, 1, 0.5)
    listed = f"known are {', '.join(names)}" if names else "leave it out"
    return f"did you mean `{lower[close[0]]}`? ({listed})" if close else listed


def _lines(error: Mapping[str, Any], document: Document) -> list[str]:
    place = tuple(
        str(part) for part in error["loc"] if not (isinstance(part, str) and part.startswith("<"))
    )
    if error["type"] != "unknown_keys":
        return [f"{document.where(place)}: {_problem(error, dotted(place) or 'recipe')}"]
    known = error["ctx"]["known"]
    return [
        f"{document.where((*place, key))}: `{dotted((*place, key))}` is unknown; "
        f"{nearest(key, known)}"
        for key in error["ctx"]["keys"]
    ]


def _problem(error: Mapping[str, Any], name: str) -> str:
    kind, given, context = error["type"], error["input"], error.get("ctx", {})
    if kind == "extra_forbidden":  # of the data, whose model is not one of recipes
        known = SplitOptions if ".split." in name else DataOptions
        return f"`{name}` is unknown; {nearest(str(error['loc'][-1]), known.model_fields)}"
    if kind == "value_error":
        return f"`{name}` cannot be used: {context['error']}"
    if kind == "missing":
        return f"`{name}` must be given; add it"
    if kind == "several":
        return f"`{name}` must name one thing, got {', '.join(context['names'])}; keep one"
    return f"`{name}` must be {_expected(error)}, got {shown(given)}; correct it"


def _expected(error: Mapping[str, Any]) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind in _EXPECTED:
        return _EXPECTED[kind]
    if kind == "no_choice":
        return context["known"]
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        shapes = re.findall("<([^>]+)>", context.get("expected_tags", ""))
        return " or ".join(dict.fromkeys(f"a {each}" for each in shapes))
    if kind == "literal_error":
        return f"one of {context['expected']}"
    if kind in ("too_short", "too_long"):
        length = context.get("min_length", context.get("max_length"))
        return f"a list of {length} values"
    return error["msg"][:1].lower() + error["msg"][1:]


def shown(value: Any) -> str:
    """Return a value as it is shown in a message: short."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def shortened(names: Sequence[str], most: int = 6) -> str:
    """Return names, or the first of many."""
    more = f", … ({len(names)})" if len(names) > most else ""
    return ", ".join(names[:most]) + more
