"""Argument checks whose errors say what was expected, what was found, and what to do."""

import math
import os
from collections.abc import Mapping
from importlib import import_module
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from tutelage.errors import ArgumentError, TutelageError


def finite_number(name: str, value: object, advice: str) -> float:
    """Return `value` as a float; refuse what is not a finite number."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ArgumentError(f"`{name}` must be a number, got {value!r}; {advice}")
    number = float(value)
    if not math.isfinite(number):
        raise ArgumentError(f"`{name}` must be finite, got {number}; {advice}")
    return number


def positive(name: str, value: object, advice: str) -> float:
    """Return `value` as a float above zero."""
    number = finite_number(name, value, advice)
    if number <= 0:
        raise ArgumentError(f"`{name}` must be positive, got {number}; {advice}")
    return number


def not_negative(name: str, value: object, advice: str) -> float:
    """Return `value` as a float of zero or more."""
    number = finite_number(name, value, advice)
    if number < 0:
        raise ArgumentError(f"`{name}` must be zero or more, got {number}; {advice}")
    return number


def fraction(name: str, value: object, advice: str) -> float:
    """Return `value` as a float in [0, 1]."""
    number = finite_number(name, value, advice)
    if not 0 <= number <= 1:
        raise ArgumentError(f"`{name}` must lie in [0, 1], got {number}; {advice}")
    return number


def inner_fraction(name: str, value: object, advice: str) -> float:
    """Return `value` as a float strictly between 0 and 1."""
    number = finite_number(name, value, advice)
    if not 0 < number < 1:
        raise ArgumentError(f"`{name}` must lie between 0 and 1, got {number}; {advice}")
    return number


def integer(name: str, value: object, least: int, advice: str) -> int:
    """Return `value` as an int of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise ArgumentError(f"`{name}` must be an integer, got {value!r}; {advice}")
    number = int(value)
    if number < least:
        raise ArgumentError(f"`{name}` must be at least {least}, got {number}; {advice}")
    return number


def by_name(name: str, value: object, example: str) -> Mapping[str, Any]:
    """Return a dict; the error for anything else shows `example`."""
    if not isinstance(value, Mapping):
        raise ArgumentError(f"`{name}` must be a dict by name, got {value!r}; write {example}")
    return value


def folder_path(value: object) -> Path:
    """Return `out` as a path, with `~` resolved."""
    if not isinstance(value, (str, os.PathLike)):
        raise ArgumentError(
            f"`out` must be the path of a folder, got {value!r}; for instance 'runs/mine'"
        )
    return Path(value).expanduser()


def installed(user: str, module: str, extra: str, error: type[TutelageError]) -> Any:
    """Return a module of an optional package, which `user` needs; else raise `error`."""
    try:
        return import_module(module)
    except ModuleNotFoundError as cause:
        if cause.name is None or not f"{module}.".startswith(f"{cause.name}."):
            raise  # it is installed, but a package that it imports is not
        raise error(
            f"{user} needs the package {module.partition('.')[0]}, got none; install it: "
            f"pip install 'tutelage[{extra}]'"
        ) from cause
