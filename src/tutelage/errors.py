"""The exceptions of tutelage.

```
TutelageError
├── ArgumentError     an argument is outside its range (also a ValueError)
│   └── NotFoundError     a reference names a file, a folder or a module that does not exist
├── DataError         a data set, a batch or its labels cannot be used
├── ModelError        a teacher or student cannot be used, or the two do not fit each other
├── NonFiniteError    a value is NaN or infinite
├── RecipeError       a recipe has an unknown key or a wrong value (also a ValueError)
├── RunFolderError    the folder `out` cannot be written, or contains something else
└── StoreError        a teacher's targets on disk cannot be written, read or used
```

Every message says what was expected, what was found, and what to do.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class TutelageError(Exception):
    """Base of every error that tutelage raises on purpose."""


class ArgumentError(TutelageError, ValueError):
    """An argument is outside its range."""


class NotFoundError(ArgumentError):
    """A reference names a file, a folder or a module that does not exist."""


class DataError(TutelageError):
    """A data set, a batch or its labels cannot be used."""


class ModelError(TutelageError):
    """A teacher or a student cannot be used, or the two do not fit each other."""


class NonFiniteError(TutelageError):
    """A value is NaN or infinite."""


class RecipeError(TutelageError, ValueError):
    """A recipe has an unknown key or a wrong value."""


class RunFolderError(TutelageError):
    """The folder `out` cannot be written, or contains something else."""


class StoreError(TutelageError):
    """A teacher's targets on disk cannot be written, read or used."""


_LONGEST = 200


def in_short(error: BaseException) -> str:
    """Return an error's type and first line, at most 200 characters of it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:_LONGEST] if lines else 'no message'}"


def some_of(names: Iterable[str], most: int = 5) -> str:
    """Return names for a message: the first, and how many more there are."""
    listed = list(names)
    more = len(listed) - most
    return ", ".join(listed[:most]) + (f" and {more:,} more" if more > 0 else "")


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return a question with the names nearest to one, in any case; empty if there are none."""
    lower = {each.lower(): each for each in names}
    close = get_close_matches(name.lower(), lower, cutoff=0.5)
    return f"did you mean {' or '.join(repr(lower[each]) for each in close)}?" if close else ""


def nearest(name: str, names: Iterable[str]) -> str:
    """Return advice for a name that does not exist: the nearest ones, or all."""
    known = list(names)
    return did_you_mean(name, known) or f"it has {some_of(map(repr, known), 20) or 'none'}"
