"""The folder of a run: which run it belongs to, and its files.

```
out/
├── run.json                  what makes this run this run (a different one is refused), versions
├── metrics.jsonl             the log
├── last.pt                   the last checkpoint: everything needed to resume
├── best-EPOCH.safetensors    the student of the best epoch, if there is validation
└── student.safetensors       the student, once the run is finished
```
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tutelage.errors import RunFolderError
from tutelage.files import owned, remove_drafts, write_json, writing

_OURS = ("last.pt", "metrics.jsonl", "student.safetensors")


class RunFolder:
    """A folder that belongs to one run.

    Args:
        path: Where; made if it is not there.
        identity: What must be equal for a run to be the same run, as JSON can hold it.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        self.path = path
        self.run, self.log = path / "run.json", path / "metrics.jsonl"
        self.last, self.student = path / "last.pt", path / "student.safetensors"
        self._identity = json.loads(json.dumps(identity, default=str))

    @contextmanager
    def claimed(self, why_not_longer: Callable[[], str]) -> Iterator[None]:
        """Make the folder ours, or find that it is already; no other process writes it meanwhile.

        Args:
            why_not_longer: Returns why the run may not continue to more epochs than it began with;
                an empty text if it may.

        Raises:
            RunFolderError: It cannot be written, holds another run, or is in use.
        """
        with owned(self.path, RunFolderError):
            with writing(self.path, RunFolderError):
                self._claim(why_not_longer)
            yield

    def best(self, epoch: int) -> Path:
        """Return the file of the best student, of this epoch."""
        return self.path / f"best-{epoch}.safetensors"

    def keep_only(self, best: Path | None) -> None:
        """Remove the students of epochs that are no longer the best."""
        for file in self.path.glob("best-*.safetensors"):
            if file != best:
                file.unlink()

    def _claim(self, why_not_longer: Callable[[], str]) -> None:
        remove_drafts(self.path)
        if not self.run.exists():
            self._refuse_strangers()
            write_json(self.run, {"run": self._identity, "made_with": versions()})
            return
        try:
            content = json.loads(self.run.read_text(encoding="utf-8"))
            found = dict(content["run"])
        except (ValueError, KeyError, TypeError) as error:
            raise RunFolderError(
                f"{self.run} must identify the run, got a damaged file ({error}); choose "
                "another folder, or remove that one"
            ) from error
        keys = sorted(found.keys() | self._identity.keys())
        different = [key for key in keys if found.get(key) != self._identity.get(key)]
        of_length = {"epochs", "scheduler", "scheduler_content"}
        longer = (
            "epochs" in different
            and found["epochs"] < self._identity["epochs"]
            and of_length.issuperset(different)
        )
        obstacle = why_not_longer() if longer else ""
        if different and (obstacle or not longer):
            raise self._other_run(found, different, obstacle)
        if longer:
            self.student.unlink(missing_ok=True)  # of the shorter run
            write_json(self.run, content | {"run": found | {"epochs": self._identity["epochs"]}})

    def _other_run(
        self, found: Mapping[str, Any], different: list[str], obstacle: str
    ) -> RunFolderError:
        lines = [
            f"  {key}: {found.get(key)!r} there, {self._identity.get(key)!r} now"
            for key in different
        ]
        advice = (
            "(…_content: a hash of attributes, code and data); choose another folder, or remove it"
        )
        if obstacle:
            advice = (
                "a run may be continued to more epochs only where nothing depends on their number, "
                f"but {obstacle}; choose another folder"
            )
        return RunFolderError(
            f"`out` must be empty or hold this very run, got {self.path} with a run that differs "
            "in\n" + "\n".join(lines) + f"\n{advice}"
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
