"""Where the references of a recipe become models and data."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import nn

from tutelage import references
from tutelage.data import randomness
from tutelage.datasets import DataOptions, Splits
from tutelage.datasets import load_data as load_by_reference
from tutelage.datasets.python_data import is_python
from tutelage.errors import ArgumentError, DataError
from tutelage.layers import Prepared
from tutelage.nested import describe
from tutelage.recipes.code import FROM_DATA, made, named, parameters_of
from tutelage.store import manifest

_WITH_FUNCTIONS = ("objectives", "teachers", "data", "evaluation", "layers")
"""Packages whose functions and classes a recipe may name without their module."""


def model_maker(
    argument: str, reference: str, data: Callable[[], Splits], outputs: int | None
) -> Callable[[], Any]:
    """Return what makes the model of a reference anew at every call.

    A function of the user may have the arguments `features` (of the rows of a table, by which it
    is given prepared ones), `outputs`, and `data`, the recipe's `Splits`. `outputs` is the number
    of outputs that another model must have; None for those that it has.
    """
    if not is_python(reference):
        code = reference.partition("@")[0]  # with weights, after the name
        if is_python(code):
            named(argument, code)
        return partial(references.load_model, argument, reference, classes=outputs)
    found = named(argument, reference)
    if isinstance(found, nn.Module):
        return partial(deepcopy, found)
    is_function = inspect.isroutine(found) or isinstance(found, (type, partial))
    if is_function and not parameters_of(found).isdisjoint(FROM_DATA):
        return made_by(argument, found, data())
    return partial(made, argument, reference)


def made_by(
    argument: str,
    function: Callable[..., Any],
    data: Splits,
    given: Mapping[str, Any] | None = None,
) -> Callable[[], Any]:
    """Return what calls a function with arguments that depend on the data, and prepares rows."""
    wanted, outputs = parameters_of(function), number_of_outputs(data)
    prepare = data.table_inputs() if "features" in wanted else None
    if "outputs" in wanted and outputs is None:
        raise DataError(
            f"`{argument}` must be told its number of outputs by the labels of the data, got data "
            "without classes; name a function without the argument `outputs`"
        )
    known = {"data": data, "outputs": outputs, "features": prepare and prepare.features}
    arguments = {name: known[name] for name in FROM_DATA if name in wanted} | dict(given or {})
    make = partial(function, **arguments)
    return make if prepare is None else partial(_prepared, make, prepare)


def _prepared(make: Callable[[], Any], prepare: Any) -> Prepared:
    return Prepared(make(), prepare)


def load_model(maker: Callable[[], Any], seed: int) -> Any:
    """Return a model; a random one is always made under the same seed."""
    with randomness.preserved():
        randomness.seed_everything(seed)
        return maker()


def is_store(reference: str) -> bool:
    """Tell whether a reference is the folder of stored targets."""
    return (Path(reference) / manifest.NAME).is_file()


def number_of_outputs(data: Splits) -> int | None:
    """Return how many outputs a model of this data has; None if the data does not tell."""
    if data.kind in ("classes", "binary", "tags"):
        return len(data.classes) or None
    if data.kind != "values":
        return None
    label = data.train[0][1]
    return 1 if label.ndim == 0 else len(label)


def load_data(argument: str, options: DataOptions | str, seed: int) -> Splits:
    """Return the data of a recipe.

    Args:
        argument: Its name, for messages.
        options: Which data; or one reference, to a dict of `train`, `val` and `test`, or to the
            training data.
        seed: Of everything random in making data sets of Python.
    """
    with randomness.preserved():
        randomness.seed_everything(seed)
        if isinstance(options, str) and is_python(options):
            found = made(argument, options)
            if isinstance(found, Splits):
                return found
            options = _options(argument, found)
        return load_by_reference(argument, options, made)


def _options(argument: str, found: Any) -> DataOptions:
    known = {"train", "val", "test", "unlabelled"}
    if not isinstance(found, (dict, nn.Module)):
        return DataOptions(train=found)
    if isinstance(found, nn.Module) or not {"train"} <= found.keys() <= known:
        raise DataError(
            f"`{argument}` must name data, or a dict of data sets with the keys train, val, test "
            f"and unlabelled, of which only train must be there, got {describe(found)}; give one"
        )
    return DataOptions(**found)


def load_function(argument: str, name: str) -> Any:
    """Return a function: one of the library, or the object of a reference."""
    if ":" in name:
        return named(argument, name)
    packages = [import_module(f"tutelage.{each}") for each in _WITH_FUNCTIONS]
    known = {each: getattr(package, each) for package in packages for each in package.__all__}
    if name not in known:
        raise ArgumentError(
            f"`{argument}` must be a function of the library, package.module:name or file.py:name, "
            f"got {name!r}; correct it"
        )
    return known[name]


def as_module(argument: str, found: Any, why: str) -> nn.Module:
    """Return a module; refuse what is none."""
    if not isinstance(found, nn.Module):
        raise ArgumentError(
            f"`{argument}` must be a torch.nn.Module {why}, got {type(found).__name__}; name one, "
            "or a function that returns one"
        )
    return found
