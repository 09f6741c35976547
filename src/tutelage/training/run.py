"""What a finished run gives back."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from tutelage.objectives import Objective
from tutelage.teachers import Teacher


@dataclass(frozen=True)
class Run:
    """A trained student and how it came about.

    Args:
        student: The module that was given, trained, in eval mode: with the weights of the best
            validation epoch where there is validation, else of the last.
        history: One record for each epoch: `epoch`, `step`, `lr`, `seconds`, and the means
            `train/loss`, `train/<part>` and `val/<figure>`.
        best_epoch: The epoch whose weights the student has.
        settings: What makes this run this run, as in `run.json`.
        out: The folder of the run, if it has one.
        objective: What it was asked for, as the run left it.
        teacher: Whom it learnt from.
        val: The validation data that was given.
    """

    student: nn.Module
    history: list[dict[str, Any]]
    best_epoch: int
    settings: dict[str, Any]
    objective: Objective = field(repr=False)
    out: Path | None = None
    teacher: Teacher | None = field(default=None, repr=False)
    val: object | None = field(default=None, repr=False)

    def report(self, path: str | Path | None = None) -> Path:
        """Write one self-contained page on the run: verdict, figures, settings; return its path.

        The same as Markdown and all of its numbers as JSON are written beside it.

        Args:
            path: Where, ending in `.html`; None for `report.html` in the run's folder, or here if
                it has none.

        Raises:
            ArgumentError: The path ends otherwise, or other files would be overwritten.
            RunFolderError: A file cannot be written.
        """
        from tutelage.reports.run_page import write_run_page  # noqa: PLC0415 - loads matplotlib

        folder = Path() if self.out is None else self.out
        return write_run_page(self, folder / "report.html" if path is None else Path(path))
