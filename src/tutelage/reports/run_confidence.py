"""The part of a run's page on what lies behind its figures: confidence, classes, misses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tutelage.reports.figures import ReliabilityLine, deltas, reliability_diagram, residuals
from tutelage.reports.figures.deltas import MOST
from tutelage.reports.figures.residuals import MOST_POINTS
from tutelage.reports.numbers import NONE, percent, significant
from tutelage.reports.page import Column, Figure, Section, Table
from tutelage.reports.run_record import Confidence, Misses, ModelFigures, RunFigures


def confidence_sections(figures: RunFigures) -> tuple[Section, ...]:
    """Return how sure classifiers are, or where values are missed, as far as it is known."""
    if figures.student.confidence is not None or figures.student.kl is not None:
        return (_confidence(figures),)
    if figures.misses:
        return (_misses(figures.misses),)
    return ()


def _confidence(figures: RunFigures) -> Section:
    models = {"Student": figures.student}
    if figures.teacher is not None:
        models = {"Teacher": figures.teacher, **models}
    columns = (
        Column("Model", numeric=False),
        Column("Negative log-likelihood", "nats, lower is better"),
        Column("Calibration error", "% (ECE)"),
        Column("KL from the teacher", "nats"),
    )
    table = Table(
        "Confidence of the models",
        columns,
        tuple(_row(name, model) for name, model in models.items()),
        "The log-likelihood is that of the labels. The calibration error is how far confidence and "
        "accuracy lie apart, averaged over bins of confidence; with few examples chance alone "
        "makes it larger than 0. The KL divergence says how far the student's class probabilities "
        "lie from the teacher's, at temperature 1.",
        emphasis=len(models) - 1,
        sortable=False,
    )
    known = {
        name: model.confidence for name, model in models.items() if model.confidence is not None
    }
    drawn = (_reliability(known), _by_class(known))
    return Section(
        "Confidence",
        _fidelity(figures),
        table,
        tuple(figure for figure in drawn if figure is not None),
    )


def _row(name: str, model: ModelFigures) -> tuple[str, ...]:
    confidence = model.confidence
    return (
        name,
        NONE if confidence is None else significant(confidence.nll),
        NONE if confidence is None else f"{100 * confidence.ece:.1f}",
        NONE if model.kl is None else significant(model.kl),
    )


def _fidelity(figures: RunFigures) -> tuple[str, ...]:
    agreement, kl = figures.student.quality.get("agreement"), figures.student.kl
    if agreement is None or kl is None:
        return ()
    return (
        f"Student and teacher name the same class for {percent(agreement)} of the examples, and "
        f"the student's probabilities are {significant(kl)} nats from the teacher's on average.",
    )


def _reliability(known: Mapping[str, Confidence]) -> Figure | None:
    if not known:
        return None
    lines = [
        ReliabilityLine(name, *_columns(confidence), look=1 if name == "Student" else 0)
        for name, confidence in known.items()
    ]
    return Figure(
        reliability_diagram("run-reliability", lines),
        "As sure as right?",
        "Examples in bins by how sure the model is of its answer, and how often it is right there. "
        "On the dashed line it is as sure as it is right; below it, too sure; above it, not sure "
        "enough. The larger a mark, the more examples.",
    )


def _columns(confidence: Confidence) -> Any:
    return zip(*confidence.bins, strict=True)


def _by_class(known: Mapping[str, Confidence]) -> Figure | None:
    """Return the student's accuracy less its teacher's, class by class."""
    if "Teacher" not in known or not known["Student"].by_class:
        return None
    ours, theirs = known["Student"].by_class, known["Teacher"].by_class
    classes = sorted(ours.keys() & theirs.keys())
    caption = "Each class's accuracy: what the student has more, or less, than its teacher."
    if len(classes) > MOST:
        caption += (
            f" Of {len(classes)} classes, these are the {MOST // 2} that lose most and the "
            f"{MOST // 2} that gain most."
        )
    svg = deltas(
        "run-classes",
        [str(each) for each in classes],
        [theirs[each] for each in classes],
        [ours[each] for each in classes],
        "accuracy, student less teacher, points",
    )
    return Figure(svg, "Class by class", caption)


def _misses(misses: tuple[Misses, ...]) -> Section:
    several = len(misses) > 1
    figures = tuple(
        Figure(
            residuals(f"run-misses-{place}", each.true, each.predicted),
            f"Output {place}" if several else "Predicted less true",
        )
        for place, each in enumerate(misses, start=1)
    )
    caption = (
        "What the student predicts too much (above the dashed line) or too little (below it), on "
        "validation data. A slope says that it holds back: too much where the true value is low, "
        "too little where it is high."
    )
    if max(len(each.true) for each in misses) > MOST_POINTS:
        caption += " The area of a square stands for the number of examples there."
    return Section("Where it misses", figures=figures, caption=caption)
