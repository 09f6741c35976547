"""The folder of a study, which any number of processes fill together.

```
out/
├── results.json              the record, once all trials are done
├── report.html, .md          the same for readers
├── teacher/                  the teacher's outputs
└── trials/KEY/
    ├── run/                  the training: checkpoints, log, student
    ├── student.pt            the student of an arm that is a function
    ├── outputs-DATA.npy      the student's outputs on validation and test data
    ├── fidelity-TEACHER.json fidelity to the teacher on its training data
    └── trial.json            written last: the trial is done
```
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tutelage.errors import RunFolderError
from tutelage.files import locked, write_json


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, and wait for it if another process has it."""
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / ".lock", wait=True):
        yield


class TrialFolder:
    """The folder of one trial, which is made when it is claimed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.run, self._record = path / "run", path / "trial.json"
        self.student = path / "student.pt"

    def outputs(self, data: str) -> Path:
        """Return the file of the outputs on a data set."""
        return self.path / f"outputs-{data}.npy"

    def fidelity(self, teacher: str) -> Path:
        """Return the file of the fidelity to a teacher on the training data."""
        return self.path / f"fidelity-{teacher}.json"

    def record(self) -> dict[str, Any] | None:
        """Return what is known of the finished trial; None if it is not finished."""
        if not self._record.exists():
            return None
        try:
            return json.loads(self._record.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunFolderError(
                f"{self._record} must be the record of a trial, got {error}; remove the file, and "
                "it is recomputed"
            ) from error

    def finish(self, record: dict[str, Any]) -> None:
        """Write the record, which marks the trial as done."""
        write_json(self._record, record)

    @contextmanager
    def claimed(self) -> Iterator[bool]:
        """Take the trial for this process; False if another process has it now.

        The lock ends with the process, even if that is killed; another may then resume.
        """
        with ExitStack() as stack:
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                ours = stack.enter_context(locked(self.path / ".lock"))
            except OSError as error:
                raise RunFolderError(
                    "`out` must be a folder that can be written, on a file system with locks, got "
                    f"{self.path} with {error}; choose another, or mend its permissions"
                ) from error
            yield ours
