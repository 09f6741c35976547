"""What the teacher says besides the answer, and how much of it the students have taken up."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from tutelage.reports import Column, Figure, Section, Table
from tutelage.reports.figures import heat_map, shared_range
from tutelage.reports.numbers import NONE, significant
from tutelage.studies.results import ArmResult, StudyResults

_MOST_DRAWN = 16


def resemblance_section(results: StudyResults) -> Section | None:
    """Return fidelity on train and test, and which classes look alike to teacher and student."""
    if results.teacher is None:
        return None
    rows = tuple(row for row in map(_row, results.arms) if set(row[1:]) != {NONE})
    if not rows:
        return None
    columns = (
        Column("Arm", numeric=False),
        Column("Agreement", "%, training data"),
        Column("Agreement", "%, test data"),
        Column("Mean KL", "nats, training data"),
        Column("Mean KL", "nats, test data"),
        Column("Likeness", "of class similarities"),
    )
    table = Table(
        "How near each arm is to the teacher",
        columns,
        rows,
        "Agreement is the share of examples that student and teacher give the same class; KL is "
        "the divergence of the student's probabilities from the teacher's at T = 1. The likeness "
        "is the correlation of what student and teacher give to wrong classes, class by class, on "
        f"test data at T = {results.similarity_temperature:g}. Training data: up to 2,048 "
        "examples, spread evenly. Means over seeds.",
    )
    return Section(
        "What it has learnt of the teacher",
        (
            "A label names one class. A teacher also says which others an example resembles, and "
            "that is what a student can learn from it beyond the label.",
        ),
        table,
        _maps(results),
        _caption(results),
    )


def _row(arm: ArmResult) -> tuple[str, ...]:
    def train(name: str, factor: float = 1.0) -> str:
        found = [trial.train[name] for trial in arm.trials if name in trial.train]
        return significant(factor * fmean(found)) if found else NONE

    def test(name: str, factor: float = 1.0) -> str:
        found = arm.values(name)
        return significant(factor * fmean(found)) if found else NONE

    likeness = arm.similarity_correlation
    return (
        arm.name,
        train("agreement", 100),
        test("agreement", 100),
        train("kl"),
        test("kl"),
        NONE if likeness is None else f"{likeness:.3f}",
    )


def _maps(results: StudyResults) -> tuple[Figure, ...]:
    subject, teacher = results.arm(results.subject), results.teacher
    theirs = () if teacher is None else teacher.similarity
    if not theirs or len(theirs) != len(subject.similarity) or len(theirs) > _MOST_DRAWN:
        return ()
    classes = results.class_names or tuple(map(str, range(len(theirs))))
    limits = shared_range(theirs, subject.similarity)
    return tuple(
        Figure(heat_map(name, matrix, classes, limits, _said(title, matrix, classes)), title)
        for name, title, matrix in (
            ("alike-teacher", "Teacher", theirs),
            ("alike-student", f"Student: {subject.name}", subject.similarity),
        )
    )


def _caption(results: StudyResults) -> str:
    if not _maps(results):
        return ""
    return (
        "Mean probability in per cent that test examples of each class (row) are given for each "
        f"other class (column), softened at T = {results.similarity_temperature:g}; the "
        "logarithmic colour scale is the same in both. The diagonal is left without colour."
    )


def _said(title: str, matrix: Sequence[Sequence[float]], classes: Sequence[str]) -> str:
    """Say in words what a map shows: for each class the one it resembles most."""
    likest = []
    for place, row in enumerate(matrix):
        others = [(share, other) for other, share in enumerate(row) if other != place]
        likest.append(f"{classes[place]}: {classes[max(others)[1]]}")
    return f"{title}, the class that each class resembles most. {', '.join(likest)}."
