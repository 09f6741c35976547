"""The demo on a terminal: a line that moves, then a table and a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from textwrap import wrap

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tutelage.demo.experiment import Progress as Tell
from tutelage.demo.experiment import silent
from tutelage.demo.results import DemoResults
from tutelage.demo.rows import models_table
from tutelage.demo.verdict import verdict

_UNIT_WIDTH = 9


@contextmanager
def progress_line() -> Iterator[Tell]:
    """Give what shows the progress on a terminal, and nothing elsewhere."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield silent
        return
    columns = ("{task.description}", BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    # Refreshed when told and not by a thread, which would take turns with the training.
    with Progress(
        *columns, TimeElapsedColumn(), console=console, auto_refresh=False, transient=True
    ) as bar:
        task = bar.add_task("starting", total=1.0)

        def tell(share: float, what: str) -> None:
            bar.update(task, completed=share, description=what, refresh=True)

        yield tell


def show(results: DemoResults, console: Console) -> None:
    """Print the table of models and the verdict."""
    content = models_table(results)
    console.print(f"\n{_title(results)}", style="bold", highlight=False)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True)
    for column in content.columns:
        lines = [column.name, *(f"[dim]{line}[/dim]" for line in wrap(column.unit, _UNIT_WIDTH))]
        table.add_column(
            "\n".join(lines),
            justify="right" if column.numeric else "left",
            vertical="bottom" if column.numeric else "top",
            no_wrap=column.numeric,
        )
    for number, row in enumerate(content.rows):
        table.add_row(*row, style="bold" if number == content.emphasis else None)
    console.print(table)
    console.print()
    console.print(f"[dim]{content.note}[/dim]", highlight=False)
    console.print()
    console.print(verdict(results), style="bold", highlight=False)


def _title(results: DemoResults) -> str:
    title = "Handwritten digits: one teacher, one small student taught three ways"
    if results.settings["quick"]:
        title += "\nThis is a quick look with fewer seeds and steps, not the full demo."
    return title
