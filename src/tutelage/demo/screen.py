"""The demo on a terminal: a table and the verdict."""

from __future__ import annotations

from statistics import fmean
from textwrap import wrap

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from tutelage.demo.settings import DemoSettings
from tutelage.reports import Record
from tutelage.reports.numbers import NONE, count, file_size, milliseconds
from tutelage.reports.record import ArmRecord, ModelRecord
from tutelage.reports.verdict import verdict

_UNIT_WIDTH = 9


def show(results: Record, settings: DemoSettings, console: Console) -> None:
    """Print the table of models and the verdict."""
    console.print(f"\n{_title(settings)}", style="bold", highlight=False)
    console.print(_table(results))
    console.print(f"\n[dim]{_note(results)}[/dim]\n", highlight=False)
    console.print(verdict(results), style="bold", highlight=False)


def rows(results: Record) -> list[tuple[str, ...]]:
    """Return each model's name, accuracy, agreement with the teacher, size and times."""
    teacher = results.teacher
    students = [
        (
            arm.name,
            _per_cent(arm, "accuracy"),
            _per_cent(arm, "agreement"),
            *_costs(results.models[arm.model]),
        )
        for arm in results.arms
    ]
    if teacher is None:
        return students
    costs = _costs(results.models[teacher.model])
    return [("Teacher", _per_cent(teacher, "accuracy"), NONE, *costs), *students]


def _per_cent(arm: ArmRecord, metric: str) -> str:
    """Return the mean with its interval where there is one; the column says per cent."""
    mean, interval = 100 * fmean(arm.values(metric)), arm.intervals.get(metric)
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


def _note(results: Record) -> str:
    threads = results.versions["threads"]
    return (
        f"± is the 95 % interval over {len(results.seeds)} seeds (another draw of the labelled "
        f"images and other first weights) and {results.examples['test']} test images. There is one "
        f"teacher, and so no such interval. Times are medians on {threads} CPU "
        f"{'thread' if threads == '1' else 'threads'}, teacher and student in turns; the students "
        "are one architecture, so one of them was timed."
    )


def _title(settings: DemoSettings) -> str:
    title = "Handwritten digits: one teacher, one small student, three methods"
    if settings.quick:
        title += "\nThis is a quick look with fewer seeds and steps, not the full demo."
    return title
