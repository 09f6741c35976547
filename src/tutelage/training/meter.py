"""The bar on the screen while a teacher labels: how far it is, how fast, the time left."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn

from tutelage.training.bar import Bar


class Meter(Bar):
    """A bar over the rows that this process and its likes are to label; silent off a terminal.

    Args:
        shown: Whether to show it at all.
        rows: Of the whole store.
        console: Where; None for the standard error.
    """

    def __init__(self, shown: bool, rows: int, console: Console | None = None) -> None:
        columns = ("labelled", BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[text]}"))
        super().__init__(shown, rows, columns, console)
        self._rows, self._several = rows, 1
        self._before, self._done = 0, 0
        self._begun = time.monotonic()

    def begin(self, ours: int, several: int) -> None:
        """Take in how many rows are left to this process, one of so many that go alike."""
        self._several, self._begun = several, time.monotonic()
        self._before = self._done = max(0, self._rows - ours * several)
        if self._bar is not None:
            self._bar.reset(self._task, completed=self._done, total=self._rows)

    def add(self, rows: int) -> None:
        """Take in that this process has labelled so many more, and the others likely too."""
        self._done += rows * self._several
        if self.due:
            self.refresh(min(self._done, self._rows), f"{self.rate():,.0f} examples/s")

    def rate(self) -> float:
        """Return the examples a second since `begin`, of all processes."""
        return (self._done - self._before) / max(time.monotonic() - self._begun, 1e-9)
