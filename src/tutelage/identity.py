"""What settings, models and data declare of themselves, as plain data and as a short hash.

Runs, studies and stores use it to find out whether a folder belongs to a call. Compared is what the
caller declares:

- arguments by value; a `partial` by its function's name and its arguments;
- functions and classes by their names. Their code is not read, nor what they close over;
- other objects by their class and attributes, as pickle would write them;
- tensors and arrays by dtype, shape and content;
- a model by its classes, the arguments of their constructors that it keeps as attributes, and the
  names, shapes and content of its tensors;
- a data set of tensors by its content, another one by its length and at most 256 evenly spaced
  examples, a `DataLoader` by its data set, batch size and sampler, a stream by its class and
  attributes.

The result is the same in every process. Of an absolute path only the last part counts, so that
files may move.

>>> from functools import partial
>>> declared(partial(print, sep=""))
{'of': 'print', 'sep': ''}
>>> identity(partial(print, sep="")) == identity(partial(print, sep=" "))
False
"""

from __future__ import annotations

import copyreg
import enum
import hashlib
import inspect
import json
import math
import os
from collections.abc import Iterator, Mapping
from functools import cache, partial
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from tutelage.data import Indexed, OnPolicy, randomness, show_epoch
from tutelage.data.fingerprint import content
from tutelage.data.sets import as_dataset, is_map_style, load
from tutelage.data.tensor_table import table_of
from tutelage.errors import DataError
from tutelage.signals import IndexedExample

EXAMPLES = 256
"""The most examples of a data set that are read."""

_TWICE = 8
_LEAST, _MOST = 8, 256
_LONG = 64
_INTERNAL = {*vars(nn.Module()), "_compiled_call_impl", "name_or_path", "hf_device_map"}
_SALTED = {"_original_object_hash"}
"""Attributes that differ in every process: `hash` of a text, as of GenerationConfig."""
_ORIGIN = {"_name_or_path", "_commit_hash", "transformers_version", "architectures"}
_ORIGIN |= {"dtype", "torch_dtype"}
"""What configurations of transformers say of a model's files, not of what it computes."""


def identity(value: object) -> str:
    """Return a hash that is equal for equal declarations, in every process."""
    return digest(_json(declared(value)))


def digest(*parts: str) -> str:
    """Return 12 characters that stand for texts."""
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=6).hexdigest()


def declared(value: object, trained: bool = True) -> Any:
    """Return what a value declares, as numbers, texts, lists and dicts that JSON can hold.

    `trained`: whether the content of parameters that are trained counts.
    """
    try:
        return _Reader(trained).read(value)
    except RecursionError:
        return _name(type(value))


