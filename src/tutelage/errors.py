"""What can go wrong, as one tree.

```
TutelageError
├── ArgumentError     an argument is outside its range (also a ValueError)
├── DataError         a data set, a batch or its labels cannot be used
├── ModelError        a teacher or student cannot be used, or the two do not fit each other
├── NonFiniteError    a NaN or an infinity where a number is due
├── RunFolderError    the folder `out` cannot be written, or holds something else
└── StoreError        a teacher's targets on disk cannot be written, read or used
```

Every message says what was expected, what came, and what to do.
"""

import sys


class TutelageError(Exception):
    """Base of every error that tutelage raises on purpose."""


class ArgumentError(TutelageError, ValueError):
    """An argument is outside its range."""


class DataError(TutelageError):
    """A data set, a batch or its labels cannot be used."""


class ModelError(TutelageError):
    """A teacher or a student cannot be used, or the two do not fit each other."""


class NonFiniteError(TutelageError):
    """A NaN or an infinity where a number is due."""


class RunFolderError(TutelageError):
    """The folder `out` cannot be written, or holds something else."""


class StoreError(TutelageError):
    """A teacher's targets on disk cannot be written, read or used."""


_LONGEST = 200


def in_short(error: BaseException) -> str:
    """Return an error's kind and first line, at most 200 characters of it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:_LONGEST] if lines else 'no message'}"


def is_of_compiler(error: BaseException) -> bool:
    """Tell whether `torch.compile` could make no program of a graph, as without a C++ compiler."""
    known = sys.modules.get("torch._dynamo.exc")  # loaded wherever anything was compiled
    return known is not None and isinstance(error, known.BackendCompilerFailed)
