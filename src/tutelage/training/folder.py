"""The folder of a run: its files, and whether a call is the one that began it.

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
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tutelage.errors import RunFolderError
from tutelage.files import owned, remove_drafts, write_json, writing
from tutelage.identity import differences
from tutelage.results.record import versions

OF_RECIPES = {
    "recipe.yaml",
    "kept_layers.json",
    "teacher",
    "targets",
    "student",
    "study",
    "compress",
}
"""What recipes write into the folder of their run before it begins."""
_MOST_SHOWN = 10


class RunFolder:
    """A folder that belongs to one run.

    Args:
        path: Where.
        settings: The run's settings, for readers.
        declared: What must be equal for a run to be the same run; see `tutelage.identity`.
        fresh: Whether a run that the folder holds is removed.
    """

    def __init__(
        self,
        path: Path,
        settings: Mapping[str, Any],
        declared: Mapping[str, Any],
        fresh: bool = False,
    ) -> None:
        self.path, self.fresh = path, fresh
        self.run, self.log = path / "run.json", path / "metrics.jsonl"
        self.last, self.student = path / "last.pt", path / "student.safetensors"
        self._settings, self.declared = (
            json.loads(json.dumps(without_numpy(each), default=str))
            for each in (settings, declared)
        )

    @contextmanager
    def claimed(self, why_not_longer: Callable[[], str]) -> Iterator[None]:
        """Make the folder ours, or find that it is already; no other process writes it meanwhile.

        `why_not_longer` returns why the run may not continue to more epochs than it began with; an
        empty text if it may.
        """
        refuse_foreign(self.path)
        with owned(self.path, RunFolderError):
            with writing(self.path, RunFolderError):
                remove_drafts(self.path)
                if not self.run.exists() or self.fresh:
                    self._begin()
                else:
                    self._check_same(why_not_longer)
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
        """Write what identifies the run, once nothing is left of another one."""
        for file in (self.student, self.last, self.log):
            file.unlink(missing_ok=True)
        self.keep_only(None)
        for stage in self.path.glob("*-*/run.json"):
            if self.fresh:
                shutil.rmtree(stage.parent)
        self._write(self._settings, self.declared)

    def _write(self, settings: Mapping[str, Any], declared: Mapping[str, Any]) -> None:
        content = {"run": settings, "declared": declared, "made_with": versions()}
        write_json(self.run, content)

    def _check_same(self, why_not_longer: Callable[[], str]) -> None:
        """Refuse another run; one that is equal but for fewer epochs becomes longer."""
        try:
            content = json.loads(self.run.read_text(encoding="utf-8"))
            settings, found = dict(content["run"]), dict(content["declared"])
        except (ValueError, KeyError, TypeError) as error:
            raise RunFolderError(
                f"{self.run} must identify the run, got a damaged file ({error}); give another "
                "folder, or fresh=True to train anew"
            ) from error
        now = self.declared
        different = {path: (old, new) for path, old, new in differences(found, now)}
        if not different:
            return
        if not self._is_trained():
            self._begin()
            return
        advice = "give another folder, or fresh=True to train anew"
        names = {path.split(".")[0] for path in different}
        of_length = names in ({"epochs"}, {"epochs", "scheduler"})  # this has the number of steps
        if of_length and found["epochs"] < now["epochs"]:
            obstacle = content.get("not_longer") or why_not_longer()
            if not obstacle and names == {"epochs"}:
                self.student.unlink(missing_ok=True)  # of the shorter run
                longer = {"epochs": now["epochs"]}
                self._write(settings | longer, found | longer)
                return
            if obstacle:
                advice = f"no more epochs can be added, since {obstacle}; {advice}"
        lines = [f"  {path}: {old!r} → {new!r}" for path, (old, new) in sorted(different.items())]
        if len(lines) > _MOST_SHOWN:
            lines[_MOST_SHOWN:] = [f"  and {len(lines) - _MOST_SHOWN} more"]
        raise RunFolderError(
            f"`out` must be new or hold this very run, got {self.path} with a run that differs "
            "in\n" + "\n".join([*lines, advice])
        )

    def _is_trained(self) -> bool:
        """Tell whether a step was logged; a run that failed at once does not keep its folder."""
        logs = [self.log, *self.path.glob("*-*/metrics.jsonl")]
        return any(each.exists() and each.stat().st_size > 0 for each in logs)


def refuse_foreign(path: Path) -> None:
    """Refuse a folder that holds something else than a run."""
    if not path.is_dir() or (path / "run.json").exists():
        return
    found = sorted(each.name for each in path.iterdir() if not each.name.startswith("."))
    foreign = [name for name in found if name not in OF_RECIPES]
    if foreign:
        raise RunFolderError(
            f"`out` must be a new or empty folder, or hold a run, got {path} with {foreign[0]!r} "
            f"and without run.json; give a folder of its own, such as {str(path / 'run')!r}"
        )


def refuse_longer(out: Path, obstacle: str) -> None:
    """Note in a run's folder why it cannot be continued to more epochs."""
    path = out / "run.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    write_json(path, content | {"not_longer": obstacle})


def without_numpy(value: Any) -> Any:
    """Return settings or a state with numpy's numbers as Python's, also in dicts and lists.

    `torch.load(weights_only=True)` refuses numpy's, and JSON has none.
    """
    if isinstance(value, np.generic):
        return value.item()
    if type(value) is dict:
        return {without_numpy(key): without_numpy(each) for key, each in value.items()}
    return type(value)(map(without_numpy, value)) if type(value) in (list, tuple) else value
