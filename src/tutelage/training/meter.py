"""The bar on the screen while a teacher labels: how far it is, how fast, the time left."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_SECONDS_BETWEEN_REFRESHES = 0.2


class Meter:
    """A bar over the rows that this process and its likes are to label; silent off a terminal.

    Args:
        shown: Whether to show it at all.
        rows: Of the whole store.
        console: Where; None for the standard error.
    """

    def __init__(self, shown: bool, rows: int, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._rows, self._several = rows, 1
        self._before, self._done, self._last = 0, 0, 0.0
        self._begun = time.monotonic()
        self._bar: Progress | None = None
        if shown and self._console.is_terminal:
            rate = TextColumn("{task.fields[rate]}")
            columns = ("labelled", BarColumn(), MofNCompleteColumn(), rate)
            self._bar = Progress(
                *columns, TimeRemainingColumn(), console=self._console, auto_refresh=False
            )
            self._task = self._bar.add_task("", total=rows, rate="")

    def __enter__(self) -> Meter:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            if error is None:
                self._bar.update(self._task, completed=self._rows)
            self._bar.refresh()
            self._bar.stop()

    def begin(self, ours: int, several: int) -> None:
        """Take in how many rows are left to this process, one of so many that go alike."""
        self._several, self._begun = several, time.monotonic()
        self._before = self._done = max(0, self._rows - ours * several)
        if self._bar is not None:
            self._bar.reset(self._task, completed=self._done, total=self._rows)

    def add(self, rows: int) -> None:
        """Take in that this process has labelled so many more, and the others likely too."""
        self._done += rows * self._several
        now = time.monotonic()
        if self._bar is None or now - self._last < _SECONDS_BETWEEN_REFRESHES:
            return
        self._last = now
        rate = f"{self.rate():,.0f} examples/s"
        self._bar.update(self._task, completed=min(self._done, self._rows), rate=rate)
        self._bar.refresh()

    def rate(self) -> float:
        """Return the examples a second since `begin`, of all processes."""
        return (self._done - self._before) / max(time.monotonic() - self._begun, 1e-9)
