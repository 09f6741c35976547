"""A fingerprint of a run's data, from as much of it as can be read in a short time."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import random
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache, partial
from itertools import islice
from numbers import Number
from pathlib import PurePath
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from tutelage.data import randomness
from tutelage.data.dataset_fingerprint import examples_fingerprint, load
from tutelage.data.fingerprint import content
from tutelage.data.sets import held_datasets
from tutelage.data.tensor_table import table_of
from tutelage.errors import DataError

SAMPLED = " (sampled)"
"""The end of a fingerprint that does not include all examples."""

_FIRST = 8
_FOLDER = re.compile('"/[^"]*/')  # of an absolute path in JSON
_DEPTH = 5
_LONGEST, _SAMPLED_ROWS = 2**32, 64
_SEARCHED = 64


def data_fingerprint(name: str, dataset: Any, loader: DataLoader[Any] | None = None) -> str | None:
    """Return a text that changes with the content of data; None if none of it can be read.

    Data sets of tensors are read completely. For others it includes:

    - examples, as in `dataset_fingerprint`, or the first 8 of an iterable data set. They are loaded
      twice and left out if they differ, as with a data set that has its own random generator;
    - attributes of the data set, and of the data sets inside it, that are data: tensors, arrays,
      tables, numbers and strings, also in lists and dicts. Only the last part of absolute paths is
      used, so that a folder may move. Attributes that loading changes (caches, counters) are left
      out;
    - for a loader, tensors and lists in its sampler, and the collated batch of two examples.

    Where examples are left out, the text ends with `SAMPLED`.

    Global random states, the data set's own generators and its attributes are restored. A warning
    of the logger `tutelage` says, once, what cannot be read.
    """
    kind = type(dataset).__name__
    with randomness.preserved(), undisturbed(dataset):
        whole = table_of(dataset) is not None
        attributes = {} if whole else _attributes(dataset)
        examples, sampled = _examples(dataset, times=1 if whole else 2)
        after = attributes and _attributes(dataset)
        attributes = {key: each for key, each in attributes.items() if after.get(key) == each}
        around = [] if loader is None else _loader_content(loader, examples is not None)
    if examples is None:
        seen = f"its size and attributes ({', '.join(attributes)})" if attributes else "its size"
        _warn_once(
            f"The examples of `{name}` ({kind}) cannot be read, or differ each time they are "
            f"loaded, so a run on this data is identified by {seen} only. Use another folder `out` "
            "for other data."
        )
    elif isinstance(dataset, IterableDataset):
        _warn_once(
            f"`{name}` ({kind}) has no length, so a run on it is identified by its first {_FIRST} "
            "examples only. Use another folder `out` for other data."
        )
    if examples is None and not attributes:
        return None
    parts = [str(examples), *(f"{key}={each}" for key, each in sorted(attributes.items())), *around]
    digest = hashlib.blake2b(";".join(parts).encode(), digest_size=16).hexdigest()
    return f"{kind} {digest}{SAMPLED if sampled else ''}"


@cache
def _warn_once(message: str) -> None:
    logging.getLogger("tutelage").warning(message)


def _examples(dataset: Any, times: int) -> tuple[str | None, bool]:
    """Return a hash over examples, and whether some are left out.

    The hash is None if the examples cannot be read, or differ between reads.
    """
    read = _first_examples if isinstance(dataset, IterableDataset) else examples_fingerprint
    try:
        found = {read(dataset) for _ in range(times)}
    except Exception:  # noqa: BLE001 - a data set may raise anything, and will again in training
        return None, True
    return found.pop() if len(found) == 1 else (None, True)


def _first_examples(dataset: IterableDataset[Any]) -> tuple[str, bool]:
    """Hash the first examples of an iterable data set, unless it can be iterated only once."""
    if any(hasattr(each, "__next__") for each in (dataset, *vars(dataset).values())):
        raise DataError("reading examples from an iterator or an open file would consume them")
    randomness.seed_everything(0)
    return content(list(islice(iter(dataset), _FIRST))), True


def _nested(dataset: Any, path: str = "", depth: int = _DEPTH) -> Iterator[tuple[str, Any]]:
    """Yield a data set and those inside it, each with the path of its attributes."""
    yield path, dataset
    for key, each in held_datasets(dataset).items() if depth else ():
        yield from _nested(each, f"{path}{key}.", depth - 1)


def _attributes(dataset: Any) -> dict[str, str]:
    """Return hashes over the attributes that are data, by their path."""
    found = {}
    for path, each in _nested(dataset):
        listed = isinstance(each, (list, tuple))
        for key, value in ({"items": each} if listed else getattr(each, "__dict__", {})).items():
            with suppress(Exception):  # attributes may be anything
                found[path + key] = content(_portable(value))
    return found


def _portable(value: Any) -> Any:
    """Return data in a form that is the same on another machine; refuse what is not data."""
    if isinstance(value, (str, PurePath)):
        return os.path.basename(value) if os.path.isabs(value) else str(value)  # noqa: PTH117, PTH119
    if isinstance(value, np.ndarray) and value.dtype.hasobject:
        value = value.tolist()
    if isinstance(value, (np.ndarray, Tensor)) and value.nbytes > _LONGEST:
        rows = [turn * len(value) // _SAMPLED_ROWS for turn in range(_SAMPLED_ROWS)]
        value = [list(value.shape), *(value[row] for row in rows), value[-1]]
    if value is None or isinstance(value, (bytes, Number, np.generic, np.ndarray, Tensor)):
        return value
    if isinstance(value, (list, tuple, dict)):
        try:  # much faster than one by one, for a million paths
            return _FOLDER.sub('"', json.dumps(value))
        except (TypeError, ValueError):
            pass
    if isinstance(value, dict):
        return {str(key): _portable(each) for key, each in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        parts = [_portable(each) for each in value]
        return parts if isinstance(value, (list, tuple)) else sorted(parts, key=repr)
    if hasattr(value, "to_numpy"):  # tables and columns of pandas and Polars
        return [*map(str, getattr(value, "columns", ())), _portable(value.to_numpy())]
    raise DataError(f"{type(value).__name__} is not data")


def _loader_content(loader: DataLoader[Any], repeats: bool) -> list[str]:
    """Return hashes over the data in samplers, and over a collated batch."""
    found = []
    for owner in (loader.sampler, loader.batch_sampler):
        for key, value in sorted(getattr(owner, "__dict__", {}).items()):
            if isinstance(value, (Tensor, np.ndarray, list, tuple)):
                with suppress(Exception):
                    found.append(f"{key} {content(_portable(value))}")
    if not repeats or isinstance(loader.dataset, IterableDataset):
        return found
    try:
        randomness.seed_everything(0)
        dataset: Any = loader.dataset
        examples = [load(dataset, index) for index in range(min(2, len(dataset)))]
        whole = loader.batch_size is None and loader.batch_sampler is None
        collated = loader.collate_fn(examples[0] if whole else examples)
        return [*found, content(collated)]
    except Exception:  # noqa: BLE001 - as in `_examples`
        return found


@contextmanager
def undisturbed(dataset: Any) -> Iterator[None]:
    """Restore the attributes and random generators of a data set and of those inside it.

    This also closes a file that was opened when the first example was loaded: worker processes must
    not inherit it.
    """
    own = [vars(each) for _, each in _nested(dataset) if hasattr(each, "__dict__")]
    before = list(map(dict, own))
    restore = _generators(dataset, _DEPTH, set())
    try:
        yield
    finally:
        for attributes, each in zip(own, before, strict=True):
            attributes.clear()
            attributes.update(each)
        for each in restore:
            each()


def _generators(value: Any, depth: int, seen: set[int]) -> list[Callable[[], Any]]:
    """Return functions that restore the present state of each random generator in a value."""
    if isinstance(value, (torch.Generator, np.random.RandomState)):
        return [partial(value.set_state, value.get_state())]
    if isinstance(value, np.random.Generator):
        return [partial(setattr, value.bit_generator, "state", value.bit_generator.state)]
    if isinstance(value, random.Random):
        return [partial(value.setstate, value.getstate())]
    if depth == 0 or id(value) in seen or isinstance(value, (type, ModuleType, Tensor, nn.Module)):
        return []
    seen.add(id(value))
    if isinstance(value, (list, tuple, dict)):
        inner = list(value.values() if isinstance(value, dict) else value)[:_SEARCHED]
    elif isinstance(value, FunctionType):
        inner = [cell.cell_contents for cell in value.__closure__ or ()]
    else:
        inner = list(getattr(value, "__dict__", {}).values())
    return [found for each in inner for found in _generators(each, depth - 1, seen)]
