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
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tutelage.errors import RunFolderError
from tutelage.files import owned, remove_drafts, write_json, writing
from tutelage.reports.summary import versions


class RunFolder:
    """A folder that belongs to one run; `identity` must be equal for a run to be the same run."""

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        self.path = path
        self.run, self.log = path / "run.json", path / "metrics.jsonl"
        self.last, self.student = path / "last.pt", path / "student.safetensors"
        self._identity = json.loads(json.dumps(plain(identity), default=str))

    @contextmanager
    def claimed(self, why_not_longer: Callable[[], str]) -> Iterator[None]:
        """Make the folder ours, or find that it is already; no other process writes it meanwhile.

        `why_not_longer` returns why the run may not continue to more epochs than it began with; an
        empty text if it may.
        """
        with owned(self.path, RunFolderError):
            with writing(self.path, RunFolderError):
                remove_drafts(self.path)
                if self.run.exists():
                    self._check_same(why_not_longer)
                else:
                    self._begin()
            yield

    def best(self, epoch: int) -> Path:
        """Return the file of the best student, of this epoch."""
        return self.path / f"best-{epoch}.safetensors"

    def keep_only(self, best: Path | None) -> None:
        """Remove the students of epochs that are no longer the best."""
        for file in self.path.glob("best-*.safetensors"):
            if file != best:
                file.unlink()

    def _begin(self) -> None:
        found = [file.name for file in (self.last, self.log, self.student) if file.exists()]
        if found:
            raise RunFolderError(
                f"`out` must be empty or hold a run, got {self.path} with {found[0]} but without "
                "run.json; choose another folder"
            )
        write_json(self.run, {"run": self._identity, "made_with": versions()})

    def _check_same(self, why_not_longer: Callable[[], str]) -> None:
        """Refuse another run; one that is equal but for fewer epochs becomes longer."""
        try:
            content = json.loads(self.run.read_text(encoding="utf-8"))
            found, now = dict(content["run"]), self._identity
        except (ValueError, KeyError, TypeError) as error:
            raise RunFolderError(
                f"{self.run} must identify the run, got a damaged file ({error}); choose "
                "another folder, or remove that one"
            ) from error
        different = {key for key in found | now if found.get(key) != now.get(key)}
        if not different:
            return
        advice = (
            "(…_content: a hash of attributes, code and data); choose another folder, or remove it"
        )
        of_length = different <= {"epochs", "scheduler", "scheduler_content"}
        if of_length and "epochs" in different and found["epochs"] < now["epochs"]:
            obstacle = content.get("not_longer") or why_not_longer()
            if not obstacle:
                self.student.unlink(missing_ok=True)  # of the shorter run
                write_json(self.run, content | {"run": found | {"epochs": now["epochs"]}})
                return
            advice = f"no more epochs can be added, since {obstacle}; choose another folder"
        lines = [
            f"  {key}: {found.get(key)!r} there, {now.get(key)!r} now" for key in sorted(different)
        ]
        raise RunFolderError(
            f"`out` must be empty or hold this very run, got {self.path} with a run that differs "
            "in\n" + "\n".join([*lines, advice])
        )


def refuse_longer(out: Path, obstacle: str) -> None:
    """Note in a run's folder why it cannot be continued to more epochs."""
    path = out / "run.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    write_json(path, content | {"not_longer": obstacle})


def plain(value: Any) -> Any:
    """Return settings or a state with numpy's numbers as Python's, also in dicts and lists.

    `torch.load(weights_only=True)` refuses numpy's, and JSON has none.
    """
    if isinstance(value, np.generic):
        return value.item()
    if type(value) is dict:
        return {plain(key): plain(each) for key, each in value.items()}
    return type(value)(map(plain, value)) if type(value) in (list, tuple) else value
