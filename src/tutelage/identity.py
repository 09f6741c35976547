"""The identity of a setting, a model or a function as a short text: equal for equal objects.

Runs, studies and stores use it to find out whether a folder belongs to a call. It covers the
attributes of objects, the content of tensors and arrays, parameters and buffers of modules, and
the code of the user's own functions and classes with what they close over and the globals that they
name; functions and classes of installed packages go by their names. The text is the same in every
process, wherever things lie in memory.

>>> from functools import partial
>>> identity(partial(print, sep="")) == identity(partial(print, sep=""))
True
>>> identity(partial(print, sep="")) == identity(partial(print, sep=" "))
False
"""

from __future__ import annotations

import copyreg
import dis
import hashlib
import sys
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from functools import cache, cached_property, partial
from itertools import chain, pairwise
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from tutelage.data.fingerprint import fingerprint

Tensors = Literal["all", "fixed", "none", "in use"]
"""Whose content is read: of all tensors, of all but parameters that are trained, of none.

"in use" is for modules that have been called and are not trained: the content of all tensors,
whether they are frozen or not, without attributes of modules that look like caches.
"""

_PLAIN = (type(None), str, bytes, int, float, complex)
_INTERNAL = {*vars(nn.Module()), "_compiled_call_impl", "name_or_path", "hf_device_map"}
"""Attributes of modules: parts, which are read separately, hooks, mode; a folder, devices."""
_STATE = 2
"""Where `__reduce_ex__` has an object's attributes."""
_SALTED = {"_original_object_hash"}
"""Attributes that differ in every process: `hash` of a text, as of GenerationConfig."""
_ADDS = {"append", "extend", "insert", "add", "update", "setdefault"}
"""Methods of lists, sets and dicts that a call changes them by."""
_ORIGIN = {"_name_or_path", "_commit_hash", "transformers_version", "architectures"}
_ORIGIN |= {"dtype", "torch_dtype"}
"""What configurations of transformers say of a model's files, not of what it computes."""


def identity(
    value: object,
    *,
    tensors: Tensors = "all",
    known: Mapping[int, str] | None = None,
    unread: list[str] | None = None,
    visit: Callable[[object], object] | None = None,
) -> str:
    """Return a text that is the same in another process, and another for another value.

    Args:
        value: Anything.
        tensors: Whose content is read.
        known: By `id`, the texts of objects that need not be read.
        unread: Receives the types of the objects that could not be read.
        visit: Called with every object that is read, but for plain numbers and texts.
    """
    unread = [] if unread is None else unread
    try:
        return _Reader(tensors, known or {}, unread, visit).read(value)
    except RecursionError:
        unread.append(f"{type(value).__qualname__} (nested too deeply)")
        return type(value).__qualname__


def digest(*parts: str) -> str:
    """Return 12 characters that stand for texts."""
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=6).hexdigest()


def names_of(code: CodeType) -> set[str]:
    """Return the names of globals and attributes in a function's code and in functions inside."""
    return {name for each in _codes(code) for name in each.co_names}


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from _codes(each)


