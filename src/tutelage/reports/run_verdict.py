"""What came of a run, in a sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping

from tutelage.reports.numbers import count, percent, points, significant, times
from tutelage.reports.run_account import RunAccount
from tutelage.reports.run_record import RunFigures


def run_verdict(run: RunAccount) -> str:
    """Return in a sentence how good the student is, beside its teacher where there is one."""
    quality = _quality(run.figures)
    if quality:
        return f"{quality}{_saving(run.figures)}."
    first, last = run.history[0]["train/loss"], run.history[-1]["train/loss"]
    return (
        f"The training loss went from {significant(first)} in the first epoch to "
        f"{significant(last)} in the last; how good the student is cannot be told without "
        "validation data that it can be compared on."
    )


def counted(number: int, noun: str) -> str:
    """Return a number of things.

    >>> counted(1, "epoch"), counted(1200, "epoch")
    ('1 epoch', '1,200 epochs')
    """
    return f"{count(number)} {noun}" + ("" if number == 1 else "s")


def _quality(figures: RunFigures) -> str:
    """Return the first of the usual figures that there is, as a clause; empty if there is none."""
    student = _finite(figures.student.quality)
    teacher = {} if figures.teacher is None else _finite(figures.teacher.quality)
    examples = _examples(figures)
    if "accuracy" in student:
        clause = f"The student names {percent(student['accuracy'])} of {examples} correctly"
        if "accuracy" in teacher:
            gap = points(student["accuracy"] - teacher["accuracy"])
            clause += f"; its teacher names {percent(teacher['accuracy'])} ({gap} points)"
        return clause
    if "mse" in student:
        clause = f"On {examples} the student's mean squared error is {significant(student['mse'])}"
        if "mse" in teacher:
            clause += f"; its teacher's is {significant(teacher['mse'])}"
        return clause
    if "teacher_mse" in student:
        distance = significant(student["teacher_mse"])
        return f"On {examples} the student's mean squared distance from its teacher is {distance}"
    if "agreement" in student:
        return (
            f"The student agrees with its teacher on {percent(student['agreement'])} of {examples}"
        )
    return ""


def _finite(quality: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in quality.items() if math.isfinite(value)}


def _examples(figures: RunFigures) -> str:
    if not figures.examples:
        return "the validation examples"
    return counted(figures.examples, "validation example")


def _saving(figures: RunFigures) -> str:
    """Return what the student saves, as a clause."""
    student, teacher = figures.student.cost, figures.teacher
    if student is None or teacher is None or teacher.cost is None or not student.parameters:
        return ""
    ratio = times(teacher.cost.parameters / student.parameters)
    several = teacher.modules > 1
    who = f"the {teacher.modules} teachers together have" if several else "the teacher has"
    return f", and {who} {ratio} the student's parameters"
