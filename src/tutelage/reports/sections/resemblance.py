"""Fidelity to the teacher, overall and by class."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from tutelage.reports.figures import heat_map, shared_range
from tutelage.reports.numbers import NONE, significant
from tutelage.reports.page import Column, Figure, Section, Table
from tutelage.reports.record import ArmRecord, Record
from tutelage.reports.sections.outcome import first_column, over_seeds

_MOST_DRAWN = 16
_MORE_THAN_A_CLASS = (
    "A label names one class. A teacher also gives probabilities for all other classes, from which "
    "a student can learn more than from the label."
)
_OF_TEXTS = (
    "A text has one token at each place. A teacher also gives the probabilities of all others, "
    "from which a student can learn more than from the text."
)
_MORE_THAN_ANSWERS = (
    "A label is yes or no. A teacher also tells how probable it is, from which a student can learn "
    "more than from the label."
)


def resemblance_section(record: Record) -> Section | None:
    """Return fidelity to the teacher, and which classes look alike to teacher and student."""
    rows = tuple(row for row in map(_row, record.arms) if set(row[1:]) != {NONE})
    if record.teacher is None or not rows:
        return None
    data = "validation data" if record.is_run else "test data"
    columns = (
        first_column(record),
        Column("Agreement", "%, training data"),
        Column("Agreement", f"%, {data}"),
        Column("Mean KL", "nats, training data"),
        Column("Mean KL", f"nats, {data}"),
        Column("Similarity", "correlation between classes"),
    )
    more, note = _explained(record, data)
    if any(trial.train for arm in record.arms for trial in arm.trials):
        number = "128 texts" if record.tokens else "2,048 examples"
        note += f" Training data: up to {number}, spread evenly."
    maps = _maps(record)
    return Section(
        "Fidelity to the teacher",
        (more,),
        Table(
            "Fidelity of each arm to the teacher", columns, rows, note + over_seeds(record)
        ).without_empty(),
        maps,
        "Mean probability in per cent of each class (column) for examples of each class (row), "
        f"softened at T = {record.similarity_temperature:g}. Both figures share one logarithmic "
        "colour scale; the diagonal is not coloured."
        if maps
        else "",
    )


def _explained(record: Record, data: str) -> tuple[str, str]:
    """Return what there is to learn from a teacher, and what the numbers are."""
    if record.binary:
        return _MORE_THAN_ANSWERS, (
            "Agreement is the fraction of labels that student and teacher predict alike; KL is the "
            "divergence of the student's probability of a label from the teacher's at T = 1, the "
            "mean over labels."
        )
    unit, alike = ("tokens", "token") if record.tokens else ("examples", "class")
    note = (
        f"Agreement is the fraction of {unit} for which student and teacher predict the same "
        f"{alike}; KL is the divergence of the student's probabilities from the teacher's at T = 1"
    )
    if record.tokens:
        return _OF_TEXTS, f"{note}, the mean over tokens."
    return _MORE_THAN_A_CLASS, (
        f"{note}. Similarity is the correlation between student and teacher of the mean "
        f"probabilities of wrong classes, on {data} at T = {record.similarity_temperature:g}."
    )


def _row(arm: ArmRecord) -> tuple[str, ...]:
    def mean(values: Sequence[float], factor: float = 1.0) -> str:
        return significant(factor * fmean(values)) if values else NONE

    def train(name: str) -> list[float]:
        return [trial.train[name] for trial in arm.trials if name in trial.train]

    similarity = arm.similarity_correlation
    return (
        arm.name,
        mean(train("agreement"), 100),
        mean(arm.values("agreement"), 100),
        mean(train("kl")),
        mean(arm.values("kl")),
        NONE if similarity is None else f"{similarity:.3f}",
    )


def _maps(record: Record) -> tuple[Figure, ...]:
    primary, teacher = record.arm(record.primary), record.teacher
    theirs = () if teacher is None else teacher.similarity
    if not theirs or len(theirs) != len(primary.similarity) or len(theirs) > _MOST_DRAWN:
        return ()
    classes = list(map(record.class_name, range(len(theirs))))
    limits = shared_range(theirs, primary.similarity)
    student = "Student" if record.is_run else f"Student: {primary.name}"
    return tuple(
        Figure(heat_map(matrix, classes, limits, _in_words(title, matrix, classes)), title)
        for title, matrix in (("Teacher", theirs), (student, primary.similarity))
    )


def _in_words(title: str, matrix: Sequence[Sequence[float]], classes: Sequence[str]) -> str:
    """Describe a map in words: for each class the one that it resembles most."""
    likest = []
    for place, row in enumerate(matrix):
        if not any(row):  # of a class without examples
            continue
        others = [(value, other) for other, value in enumerate(row) if other != place]
        likest.append(f"{classes[place]}: {classes[max(others)[1]]}")
    return f"{title}, the class that each class resembles most. {', '.join(likest)}."