def differences(old: Any, new: Any, at: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield where two declarations differ: the path, the old value and the new one.

    >>> list(differences({"lr": 0.1, "betas": [1, 2]}, {"lr": 0.2, "betas": [1, 3]}))
    [('lr', 0.1, 0.2), ('betas.1', 2, 3)]
    """
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        old, new = dict(enumerate(old)), dict(enumerate(new))
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys([*old, *new]):
            path = f"{at}.{key}" if at else str(key)
            yield from differences(old.get(key), new.get(key), path)
    elif old != new:
        yield at, old, new


def model_identity(model: nn.Module, weights: bool = True) -> str:
    """Return a model's class and a hash; without `weights`, of its architecture alone.

    Attributes that are no arguments of a constructor, such as caches and counters, do not matter.
    """
    model = getattr(model, "_orig_mod", model)  # what torch.compile returns is the same model
    parts: list[Any] = [
        (path, _name(type(part)), _arguments(part)) for path, part in model.named_modules()
    ]
    names = ("config", "generation_config")  # as models of transformers have them
    configs = (getattr(each, name, None) for each in model.modules() for name in names)
    own = {id(each): each for each in configs if hasattr(each, "to_dict")}
    parts += [declared(_settings(each)) for each in own.values()]
    state = {key: each for key, each in model.state_dict().items() if isinstance(each, Tensor)}
    parts += sorted((key, str(each.dtype), list(each.shape)) for key, each in state.items())
    parts += [content(state)] if weights else []
    return f"{type(model).__name__} {digest(_json(parts))}"


def declared_data(data: Any) -> Any:
    """Return what data declares: of a `DataLoader` its data set, sizes, sampler and collation.

    Data that cannot be read here is left to training.
    """
    if isinstance(data, DataLoader):
        several = data.batch_sampler
        return {
            "data": declared_data(data.dataset),
            "batch_size": data.batch_size,
            "sampler": _plain(data.sampler),
            "batch_sampler": None if several is None else _plain(several),
            "collate_fn": _plain(data.collate_fn),
        }
    if isinstance(data, OnPolicy):
        texts = None if data.texts is None else declared_data(data.texts)
        return {"prompts": declared_data(data.prompts), "texts": texts} | data.settings
    data = as_dataset("data", data)
    if not is_map_style(data) or isinstance(data, IterableDataset):
        return _plain(data)
    try:
        return dataset_fingerprint(data)
    except DataError as error:
        return f"unreadable: {type(error.__cause__ or error).__name__}"


def dataset_fingerprint(dataset: Any) -> str:
    """Return a hash of a data set's content, the same in every process.

    It includes all of a data set of tensors (see `tensor_table`); of another one its length and
    at most `EXAMPLES` evenly spaced examples, in the first view and each under a seed of its own.
    Where some of these differ when they are loaded again, the length alone. The global random
    states and the data set's attributes are restored. Order and collation of a `DataLoader` do not
    matter.

    Raises:
        DataError: It has no length, is empty, cannot be loaded, or its examples cannot be hashed.
    """
    dataset = _map_style(dataset)
    dataset = dataset.dataset if isinstance(dataset, Indexed) else dataset
    table, length = table_of(dataset), len(dataset)
    if table is not None:
        return content(["tensors", *table.names, *map(content, table.pieces())])
    with randomness.undisturbed(dataset):
        show_epoch(dataset, 0)
        few = min(length, EXAMPLES)
        places = sorted({number * (length - 1) // max(1, few - 1) for number in range(few)})
        found = [_seeded(dataset, place) for place in places]
        twice = range(0, len(places), -(-len(places) // _TWICE))
        if any(_seeded(dataset, places[at]) != found[at] for at in twice):
            found = []
    return content(["examples", length, *found])


def draws_at_random(dataset: Any) -> bool:
    """Tell whether examples differ each time they are loaded, because of random augmentation.

    A few examples are loaded twice, under two seeds. If they are equal although random numbers were
    used, up to 256 are loaded, since an augmentation may be rare. Data sets, errors and random
    states as for `dataset_fingerprint`.
    """
    dataset = _map_style(dataset)
    if table_of(dataset) is not None:
        return False
    length = len(dataset)
    with randomness.preserved():
        for turn in range(_MOST):
            place = (turn * max(1, length // _LEAST) if turn < _LEAST else turn) % length
            randomness.seed_augmentation(2 * turn)
            first = content(load(dataset, place))
            randomness.seed_augmentation(2 * turn + 1)
            before = randomness.capture()
            if first != content(load(dataset, place)):
                return True
            drew = not randomness.equal(before, randomness.capture())
            if turn >= _LEAST - 1 and not drew:
                return False
    return False


def _map_style(dataset: Any) -> Any:
    """Return the data set, also from inside a loader; refuse one that is not map-style."""
    loaded = isinstance(dataset, DataLoader)
    inner: Any = dataset.dataset if loaded else as_dataset("dataset", dataset)
    if not is_map_style(inner) or isinstance(inner, IterableDataset):
        raise DataError(
            "a data set whose examples are identified by index must have __len__ and __getitem__, "
            f"got {type(inner).__name__}; wrap tensors in torch.utils.data.TensorDataset, and load "
            "an iterable data set into one"
        )
    if len(inner) == 0:
        raise DataError("a data set must have at least one example, got an empty one; fill it")
    return inner


def _seeded(dataset: Any, place: int) -> str:
    """Return the hash of an example, loaded under a seed of its own."""
    randomness.seed_augmentation(place)
    example = load(dataset, place)
    if isinstance(example, IndexedExample):
        raise DataError(
            "`Indexed` must be the outermost wrapper, since it gives the positions, got one inside "
            "another; write Indexed(Subset(dataset, indices))"
        )
    return content(example)


class _Reader:
    """Reads a value and all that it consists of."""

    def __init__(self, trained: bool) -> None:
        self.trained = trained
        self._open: set[int] = set()

    def read(self, value: Any) -> Any:  # noqa: C901, PLR0911 - a case for each kind
        """Return the declaration of a value."""
        if isinstance(value, np.generic) and not isinstance(value, np.void):
            value = value.item()
        if isinstance(value, enum.Enum):
            return str(value)
        if value is None or isinstance(value, (bool, int)):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else str(value)
        if isinstance(value, (str, os.PathLike)):
            text = os.fspath(value)
            return os.path.basename(text) if os.path.isabs(text) else text  # noqa: PTH117, PTH119
        if isinstance(value, (bytes, complex, torch.dtype, torch.device, slice, range)):
            return content(value) if isinstance(value, bytes) else str(value)
        if isinstance(value, (type, FunctionType, BuiltinFunctionType, ModuleType)):
            return _name(value)
        if isinstance(value, (Tensor, np.ndarray)):
            return self._array(value)
        if id(value) in self._open:
            return "itself"
        self._open.add(id(value))
        try:
            found = self._parts(value)
        finally:
            self._open.discard(id(value))
        if isinstance(found, (list, dict)) and len(found) > _LONG:
            return f"{type(value).__name__} of {len(found)}: {digest(_json(found))}"
        return found

    def _array(self, value: Tensor | np.ndarray[Any, Any]) -> Any:
        kind = f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
        if not self.trained and isinstance(value, nn.Parameter) and value.requires_grad:
            return kind
        if isinstance(value, np.ndarray) and value.dtype.hasobject:
            return f"{kind} {digest(_json(self.read(value.tolist())))}"
        return f"{kind} {content(value)}"

    def _parts(self, value: Any) -> Any:  # noqa: C901, PLR0911 - as above
        if isinstance(value, partial):
            own = {"args": self.read(value.args)} if value.args else {}
            own |= {key: self.read(each) for key, each in value.keywords.items()}
            return {"of": self.read(value.func)} | own
        if isinstance(value, MethodType):
            return {"of": value.__qualname__, "self": self.read(value.__self__)}
        if isinstance(value, Mapping):
            return {_key(key): self.read(each) for key, each in value.items()}
        if isinstance(value, (tuple, list)):
            return [self.read(each) for each in value]
        if isinstance(value, (set, frozenset)):
            return sorted((self.read(each) for each in value), key=_json)
        if hasattr(value, "_name_or_path") and hasattr(value, "to_dict"):
            return {"of": _name(type(value)), **self.read(_settings(value))}
        if isinstance(value, torch.Generator):
            return f"generator {value.initial_seed()}"
        if isinstance(value, (Dataset, DataLoader)):
            return declared_data(value)
        if isinstance(value, nn.Module):
            return self._module(value)
        if hasattr(value, "__wrapped__"):  # such as functools.lru_cache
            return self.read(value.__wrapped__)
        return self._object(value)

    def _module(self, module: nn.Module) -> Any:
        """Return a module's attributes, tensors and children by name."""
        module = getattr(module, "_orig_mod", module)
        own = {key: each for key, each in vars(module).items() if key not in _INTERNAL}
        own |= dict(module.named_parameters(recurse=False))
        own |= dict(module.named_buffers(recurse=False)) | dict(module.named_children())
        return {"of": _name(type(module))} | {key: self.read(each) for key, each in own.items()}

    def _object(self, value: Any) -> Any:
        """Return an object's class with what pickle would write of it, read here."""
        named = {"of": _name(type(value))}
        try:
            reduce = copyreg.dispatch_table.get(type(value))
            reduced: Any = value.__reduce_ex__(4) if reduce is None else reduce(value)
        except Exception:  # noqa: BLE001 - other people's objects may raise anything
            reduced = (None, (), getattr(value, "__dict__", None))
        if isinstance(reduced, str):
            return named | {"name": reduced}
        parts: list[Any] = [*reduced, None, None, None]
        function, arguments, state, *items = parts[:5]
        if function is getattr(copyreg, "__newobj__", None):
            arguments = arguments[1:]
        if isinstance(state, Mapping):
            state = {key: each for key, each in state.items() if key not in _SALTED}
            named |= {_key(key): self.read(each) for key, each in state.items()}
        elif state is not None:
            named["state"] = self.read(state)
        held = [list(each) for each in items if each is not None]
        return named | {
            key: self.read(each) for key, each in (("args", arguments), ("items", held)) if each
        }


def _settings(config: Any) -> Any:
    """Return what decides a model in a configuration of transformers, or in a part of one."""
    found = config.to_dict() if hasattr(config, "to_dict") else config
    if not isinstance(found, Mapping):
        return found
    return {
        key: _settings(found[key]) for key in sorted(found, key=str) if key not in _ORIGIN | _SALTED
    }


@cache
def _parameters(kind: type) -> tuple[str, ...]:
    try:
        return tuple(inspect.signature(kind).parameters)
    except (TypeError, ValueError):
        return ()


def _arguments(part: nn.Module) -> dict[str, Any]:
    """Return the arguments of a module's constructor, as far as it keeps them as attributes."""
    own, found = vars(part), {}
    for name in _parameters(type(part)):
        value = own.get(name, own.get(f"_{name}"))
        value = part._buffers.get(name, value)  # noqa: SLF001 - PyTorch tells it nowhere else
        if value is not None and not hasattr(value, "to_dict"):  # configurations are read once
            found[name] = declared(value)
    for inner in own.get("_wrapped", ()):  # of a wrapper that has the layers of another model
        found["wrapped"] = [_name(type(inner)), _arguments(inner)]
    return found


def _plain(value: Any) -> Any:
    """Return what a function declares; of an object its class, and attributes that are plain."""
    if isinstance(value, (type, FunctionType, MethodType, partial)):
        return declared(value)
    plain = {key: each for key, each in getattr(value, "__dict__", {}).items() if _is_plain(each)}
    plain.pop("epoch", None)  # of samplers, which training sets
    return {"of": _name(type(value))} | {key: declared(each) for key, each in plain.items()}


def _is_plain(value: object) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(map(_is_plain, value.values()))
    plain = (str, bytes, bool, int, float, os.PathLike, np.generic, np.ndarray, Tensor)
    return value is None or isinstance(value, plain)


def _name(value: Any) -> str:
    """Return the name of a function, a class or a module; without the module of a script."""
    if isinstance(value, ModuleType):
        return value.__name__
    module = getattr(value, "__module__", None)
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", type(value).__name__)
    return name if module in (None, "__main__", "builtins") else f"{module}.{name}"


def _key(key: object) -> str:
    return key if isinstance(key, str) else repr(key)


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
