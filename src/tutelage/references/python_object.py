"""Load Python objects by reference: `package.module:name` or `file.py:name`.

A file is imported as a module below this one, named after its path, so that two files may have one
name, none hides an installed package, and other processes find what was pickled.
"""

from __future__ import annotations

import functools
import inspect
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

from tutelage.errors import ArgumentError, NotFoundError, did_you_mean
from tutelage.references.reference import KINDS

_FORMS = "`package.module:name` or `folder/file.py:name`"
__path__: list[str] = []  # so that modules may lie below this one, which `_Files` finds


def load(argument: str, reference: str) -> object:
    """Return the object of a reference; a function or a class is called, and its result returned.

    Arguments and search are those of `find`.

    >>> load("data", "math:pi")
    3.141592653589793
    """
    found = find(argument, reference)
    # Other callables than functions and classes, such as torch modules, are the object itself.
    if not (inspect.isroutine(found) or isinstance(found, (type, functools.partial))):
        return found
    try:
        inspect.signature(found).bind()
    except TypeError as error:
        raise ArgumentError(
            f"`{argument}` must name an object, or a function without arguments that returns it, "
            f"got {reference!r}, which requires arguments ({error}); wrap it in a function"
        ) from error
    return found()


def find(argument: str, reference: str) -> object:
    """Return the object of a reference as it is; a function is not called.

    Modules by name are also searched in the working folder, and the imports of a file in the file's
    folder, but behind all installed packages: a `sklearn.py` that lies there is not imported in
    place of scikit-learn. Errors raised by the module are not caught.

    `argument` is its name, for messages; the name in the reference may be dotted.

    >>> find("average", "math:fsum")([1, 2])
    3.0
    """
    source, _, name = reference.replace("\0", "?").rpartition(":")
    is_file = source.endswith(".py")
    # A module that is called as a kind of models would be code that `code_in` does not see.
    is_module = _is_dotted(source) and source not in KINDS
    if not _is_dotted(name) or not (is_file or is_module):
        raise ArgumentError(f"`{argument}` must be {_FORMS}, got {reference!r}; correct it")
    found: object = _of_file(argument, Path(source)) if is_file else _of_name(argument, source)
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            hint = did_you_mean(part, dir(found)) or "correct the name"
            raise ArgumentError(
                f"`{argument}` must name an existing object, got {reference!r}, which has no "
                f"{part!r}; {hint}"
            ) from error
    return found


def _is_dotted(name: str) -> bool:
    return all(part.isidentifier() for part in name.split("."))


def _of_name(argument: str, name: str) -> ModuleType:
    folder = os.getcwd()  # noqa: PTH109 - as it is in sys.path
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # the module exists, but one that it imports does not
        meant = did_you_mean(name, KINDS)  # of references to models
        raise NotFoundError(
            f"`{argument}` must name a module that can be imported, got {name!r} and no module "
            f"{error.name!r}; run in the folder that holds it, install it, or give its file: "
            f"folder/file.py:name{meant and f' ({meant})'}"
        ) from error


def _of_file(argument: str, path: Path) -> ModuleType:
    path = path.expanduser().resolve()
    if not path.is_file():
        raise NotFoundError(
            f"`{argument}` must name an existing file, got {path}; correct the path"
        )
    for module in list(sys.modules.values()):
        if getattr(module, "__file__", None) == str(path):
            return module
    here = Path.cwd().resolve()
    # By the path from the working folder, so that a project that is moved keeps its names.
    within = path.relative_to(here) if path.is_relative_to(here) else path
    names = [f"{__name__}.{_escaped(str(each.with_suffix('')))}" for each in (within, path)]
    return import_module(names[names[0] in sys.modules])  # if it is, of another working folder


def _escaped(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]", lambda found: f"_{ord(found[0]):x}_", text)


def _unescaped(name: str) -> str:
    return re.sub(r"_([0-9a-f]+)_", lambda found: chr(int(found[1], 16)), name)


class _Files:
    """Finds the modules below this one, also in another process that unpickles an object."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None, target: object = None
    ) -> ModuleSpec | None:
        """Return how a file is imported; None for all other modules."""
        del path, target
        parent, _, file = name.rpartition(".")
        if parent != __name__:
            return None
        location = str(Path(f"{_unescaped(file)}.py").resolve())
        return spec_from_file_location(name, location, loader=_FileLoader(name, location))


class _FileLoader(SourceFileLoader):
    """Runs a file, whose imports find other files of its folder."""

    def exec_module(self, module: ModuleType) -> None:
        """Run the file."""
        with _importing_from(str(Path(self.path).parent)):
            super().exec_module(module)


_beside: dict[str, dict[str, ModuleType]] = {}
"""By folder of a file that was loaded, the modules of that folder that it imported."""
_appended: list[str] = []


@contextmanager
def _importing_from(folder: str) -> Iterator[None]:
    """Let imports find the files of a folder, behind all packages.

    The folder remains in the search path, at its end, for what is imported later or in another
    process. What another folder's file has imported is not taken for a file of the same name.
    """
    own = _beside.setdefault(folder, {})
    others = {
        name: module
        for path, modules in _beside.items()
        for name, module in modules.items()
        if path != folder and sys.modules.get(name) is module
    }
    for name in others:
        del sys.modules[name]
    sys.modules.update(own)
    before = set(sys.modules)
    sys.path[:] = [each for each in sys.path if each not in _appended]
    if folder not in sys.path:
        sys.path.append(folder)
        _appended[:] = [*dict.fromkeys([*_appended, folder])]
    try:
        yield
    finally:
        entries = {each.stem for each in Path(folder).iterdir()}
        for name in sys.modules.keys() - before:
            file = str(getattr(sys.modules[name], "__file__", None) or "")
            if name.partition(".")[0] in entries and file.startswith(folder + os.sep):
                own[name] = sys.modules[name]
        sys.path.extend(each for each in _appended if each not in sys.path)
        sys.modules.update(others)


sys.meta_path.append(_Files)
