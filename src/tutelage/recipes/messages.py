"""From what pydantic finds wrong to errors with the line, the expected value, the nearest key."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from tutelage.datasets import DataOptions, SplitOptions
from tutelage.errors import RecipeError, did_you_mean
from tutelage.recipes.reading import Document, Place

_MOST_SHOWN, _LONGEST = 5, 60
_EXPECTED = {
    "float": "a number",
    "finite": "a finite number",
    "int": "an integer",
    "bool": "true or false (in small letters)",
    "string": "a text",
    "list": "a list",
    "dict": "a mapping",
    "model": "a mapping",
}
"""By the first word of pydantic's name of an error."""


def recipe_error(error: ValidationError, document: Document) -> RecipeError:
    """Return one error that lists what is wrong, each with its line."""
    found = error.errors(include_url=False)
    lines = list(dict.fromkeys(line for each in found for line in _lines(each, document)))
    more = len(lines) - _MOST_SHOWN
    return RecipeError("\n".join(lines[:_MOST_SHOWN] + ([f"and {more} more"] if more > 0 else [])))


def dotted(place: Place) -> str:
    """Return a place as `training.epochs`."""
    return ".".join(place)


def _lines(error: Mapping[str, Any], document: Document) -> list[str]:
    kind, context = error["type"], error.get("ctx", {})
    place = tuple(str(part) for part in error["loc"] if not str(part).startswith("<"))
    unknown: list[Place] = (
        [(*place, key) for key in context["keys"]] if kind == "unknown_keys" else []
    )
    known = context.get("known", ())
    if kind == "extra_forbidden":  # of the data, whose model is not one of recipes
        unknown, known = [place], (SplitOptions if "split" in place else DataOptions).model_fields
    if unknown:
        names = ", ".join(sorted(known, key=str.lower))
        advice = f"known are {names}" if names else "leave it out"
        return [
            f"{document.where(each)}: `{dotted(each)}` is unknown; "
            + " ".join(filter(None, (did_you_mean(each[-1], known), advice)))
            for each in unknown
        ]
    name, given = dotted(place) or "recipe", error["input"]
    problem = f"`{name}` must be {_expected(error)}, got {_shown(given)}; correct it"
    if kind == "value_error":
        problem = f"`{name}` cannot be used: {context['error']}"
    elif kind == "missing":
        problem = f"`{name}` must be given; add it"
    elif kind == "several":
        problem = f"`{name}` must name one thing, got {', '.join(context['names'])}; keep one"
    return [f"{document.where(place)}: {problem}"]


def _expected(error: Mapping[str, Any]) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind == "no_choice":
        return context["known"]
    if kind.startswith("union_tag"):
        shapes = re.findall("<([^>]+)>", context.get("expected_tags", ""))
        return " or ".join(dict.fromkeys(f"a {each}" for each in shapes))
    if kind == "literal_error":
        return f"one of {context['expected']}"
    if kind in ("too_short", "too_long"):
        return f"a list of {context.get('min_length', context.get('max_length'))} values"
    usual = _EXPECTED.get(kind.partition("_")[0])
    return usual or error["msg"][:1].lower() + error["msg"][1:]


def _shown(value: Any) -> str:
    """Return a value as it is shown in a message: short."""
    if value is None:
        return "nothing"
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
