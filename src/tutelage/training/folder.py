"""The folder of a run: whose it is, and what lies where.

```
out/
├── run.json                  what makes this run this run (a different one is refused), versions
├── metrics.jsonl             the log
├── last.pt                   everything needed to go on
├── best-EPOCH.safetensors    the student of the best epoch, if there is validation
└── student.safetensors       the student, once the run is finished
```
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

from tutelage.errors import RunFolderError
from tutelage.training.files import write_json

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None

_OURS = ("last.pt", "metrics.jsonl", "student.safetensors")


class RunFolder:
    """A folder that belongs to one run.

    Args:
        path: Where; made if it is not there.
        identity: What must be equal for a run to be the same run, as JSON can hold it.

    Raises:
        RunFolderError: The folder cannot be written, or holds another run.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        self.path = path
        self.run, self.log = path / "run.json", path / "metrics.jsonl"
        self.last, self.student = path / "last.pt", path / "student.safetensors"
        self._identity = json.loads(json.dumps(identity, default=str))

    def claim(self) -> None:
        """Make the folder ours, or find that it is already.

        Raises:
            RunFolderError: It cannot be written, or holds another run.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if self.run.exists():
                self._compare(json.loads(self.run.read_text(encoding="utf-8"))["run"])
            else:
                self._refuse_strangers()
                write_json(self.run, {"run": self._identity, "made_with": versions()})
        except OSError as error:
            raise self._unwritable(error) from error
        except (ValueError, KeyError) as error:
            raise RunFolderError(
                f"{self.run} must say which run it is, got a damaged file ({error}); choose "
                "another folder, or remove that one"
            ) from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep a second process from writing the same run at the same time.

        The lock is this process's alone: a data loader's workers do not inherit it, and it ends
        with the process even if that is killed. Where the system has no such locks, there is none.

        Raises:
            RunFolderError: Another process has it, or the folder cannot be written.
        """
        try:
            file = (self.path / ".lock").open("w")
        except OSError as error:
            raise self._unwritable(error) from error
        with file:
            if fcntl is not None:
                self._lock(file, fcntl)
            yield

    def _lock(self, file: IO[str], locks: Any) -> None:
        try:
            locks.lockf(file, locks.LOCK_EX | locks.LOCK_NB)
        except OSError as error:
            raise RunFolderError(
                f"`out` must not be in use, got {self.path}, which another process is writing now; "
                "wait for it, or choose another folder"
            ) from error

    def _unwritable(self, error: OSError) -> RunFolderError:
        return RunFolderError(
            f"`out` must be a folder that can be written, got {self.path} with {error}; choose "
            "another, or mend its permissions"
        )

    def best(self, epoch: int) -> Path:
        """Return the file of the best student, of this epoch."""
        return self.path / f"best-{epoch}.safetensors"

    def keep_only(self, best: Path | None) -> None:
        """Remove the students of epochs that are no longer the best."""
        for file in self.path.glob("best-*.safetensors"):
            if file != best:
                file.unlink()

    def _compare(self, found: dict[str, Any]) -> None:
        keys = sorted(found.keys() | self._identity.keys())
        different = [key for key in keys if found.get(key) != self._identity.get(key)]
        if different:
            lines = [
                f"  {key}: {found.get(key)!r} there, {self._identity.get(key)!r} now"
                for key in different
            ]
            raise RunFolderError(
                f"`out` must be empty or hold this very run, got {self.path} with a run that "
                "differs in\n" + "\n".join(lines) + "\nchoose another folder, or remove that one"
            )

    def _refuse_strangers(self) -> None:
        found = [name for name in _OURS if (self.path / name).exists()]
        if found:
            raise RunFolderError(
                f"`out` must be empty or hold a run, got {self.path} with {found[0]} but without "
                "run.json; choose another folder"
            )


def versions() -> dict[str, str]:
    """Return the versions that a run was begun with, for whoever wants to repeat it."""
    packages = ("tutelage", "torch", "accelerate", "numpy")
    return {"python": platform.python_version()} | {name: version(name) for name in packages}
