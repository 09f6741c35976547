"""What bars on the screen share: shown while something goes on, full once it has ended."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import Progress, ProgressColumn, TimeRemainingColumn

_SECONDS_BETWEEN_REFRESHES = 0.2


class Bar:
    """A bar with the time left; silent where it is not to be shown or the output is no terminal.

    Args:
        shown: Whether to show it at all.
        total: At which it is full.
        columns: What it is made of, before the time left; they may show `task.fields[text]`.
        console: Where; None for the standard error.
    """

    def __init__(
        self,
        shown: bool,
        total: float,
        columns: tuple[str | ProgressColumn, ...],
        console: Console | None = None,
    ) -> None:
        console = console or Console(stderr=True)
        self._total, self._last = total, 0.0
        self._bar: Progress | None = None
        if shown and console.is_terminal:
            # Refreshed by us and not by a thread, which would take turns with the training.
            self._bar = Progress(
                *columns, TimeRemainingColumn(), console=console, auto_refresh=False
            )
            self._task = self._bar.add_task("", total=total, text="")

    def __enter__(self) -> Self:
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
                self._bar.update(self._task, completed=self._total)
            self._bar.refresh()
            self._bar.stop()

    @property
    def due(self) -> bool:
        """Whether there is a bar, and it was not shown just before."""
        since = time.monotonic() - self._last
        return self._bar is not None and since >= _SECONDS_BETWEEN_REFRESHES

    def refresh(self, completed: float, text: str, description: str = "") -> None:
        """Show how far it is, with a text beside it."""
        if self._bar is not None:
            self._last = time.monotonic()
            self._bar.update(self._task, completed=completed, text=text, description=description)
            self._bar.refresh()
