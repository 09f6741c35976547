"""Python code that a recipe names: what it may name, so that a recipe alone can do no harm.

`file.py:name` and `package.module:name` run code of the user, as any import does. What is part of
Python itself is refused, since its functions run programs and remove files, and arguments are given
only to the kinds of classes and functions that a recipe is for.
"""

from __future__ import annotations

import functools
import inspect
import sys
from typing import Any

from torch import nn, optim

from tutelage.errors import RecipeError
from tutelage.objectives import Objective
from tutelage.references.python_object import find, load
from tutelage.schedules import Schedule
from tutelage.teachers import Teacher

FROM_DATA = ("data", "features", "outputs")
"""Arguments of a user's function that are taken from the data of the recipe."""
_KINDS = (
    Objective,
    Schedule,
    Teacher,
    nn.Module,
    optim.Optimizer,
    optim.lr_scheduler.LRScheduler,
)
_PASSED = {"teacher", *FROM_DATA}


def named(argument: str, reference: str) -> Any:
    """Return the object of a reference; a function is not called.

    Raises:
        RecipeError: It is part of Python itself.
        ArgumentError: There is no such object.
    """
    source = reference.rpartition(":")[0]
    if not source.endswith(".py"):
        _refuse_own(argument, reference, source)
    found = find(argument, reference)
    inner = found.func if isinstance(found, functools.partial) else found
    inner = inspect.unwrap(inner) if callable(inner) else inner
    if callable(inner) and not isinstance(inner, nn.Module):
        _refuse_own(argument, reference, getattr(inner, "__module__", None) or "builtins")
    return found


def made(argument: str, reference: str) -> Any:
    """Return the object of a reference; a function or a class is called, and its result returned.

    Raises:
        RecipeError: It is part of Python itself.
        ArgumentError: There is no such object.
    """
    named(argument, reference)
    return load(argument, reference)


def given_arguments(argument: str, reference: str) -> Any:
    """Return the class or function of a reference that is to be called with a recipe's arguments.

    Raises:
        RecipeError: It is none that a recipe may give arguments to.
    """
    found = named(argument, reference)
    if isinstance(found, type):
        transform = "batch" in parameters_of(found.__dict__.get("__call__"))
        allowed = issubclass(found, _KINDS) or transform
    else:
        allowed = bool(_PASSED & parameters_of(found))
    if not allowed:
        raise RecipeError(
            f"`{argument}` must be an objective, a schedule, a transform, a teacher, a module, an "
            "optimizer or a scheduler, or a function with an argument `teacher`, `data`, "
            f"`features` or `outputs`, to be given arguments, got {reference!r}; name one"
        )
    return found


def parameters_of(function: Any) -> set[str]:
    """Return the names of a function's parameters; none where they are not known."""
    try:
        return set(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return set()


def _refuse_own(argument: str, reference: str, module: str) -> None:
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names:
        raise RecipeError(
            f"`{argument}` must name code of yours or of a package, got {reference!r}, which is "
            f"of Python's own module {top!r}; write a function in a file of yours"
        )
