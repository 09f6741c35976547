"""The bar on the screen: how far the run is, its loss, the time left."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

_SECONDS_BETWEEN_REFRESHES = 0.2


class ProgressBar:
    """A bar over all epochs; silent where the output is no terminal.

    Args:
        shown: Whether to show it at all.
        epochs: The run's epochs.
    """

    def __init__(self, shown: bool, epochs: int) -> None:
        console = Console(stderr=True)
        self._bar = None
        self._last, self._epochs, self._figures = 0.0, epochs, ""
        if shown and console.is_terminal:
            columns = ("{task.description}", BarColumn(), TextColumn("{task.fields[figures]}"))
            # Refreshed by us and not by a thread, which would take turns with the training.
            self._bar = Progress(
                *columns, TimeRemainingColumn(), console=console, auto_refresh=False
            )
            self._task = self._bar.add_task("", total=float(epochs), figures="")

    def __enter__(self) -> ProgressBar:
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
                self._bar.update(self._task, completed=float(self._epochs))
            self._bar.refresh()
            self._bar.stop()

    def say(self, figures: dict[str, float]) -> None:
        """Take figures to be shown beside the bar from the next time on."""
        if self._bar is not None:
            self._figures = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())

    def show(self, epochs_done: float) -> None:
        """Show that so many epochs are done, a fraction included."""
        if self._bar is None or time.monotonic() - self._last < _SECONDS_BETWEEN_REFRESHES:
            return
        self._last = time.monotonic()
        epoch = min(int(epochs_done) + 1, self._epochs)
        self._bar.update(
            self._task,
            completed=epochs_done,
            description=f"epoch {epoch}/{self._epochs}",
            figures=self._figures,
        )
        self._bar.refresh()
