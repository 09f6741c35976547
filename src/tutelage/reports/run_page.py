"""The page of one run."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from tutelage.reports.numbers import (
    NONE,
    count,
    file_size,
    milliseconds,
    percent,
    points,
    significant,
    times,
)
from tutelage.reports.page import Column, Page, Section, Table, write_page
from tutelage.reports.run_curves import learning_curves
from tutelage.reports.run_measure import measure_run
from tutelage.reports.run_record import ModelFigures, RunFigures, RunRecord

_NAMES = {
    "accuracy": Column("Accuracy", "%"),
    "agreement": Column("Agreement", "% with teacher"),
    "mse": Column("Mean squared error"),
    "r2": Column("R²", "1 is perfect"),
    "teacher_mse": Column("Distance", "mean squared, from teacher"),
}
_SHARES = ("accuracy", "agreement")


def write_run_page(run: RunRecord, path: Path) -> Path:
    """Measure a run and write its page; return the path.

    Raises:
        RunFolderError: The file cannot be written.
        DataError: The validation data cannot be read.
        ModelError: A model refuses its inputs.
    """
    return write_page(run_page(run, measure_run(run)), path)


def run_page(run: RunRecord, figures: RunFigures) -> Page:
    """Return the page of a run whose figures are measured."""
    name = type(run.student).__name__
    title = f"{name}: trained on labels" if run.teacher is None else f"{name}: distilled"
    return Page(
        title=title,
        lead=(
            f"{_counted(len(run.history), 'epoch')}, "
            f"{_counted(run.history[-1]['step'], 'optimiser step')}; "
            f"learnt from {run.settings['objective']}."
        ),
        verdict=run_verdict(run, figures),
        sections=(_models(run, figures), learning_curves(run.history), _settings(run)),
        footer=f"Made by tutelage {version('tutelage')}.",
    )


def run_verdict(run: RunRecord, figures: RunFigures) -> str:
    """Return in a sentence how good the student is, beside its teacher where there is one."""
    student, teacher = figures.student.quality, figures.teacher and figures.teacher.quality
    examples = _counted(figures.examples, "validation example")
    if "accuracy" in student:
        verdict = f"The student names {percent(student['accuracy'])} of {examples} correctly"
        if teacher and "accuracy" in teacher:
            gap = points(student["accuracy"] - teacher["accuracy"])
            verdict += f"; its teacher names {percent(teacher['accuracy'])} ({gap} points)"
    elif "mse" in student:
        verdict = f"On {examples} the student's mean squared error is {significant(student['mse'])}"
        if teacher and "mse" in teacher:
            verdict += f"; its teacher's is {significant(teacher['mse'])}"
    elif "teacher_mse" in student:
        verdict = f"On {examples} the student's mean squared distance from its teacher is "
        verdict += significant(student["teacher_mse"])
    elif "agreement" in student:
        verdict = f"The student agrees with its teacher on {percent(student['agreement'])} of "
        verdict += examples
    else:
        first, last = run.history[0]["train/loss"], run.history[-1]["train/loss"]
        return (
            f"The training loss went from {significant(first)} in the first epoch to "
            f"{significant(last)} in the last; how good the student is cannot be told without "
            "validation data that it can be compared on."
        )
    return verdict + _saving(figures) + "."


def _saving(figures: RunFigures) -> str:
    """Return what the student saves, as a clause."""
    student, teacher = figures.student.cost, figures.teacher and figures.teacher.cost
    if student is None or not teacher or not student.parameters:
        return ""
    ratio = times(teacher.parameters / student.parameters)
    return f", and the teacher has {ratio} the student's parameters"


def _models(run: RunRecord, figures: RunFigures) -> Section:
    shown = [name for name in _NAMES if name in figures.student.quality]
    sizes = [each.batch_size for each in figures.student.latencies]
    columns = (
        Column("Model", numeric=False),
        *(_NAMES[name] for name in shown),
        Column("Parameters"),
        Column("File"),
        *(Column(f"Batch {size}", "ms per input") for size in sizes),
    )
    rows = [_row("Student", figures.student, shown, len(sizes))]
    if figures.teacher is not None:
        rows.insert(0, _row("Teacher", figures.teacher, shown, len(sizes)))
    table = Table(
        "Quality, size and time of the models",
        columns,
        tuple(rows),
        _note(run, figures),
        emphasis=len(rows) - 1,
    )
    return Section("Student and teacher" if figures.teacher else "The model", table=table)


def _row(name: str, figures: ModelFigures, shown: list[str], sizes: int) -> tuple[str, ...]:
    cost = figures.cost
    measured = [milliseconds(each.per_input) for each in figures.latencies] or [NONE] * sizes
    return (
        name,
        *(_quality(figures.quality.get(each), each) for each in shown),
        NONE if cost is None else count(cost.parameters),
        NONE if cost is None else file_size(cost.file_bytes),
        *measured,
    )


def _quality(value: float | None, name: str) -> str:
    if value is None:
        return NONE
    return f"{100 * value:.1f}" if name in _SHARES else significant(value)


def _note(run: RunRecord, figures: RunFigures) -> str:
    notes = []
    if figures.examples:
        notes.append(
            f"Quality is that of {_counted(figures.examples, 'validation example')}. The student's "
            f"weights are those of epoch {run.best_epoch}, which did best on the same examples, so "
            "its figures are a little too good; data that decided nothing will tell."
        )
    if figures.student.latencies:
        threads = _counted(figures.student.latencies[0].threads, "processor thread")
        notes.append(f"Times are medians, with {threads}, of the models in turns.")
    if figures.teacher is not None and figures.teacher.cost is None:
        notes.append("The teacher is no PyTorch module, so its size and time are not measured.")
    return " ".join(notes)


def _settings(run: RunRecord) -> Section:
    versions = {
        "tutelage": version("tutelage"),
        "PyTorch": torch.__version__,
        "Python": platform.python_version(),
    }
    settings = {str(name).replace("_", " "): value for name, value in run.settings.items()}
    rows = tuple((name, _plain(value)) for name, value in (settings | versions).items())
    columns = (Column("Setting", numeric=False), Column("Value", numeric=False))
    return Section("Settings and versions", table=Table("All settings and versions", columns, rows))


def _plain(value: Any) -> str:
    if value is None or value == "None":
        return "none"
    if isinstance(value, dict):
        return ", ".join(f"{str(key).replace('_', ' ')} {item}" for key, item in value.items())
    return str(value)


def _counted(number: int, noun: str) -> str:
    return f"{count(number)} {noun}" + ("" if number == 1 else "s")