class _Reader:
    """Reads an object and all that it consists of, each object once."""

    def __init__(
        self,
        tensors: Tensors,
        known: Mapping[int, str],
        unread: list[str],
        visit: Callable[[object], object] | None,
    ) -> None:
        self.tensors, self.known, self.unread, self.visit = tensors, known, unread, visit
        self._done: dict[int, tuple[object, str]] = {}  # holds the objects: ids stay theirs
        self._open: set[int] = set()

    def read(self, value: object) -> str:
        """Return the text of an object."""
        if isinstance(value, _PLAIN):
            return repr(value)
        key = id(value)
        if key in self.known:
            return self.known[key]
        if key in self._open:
            return "itself"
        if key not in self._done:
            if self.visit is not None:
                self.visit(value)
            self._open.add(key)
            try:
                text = self._text(value)
            finally:
                self._open.discard(key)
            self._done[key] = value, hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        return self._done[key][1]

    def _text(self, value: object) -> str:  # noqa: PLR0911 - a case for each kind
        if isinstance(value, (Tensor, np.ndarray)):
            return self._array(value)
        if isinstance(value, nn.Module):
            return self._module(value)
        if isinstance(value, FunctionType):
            return self._function(value)
        if isinstance(value, type):
            return self._class(value)
        if isinstance(value, ModuleType):
            return value.__name__
        if hasattr(value, "_name_or_path") and hasattr(value, "to_dict"):
            return f"{type(value).__qualname__} {self.read(_settings(value))}"
        if isinstance(value, torch.Generator):
            return f"generator {value.initial_seed()}"
        if isinstance(value, (set, frozenset)):
            return f"set {sorted(map(self.read, value))}"
        parts = _parts(value)
        return f"{type(value).__qualname__} " + (
            self._reduced(value) if parts is None else str([self.read(each) for each in parts])
        )

    def _array(self, value: Tensor | np.ndarray[Any, Any]) -> str:
        shape = f"{value.dtype} {list(value.shape)}"
        if isinstance(value, nn.Parameter):
            if self.tensors != "in use":
                shape += f" {value.requires_grad}"
            if self.tensors == "none" or (self.tensors == "fixed" and value.requires_grad):
                return shape
        elif self.tensors == "none":
            return "tensor"  # of a passing size, as caches are
        if isinstance(value, np.ndarray):
            if value.dtype.hasobject:
                return f"{shape} {self.read(value.tolist())}"
            value = torch.from_numpy(np.ascontiguousarray(value).reshape(-1).view(np.uint8).copy())
        return f"{shape} {fingerprint({'': value})}"

    def _module(self, module: nn.Module) -> str:
        compiled = getattr(module, "_orig_mod", None)
        if isinstance(compiled, nn.Module):  # what torch.compile returns is the same model
            return self._module(compiled)
        named = [*module.named_parameters(recurse=False), *module.named_children()]
        buffers = dict(module.named_buffers(recurse=False))
        own = {
            name: each
            for name, each in vars(module).items()
            if name not in _INTERNAL
            and not (self.tensors == "in use" and _may_change(module, name, each))
        }
        if self.tensors == "none":  # as parameters, buffers are what changes in training
            buffers = {name: list(each.shape) for name, each in buffers.items()}
        if self.tensors == "in use" and any("cache" in name for name in vars(module)):
            for name in module._non_persistent_buffers_set:  # noqa: SLF001 - PyTorch tells it nowhere else
                buffers.pop(name, None)  # as frequencies of rotary positions, which may grow
        parts = [type(module), *chain.from_iterable([*named, *buffers.items()]), own]
        return f"module {[self.read(each) for each in parts]}"

    def _function(self, function: FunctionType) -> str:
        name = function.__qualname__
        cells = [_content(cell) for cell in function.__closure__ or ()]
        if not _of_user(function.__module__):
            return f"{function.__module__}.{name} {[self.read(each) for each in cells]}"
        held = [function.__defaults__, function.__kwdefaults__, *cells, *_globals(function)]
        return f"{name} {self._code(function.__code__)} {[self.read(each) for each in held]}"

    def _code(self, code: CodeType) -> str:
        inner = [
            self._code(each) if isinstance(each, CodeType) else self.read(each)
            for each in code.co_consts
        ]
        return f"{code.co_code.hex()} {inner} {code.co_names}"

    def _class(self, kind: type) -> str:
        if not _of_user(kind.__module__):
            return f"{kind.__module__}.{kind.__qualname__}"
        functions = (FunctionType, classmethod, staticmethod)
        own = {
            name: each
            for name, each in sorted(vars(kind).items())
            if isinstance(each, functions) or not name.startswith(("__", "_abc_"))
        }
        return f"{kind.__qualname__} {[self.read(each) for each in (own, *kind.__bases__)]}"

    def _reduced(self, value: object) -> str:
        """Return what pickle would write of an object, whose parts are read here."""
        try:
            reduce = copyreg.dispatch_table.get(type(value))
            reduced = value.__reduce_ex__(4) if reduce is None else reduce(value)
        except Exception:  # noqa: BLE001 - other people's objects may raise anything
            if not hasattr(value, "__dict__"):
                self.unread.append(type(value).__qualname__)
                return ""
            reduced = (type(value), vars(value))
        if isinstance(reduced, str):
            return f"{type(value).__module__} {reduced}"
        parts: list[Any] = [list(each) if isinstance(each, Iterator) else each for each in reduced]
        if len(parts) > _STATE and isinstance(parts[_STATE], dict):
            parts[_STATE] = {k: v for k, v in parts[_STATE].items() if k not in _SALTED}
        return str([self.read(each) for each in parts])


