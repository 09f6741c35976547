"""The demo on a terminal: a table and the verdict."""

from __future__ import annotations

from statistics import fmean
from textwrap import wrap

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from tutelage.demo.settings import DemoSettings
from tutelage.reports import Record
from tutelage.reports.numbers import NONE, count, counted, file_size, milliseconds
from tutelage.reports.record import ArmRecord, ModelRecord
from tutelage.reports.verdict import verdict

_UNIT_WIDTH = 9


def show(results: Record, settings: DemoSettings, console: Console) -> None:
    """Print the table of models and the verdict."""
    title = "Handwritten digits: one teacher, one small student, three methods"
    if settings.quick:
        title += "\nThis is a quick look with fewer seeds and steps, not the full demo."
    threads = counted(int(results.versions["threads"]), "CPU thread")
    note = (
        f"± is the 95 % interval over {len(results.seeds)} seeds (another draw of the labelled "
        f"images and other first weights) and {results.examples['test']} test images. There is one "
        f"teacher, and so no such interval. Times are medians on {threads}, teacher and student in "
        "turns; the students are one architecture, so one of them was timed."
    )
    console.print(f"\n{title}", style="bold", highlight=False)
    console.print(_table(results))
    console.print(f"\n[dim]{note}[/dim]\n", highlight=False)
    console.print(verdict(results), style="bold", highlight=False)


def rows(results: Record) -> list[tuple[str, ...]]:
    """Return each model's name, accuracy, agreement with the teacher, size and times."""
    return [
        (
            each.name.capitalize(),
            _per_cent(each, "accuracy"),
            _per_cent(each, "agreement"),
            *_costs(results.models[each.model]),
        )
        for each in results.judged().values()
    ]


def _per_cent(arm: ArmRecord, metric: str) -> str:
    """Return the mean with its interval where there is one; the column says per cent."""
    values, interval = arm.values(metric), arm.intervals.get(metric)
    if not values:
        return NONE
    mean = 100 * fmean(values)
    return f"{mean:.1f}" if interval is None else f"{mean:.1f} ± {100 * interval.half_width:.1f}"


def _costs(model: ModelRecord) -> tuple[str, ...]:
    times = (milliseconds(each.per_input) for each in model.latencies)
    if model.cost is None:
        return NONE, NONE, *times
    return count(model.cost.parameters), file_size(model.cost.file_bytes), *times


def _table(results: Record) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True)
    table.add_column("Model", vertical="top")
    sizes = [each.batch_size for each in next(iter(results.models.values())).latencies]
    for name, unit in (
        ("Accuracy", "% of test images"),
        ("Agreement", "% with teacher"),
        ("Parameters", ""),
        ("File", ""),
        *((f"Batch {size}", "ms per image") for size in sizes),
    ):
        quiet = (f"[dim]{line}[/dim]" for line in wrap(unit, _UNIT_WIDTH))
        heading = "\n".join((name, *quiet))
        table.add_column(heading, justify="right", vertical="bottom", no_wrap=True)
    for row in rows(results):
        table.add_row(*row, style="bold" if row[0] == results.primary else None)
    return table
