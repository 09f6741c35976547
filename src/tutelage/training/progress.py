"""The bar on the screen: how far the run is, its loss, the time left."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, TextColumn

from tutelage.training.bar import Bar


class ProgressBar(Bar):
    """A bar over all epochs; silent where the output is no terminal.

    Args:
        shown: Whether to show it at all.
        epochs: The run's epochs.
        console: Where; None for the standard error.
    """

    def __init__(self, shown: bool, epochs: int, console: Console | None = None) -> None:
        columns = ("{task.description}", BarColumn(), TextColumn("{task.fields[text]}"))
        super().__init__(shown, float(epochs), columns, console)
        self._epochs, self._figures = epochs, ""

    def say(self, figures: dict[str, float]) -> None:
        """Take figures to be shown beside the bar from the next time on."""
        if self._bar is not None:
            self._figures = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())

    def show(self, epochs_done: float) -> None:
        """Show that so many epochs are done, a fraction included."""
        if self.due:
            epoch = min(int(epochs_done) + 1, self._epochs)
            self.refresh(epochs_done, self._figures, f"epoch {epoch}/{self._epochs}")