def _settings(config: Any) -> Any:
    """Return what decides a model in a configuration of transformers, or in a part of one."""
    found = config.to_dict() if hasattr(config, "to_dict") else config
    if not isinstance(found, Mapping):
        return found
    return {key: _settings(found[key]) for key in sorted(found, key=str) if key not in _ORIGIN}


def _parts(value: object) -> list[Any] | None:  # noqa: PLR0911 - a case for each kind
    """Return what a value of a known kind consists of; None for other kinds."""
    if isinstance(value, Mapping):
        return list(chain.from_iterable(value.items()))
    if isinstance(value, (tuple, list)):
        return list(value)
    if isinstance(value, partial):
        return [value.func, value.args, value.keywords]
    if isinstance(value, MethodType):
        return [value.__func__, value.__self__]
    if isinstance(value, property):
        return [value.fget, value.fset]
    if isinstance(value, cached_property):
        return [value.func]
    if isinstance(value, weakref.ref):
        return [value()]
    if hasattr(value, "__wrapped__"):  # such as functools.lru_cache, classmethod, staticmethod
        return [value.__wrapped__]  # pyright: ignore[reportAttributeAccessIssue]
    return None


def _may_change(module: nn.Module, name: str, value: object) -> bool:
    """Tell whether a module's attribute looks like what it keeps from one call to the next.

    That is a name with "cache"; one that begins with an underscore, unless it holds a plain value
    in a class of the user's own; and one that `forward` of such a class assigns, as a counter, or
    adds to, as a list of what it was given.
    Modules of this package keep nothing.
    """
    kind = type(module)
    plain = value is not None and isinstance(value, _PLAIN) and _of_user(kind.__module__)
    assigned, added_to = _changed_by(kind)
    kept = "cache" in name or (name.startswith("_") and not plain) or name in assigned
    kept |= name in added_to and isinstance(value, (list, set, dict, deque))
    return kept and not kind.__module__.startswith("tutelage.")


@cache
def _changed_by(kind: type[nn.Module]) -> tuple[set[str], set[str]]:
    """Return the attributes that `forward`, or what it calls of its class, assigns and adds to."""
    assigned, added_to = set[str](), set[str]()
    seen, left = set[str](), {"forward"}
    while left - seen:
        name = (left - seen).pop()
        seen.add(name)
        for method in (vars(each).get(name) for each in kind.__mro__):
            if isinstance(method, FunctionType) and _of_user(method.__module__):
                left |= names_of(method.__code__)
                for code in _codes(method.__code__):
                    several = list(dis.get_instructions(code))
                    assigned |= {each.argval for each in several if each.opname == "STORE_ATTR"}
                    added_to |= {
                        one.argval
                        for one, other in pairwise(several)
                        if one.opname == "LOAD_ATTR" and other.argval in _ADDS
                    }
    return assigned, added_to


def _globals(function: FunctionType) -> list[Any]:
    """Return the globals that a function reads; of the user's modules, what is named of them."""
    found, named = [], names_of(function.__code__)
    read = {
        each.argval
        for code in _codes(function.__code__)
        for each in dis.get_instructions(code)
        if each.opname in ("LOAD_GLOBAL", "LOAD_NAME")
    }
    for name in sorted(read & function.__globals__.keys()):
        value = function.__globals__[name]
        if not isinstance(value, ModuleType):
            found += [name, value]
        elif _of_user(value.__name__):
            attributes = sorted(named & vars(value).keys())
            found += [name, *(vars(value)[each] for each in attributes)]
    return found


def _content(cell: Any) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


@cache
def _of_user(module: str | None) -> bool:
    """Tell whether a module is the user's own: neither installed, nor Python's, nor ours."""
    top = (module or "").partition(".")[0]
    if top in sys.stdlib_module_names or top == "tutelage":
        return False
    file = getattr(sys.modules.get(top), "__file__", None) or ""
    return not {"site-packages", "dist-packages"} & set(Path(file).parts)
