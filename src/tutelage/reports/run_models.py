"""The table of a run's models, and that of its settings."""

from __future__ import annotations

import math
from typing import Any

from tutelage.reports.numbers import NONE, count, file_size, milliseconds, operations, significant
from tutelage.reports.page import Column, Section, Table
from tutelage.reports.run_account import RunAccount
from tutelage.reports.run_record import ModelFigures
from tutelage.reports.run_verdict import counted

_NAMES = {
    "accuracy": Column("Accuracy", "%"),
    "agreement": Column("Agreement", "% with teacher"),
    "mse": Column("Mean squared error"),
    "r2": Column("R²", "1 is perfect"),
    "teacher_mse": Column("Distance", "mean squared, from teacher"),
}
_SHARES = ("accuracy", "agreement")
_PACKAGES = {
    "python": "Python",
    "torch": "PyTorch",
    "accelerate": "Accelerate",
    "numpy": "NumPy",
}


def models_section(run: RunAccount) -> Section:
    """Return student and teacher by quality, size and time."""
    figures = run.figures
    shown = [name for name in _NAMES if name in figures.student.quality]
    sizes = [each.batch_size for each in figures.student.latencies]
    columns = (
        Column("Model", numeric=False),
        *(_NAMES[name] for name in shown),
        Column("Parameters"),
        Column("File"),
        *((Column("Operations", "per input"),) if _counted_operations(figures.student) else ()),
        *(Column(f"Batch {size}", "ms per input") for size in sizes),
    )
    counted_too = _counted_operations(figures.student)
    rows = [_row("Student", figures.student, shown, len(sizes), counted_too)]
    if figures.teacher is not None:
        several = figures.teacher.modules > 1
        name = f"{figures.teacher.modules} teachers" if several else "Teacher"
        rows.insert(0, _row(name, figures.teacher, shown, len(sizes), counted_too))
    table = Table(
        "Quality, size and time of the models",
        columns,
        tuple(rows),
        _note(run),
        emphasis=len(rows) - 1,
        sortable=False,
    )
    return Section("Student and teacher" if figures.teacher else "The model", table=table)


def domains_section(run: RunAccount) -> Section | None:
    """Return the figures of each domain at the best epoch; None where there are no domains."""
    best = next(each for each in run.history if each["epoch"] == run.best_epoch)
    parts = [key.split("/", 2)[1:] for key in best if key.startswith("val/")]
    told = [part for part in parts if len(part) > 1 and f"val/{part[0]}" in best]
    figures, domains = (list(dict.fromkeys(part[place] for part in told)) for place in (0, 1))
    if not domains:
        return None
    columns = (
        Column("Domain", numeric=False),
        *(_NAMES.get(each, Column(each.replace("_", " "))) for each in figures),
    )
    rows = [
        (name, *(_quality(best.get(f"val/{each}/{name}"), each) for each in figures))
        for name in domains
    ]
    whole = ("All", *(_quality(best.get(f"val/{each}"), each) for each in figures))
    note = f"Of the student on the validation examples of each domain, at epoch {run.best_epoch}."
    table = Table("Quality by domain", columns, (*rows, whole), note, emphasis=len(rows))
    return Section("Domain by domain", table=table)


def settings_section(run: RunAccount) -> Section:
    """Return all settings and versions."""
    settings = {str(name).replace("_", " "): value for name, value in run.settings.items()}
    versions = {_PACKAGES.get(name, name): value for name, value in run.versions.items()}
    rows = tuple((name, _plain(value)) for name, value in (settings | versions).items())
    columns = (Column("Setting", numeric=False), Column("Value", numeric=False))
    table = Table("All settings and versions", columns, rows, sortable=False)
    return Section("Settings and versions", table=table)


def _counted_operations(figures: ModelFigures) -> bool:
    return figures.cost is not None and figures.cost.flops is not None


def _row(
    name: str, figures: ModelFigures, shown: list[str], sizes: int, counted_too: bool
) -> tuple[str, ...]:
    cost = figures.cost
    flops = None if cost is None else cost.flops
    measured = [milliseconds(each.per_input) for each in figures.latencies] or [NONE] * sizes
    return (
        name,
        *(_quality(figures.quality.get(each), each) for each in shown),
        NONE if cost is None else count(cost.parameters),
        NONE if cost is None else file_size(cost.file_bytes),
        *((NONE if flops is None else operations(flops),) if counted_too else ()),
        *measured,
    )


def _quality(value: float | None, name: str) -> str:
    if value is None or not math.isfinite(value):
        return NONE
    return f"{100 * value:.1f}" if name in _SHARES else significant(value)


def _note(run: RunAccount) -> str:
    figures, notes = run.figures, []
    if figures.student.quality:
        examples = (
            counted(figures.examples, "validation example")
            if figures.examples
            else "the validation examples"
        )
        notes.append(
            f"Quality is that of {examples}. The student's weights are those of epoch "
            f"{run.best_epoch}, which did best on the same examples, so its figures are a little "
            "too good; data that decided nothing will tell."
        )
    if figures.student.latencies:
        threads = counted(figures.student.latencies[0].threads, "processor thread")
        notes.append(f"Times are medians, with {threads}, of the models in turns.")
    if not run.measured and figures.student.cost is not None:
        notes.append("Parameters are all numbers in the weights file, buffers among them.")
    if figures.teacher is not None and figures.teacher.cost is None:
        notes.append("The teacher is no PyTorch module, so its size and time are not measured.")
    elif (
        figures.teacher is not None and figures.student.latencies and not figures.teacher.latencies
    ):
        notes.append("The teachers' size is that of all together; their time is not measured.")
    return " ".join(notes)


def _plain(value: Any) -> str:
    if value is None or value == "None":
        return "none"
    if isinstance(value, dict):
        return ", ".join(f"{str(key).replace('_', ' ')} {item}" for key, item in value.items())
    return str(value)
