"""Progress bars on a terminal: of training, and of labelling."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

_SECONDS_BETWEEN_REFRESHES = 0.2


class Bar:
    """A bar with the time left; silent where it is not to be shown or the output is no terminal.

    `columns` stand before the time left; after them comes the text of `show`.
    """

    def __init__(
        self, shown: bool, total: float, columns: tuple[str | ProgressColumn, ...], console: Console
    ) -> None:
        self.total, self._last = total, 0.0
        self._shown = shown and console.is_terminal
        columns += (TextColumn("{task.fields[text]}"), TimeRemainingColumn())
        # Refreshed by us and not by a thread, which would take turns with the training.
        self._bar = Progress(*columns, console=console, auto_refresh=False, disable=not self._shown)
        self._task = self._bar.add_task("", total=total, text="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self._shown:
            if kind is None:
                self._bar.update(self._task, completed=self.total)
            self._bar.refresh()
            self._bar.stop()

    def show(self, completed: float, text: str, description: str = "") -> None:
        """Show how far it is, unless that was shown just before."""
        now = time.monotonic()
        if self._shown and now - self._last >= _SECONDS_BETWEEN_REFRESHES:
            self._last = now
            self._bar.update(self._task, completed=completed, text=text, description=description)
            self._bar.refresh()


class TrainingBar(Bar):
    """A bar over all epochs, with the losses beside it."""

    def __init__(self, shown: bool, epochs: int, console: Console | None = None) -> None:
        columns = ("{task.description}", BarColumn())
        super().__init__(shown, float(epochs), columns, console or Console(stderr=True))

    def show_epoch(self, epochs_done: float, losses: Mapping[str, float]) -> None:
        """Show that so many epochs are done, a fraction included, and the losses."""
        text = "  ".join(f"{name} {value:.4g}" for name, value in losses.items())
        epoch = min(int(epochs_done) + 1, int(self.total))
        self.show(epochs_done, text, f"epoch {epoch}/{self.total:.0f}")


class LabellingBar(Bar):
    """A bar over the rows of a store, with the examples a second.

    The work is divided among processes; one shows the bar and counts for all of them.
    """

    def __init__(self, shown: bool, rows: int, console: Console | None = None) -> None:
        columns = ("labelled", BarColumn(), MofNCompleteColumn())
        super().__init__(shown, rows, columns, console or Console(stderr=True))
        self._processes, self._before, self._done = 1, 0, 0
        self._begun = time.monotonic()

    def begin(self, rows: int, processes: int) -> None:
        """Start with the rows that are left to this process, one of several with equal parts."""
        self._processes, self._begun = processes, time.monotonic()
        self._before = self._done = max(0, int(self.total) - rows * processes)
        self._bar.reset(self._task, completed=self._done, total=self.total)

    def add(self, rows: int) -> None:
        """Count rows that this process has labelled, and as many of each other process."""
        self._done += rows * self._processes
        self.show(min(self._done, self.total), f"{self.rate():,.0f} examples/s")

    def rate(self) -> float:
        """Return the examples a second since `begin`, of all processes."""
        return (self._done - self._before) / max(time.monotonic() - self._begun, 1e-9)
