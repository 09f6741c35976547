"""Load Python objects by reference: `package.module:name` or `file.py:name`."""

from __future__ import annotations

import functools
import inspect
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

from tutelage.errors import ArgumentError, did_you_mean

_FORMS = "`package.module:name` or `folder/file.py:name`"


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

    Modules are searched first in the working folder, and the imports of a file first in the file's
    folder, as with `python file.py`. Errors raised by the module are not caught.

    `argument` is its name, for messages; the name in the reference may be dotted.

    >>> find("average", "math:fsum")([1, 2])
    3.0
    """
    source, _, name = reference.rpartition(":")
    is_file = source.endswith(".py")
    if not _is_path(name) or not (is_file or _is_path(source)):
        raise ArgumentError(f"`{argument}` must be {_FORMS}, got {reference!r}; correct it")
    module = _of_file(argument, Path(source)) if is_file else _of_name(argument, source)
    found: object = module
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


def _is_path(dotted: str) -> bool:
    return all(part.isidentifier() for part in dotted.split("."))


def _of_name(argument: str, name: str) -> ModuleType:
    _look_first_in(Path.cwd())
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # the module exists, but one that it imports does not
        raise ArgumentError(
            f"`{argument}` must name a module that can be imported, got {name!r} and no module "
            f"{error.name!r}; run in the folder that holds it, install it, or give its file: "
            "folder/file.py:name"
        ) from error


def _of_file(argument: str, path: Path) -> ModuleType:
    """Import a file under its own name, so that other processes can import it too."""
    path = path.expanduser().resolve()
    if not path.is_file():
        raise ArgumentError(
            f"`{argument}` must name an existing file, got {path}; correct the path"
        )
    if "." in path.stem:
        raise ArgumentError(
            f"`{argument}` must name a file that can be imported, got {path.name} with a dot in "
            "its name; rename it"
        )
    _look_first_in(path.parent)
    module = import_module(path.stem)
    found = getattr(module, "__file__", None)
    if found is None or Path(found).resolve() != path:
        raise ArgumentError(
            f"`{argument}` must name a file whose name no other module has, got {path}, which is "
            f"hidden by {found or 'a built-in module'}; rename it"
        )
    return module


def _look_first_in(folder: Path) -> None:
    """Put a folder first in the module search path, also for later imports."""
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
