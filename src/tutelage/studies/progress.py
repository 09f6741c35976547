"""The progress bar of a study."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

from tutelage.studies.carry_out import Tell


@contextmanager
def study_progress(shown: bool) -> Iterator[Tell]:
    """Yield a function that shows the progress, on a terminal only."""
    console = Console(stderr=True)
    if not (shown and console.is_terminal):
        yield silent
        return
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    # Refreshed when told and not by a thread, which would take turns with the training.
    with Progress(*columns, console=console, auto_refresh=False, transient=True) as bar:
        task = bar.add_task("")

        def tell(what: str, done: int, of: int) -> None:
            bar.update(task, description=what, completed=done, total=of, refresh=True)

        yield tell


def silent(what: str, done: int, of: int) -> None:
    """Show nothing."""
