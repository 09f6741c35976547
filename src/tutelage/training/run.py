"""The result of a finished run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from tutelage.layers.wrapper import unwrapped
from tutelage.objectives import Objective
from tutelage.teachers import Teacher

_MOST_SHOWN = 6


@dataclass(frozen=True, repr=False)
class Run:
    """A trained student and the record of its training.

    Args:
        student: The module that was given, trained, in eval mode: with the weights of the best
            validation epoch where there is validation, else of the last.
        history: One record for each epoch: `epoch`, `step`, `lr` if the optimizer has one,
            `seconds`, and the means `train/loss`, `train/<term>` and `val/<metric>`.
        best_epoch: The epoch whose weights the student has.
        settings: What identifies the run, as in `run.json`.
        out: The folder of the run, if it has one.
        objective: The loss, as the run left it.
        teacher: The teacher; None for a run without one.
        val: The validation data that was given.
        class_names: Of the outputs, for the report; empty for numbers.
    """

    student: nn.Module
    history: list[dict[str, Any]]
    best_epoch: int
    settings: dict[str, Any]
    objective: Objective
    out: Path | None = None
    teacher: Teacher | None = None
    val: object | None = None
    class_names: tuple[str, ...] = ()

    def __str__(self) -> str:
        """The student, how long it was trained, and the metrics of its best epoch."""
        best = next(each for each in self.history if each["epoch"] == self.best_epoch)
        shown = {key: each for key, each in best.items() if key.startswith(("train/loss", "val/"))}
        metrics = ", ".join(f"{key} {each:.4g}" for key, each in list(shown.items())[:_MOST_SHOWN])
        where = "" if self.out is None else f"; in {self.out}"
        epochs = "1 epoch" if len(self.history) == 1 else f"{len(self.history)} epochs"
        return (
            f"Run of {type(unwrapped(self.student)).__name__}: {epochs}, best {self.best_epoch} "
            f"({metrics}){where}"
        )

    __repr__ = __str__

    def report(self, path: str | Path | None = None) -> Path:
        """Write one self-contained HTML report: verdict, metrics, settings; return its path.

        The same as Markdown and all of its numbers as JSON are written beside it.

        Args:
            path: Where, ending in `.html`; None for `report.html` in the run's folder, or here if
                it has none.

        Raises:
            ArgumentError: The path ends otherwise, or other files would be overwritten.
            RunFolderError: A file cannot be written.
        """
        from tutelage.reports.report import report_record  # noqa: PLC0415 - loads matplotlib
        from tutelage.reports.writing import check_path  # noqa: PLC0415
        from tutelage.training.record import record_of  # noqa: PLC0415

        folder = Path() if self.out is None else self.out
        page = folder / "report.html" if path is None else Path(path)
        check_path(page)
        return report_record(record_of(self), page)
