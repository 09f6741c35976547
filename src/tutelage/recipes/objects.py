"""Where the references of a recipe become models and data."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import nn

from tutelage.data import randomness
from tutelage.errors import ArgumentError, DataError
from tutelage.nested import describe
from tutelage.references import find, load
from tutelage.store import manifest

_WITH_FUNCTIONS = ("objectives", "teachers", "data", "evaluation", "layers")
"""Packages whose functions and classes a recipe may name without their module."""


@dataclass(frozen=True)
class DataOptions:
    """Which data a recipe is about.

    Args:
        train: Data to train on: `package.module:name` or `file.py:name`.
        val: Data to select the best epoch by.
        test: Held-out data, for studies and evaluation.
        unlabelled: More data to train on, whose labels, if any, are not used.
    """

    train: str
    val: str | None = None
    test: str | None = None
    unlabelled: str | None = None


@dataclass(frozen=True)
class Splits:
    """The data of a recipe.

    Args:
        train: To train on.
        val: To select by; None for none.
        test: Held out; None for none.
        classes: Names of the classes, if they are known.
    """

    train: Any
    val: Any = None
    test: Any = None
    classes: tuple[str, ...] = ()


def load_model(argument: str, reference: str, seed: int, trained: bool) -> Any:
    """Return the model of a reference: a module, a teacher, or the path of stored targets.

    A random model is always made under the same seed. One that is to be trained is copied, since
    the user's code may hold on to it.
    """
    if (Path(reference) / manifest.NAME).is_file():
        return reference
    with randomness.preserved():
        randomness.seed_everything(seed)
        found = load(argument, reference)
    return deepcopy(found) if trained else found


def find_student(argument: str, reference: str) -> Any:
    """Return what makes fresh students: the function of a reference, or a module to be copied."""
    found = find(argument, reference)
    if not isinstance(found, nn.Module) and not callable(found):
        raise ArgumentError(
            f"`{argument}` must name a function that makes a torch.nn.Module, or a module, got "
            f"{type(found).__name__}; name one"
        )
    return found


def load_data(argument: str, options: DataOptions | str, seed: int) -> Splits:
    """Return the data of a recipe.

    Args:
        argument: Its name, for messages.
        options: Which data; or one reference, to a dict of `train`, `val` and `test`.
        seed: Of everything random in making them.
    """
    with randomness.preserved():
        randomness.seed_everything(seed)
        if isinstance(options, DataOptions):
            return _by_name(argument, options)
        found = load(argument, options)
    if isinstance(found, Splits):
        return found
    known = {"train", "val", "test"}
    if not isinstance(found, dict) or not {"train"} <= found.keys() <= known:
        raise DataError(
            f"`{argument}` must name a dict of data sets with the keys train, val and test, of "
            f"which only train must be there, got {describe(found)}; give one, or write "
            "`train:` and `val:` with a reference each"
        )
    return Splits(found["train"], found.get("val"), found.get("test"))


def load_function(argument: str, name: str) -> Any:
    """Return a function: one of the library, or the object of a reference."""
    if ":" in name:
        return find(argument, name)
    packages = [import_module(f"tutelage.{each}") for each in _WITH_FUNCTIONS]
    known = {each: getattr(package, each) for package in packages for each in package.__all__}
    if name not in known:
        raise ArgumentError(
            f"`{argument}` must be a function of the library, package.module:name or file.py:name, "
            f"got {name!r}; correct it"
        )
    return known[name]


def _by_name(argument: str, options: DataOptions) -> Splits:
    from torch.utils.data import ConcatDataset  # noqa: PLC0415

    from tutelage.data import unlabelled  # noqa: PLC0415

    names = {"train": options.train, "val": options.val, "test": options.test}
    found: dict[str, Any] = {
        name: None if each is None else load(f"{argument}.{name}", each)
        for name, each in names.items()
    }
    if options.unlabelled is not None:
        more: Any = load(f"{argument}.unlabelled", options.unlabelled)
        found["train"] = ConcatDataset([found["train"], unlabelled(more)])
    return Splits(**found)


def as_module(argument: str, found: Any, why: str) -> nn.Module:
    """Return a module; refuse what is none."""
    if not isinstance(found, nn.Module):
        raise ArgumentError(
            f"`{argument}` must be a torch.nn.Module {why}, got {type(found).__name__}; name one, "
            "or a function that returns one"
        )
    return found
