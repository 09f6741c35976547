"""Whether the models are as sure as they are right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean

from tutelage.evaluation import Calibration, Reliability
from tutelage.reports import Column, Figure, Section, Table
from tutelage.reports.figures import ReliabilityLine, reliability_diagram
from tutelage.reports.numbers import NONE, significant
from tutelage.studies.page.outcome import look
from tutelage.studies.results import StudyResults
from tutelage.studies.verdict import control_of

_NOTE = (
    "The calibration error is the mean distance between how sure a model is and how often it is "
    "right, over 15 bins (Guo et al. 2017); the likelihood loss is the mean negative "
    "log-likelihood of the true class. Means over seeds."
)
_SCALING = (
    " Temperature scaling divides the logits by one number, fitted on validation data: no answer "
    "changes by it."
)


def confidence_section(results: StudyResults) -> Section | None:
    """Return calibration before and after temperature scaling, and the reliability diagram."""
    rows = [
        (arm.name, [trial.calibration for trial in arm.trials if trial.calibration is not None])
        for arm in results.arms
    ]
    if results.teacher is not None and results.teacher.calibration is not None:
        rows.insert(0, ("teacher", [results.teacher.calibration]))
    rows = [(name, found) for name, found in rows if found]
    if not rows:
        return None
    fitted = any(each.temperature is not None for _, found in rows for each in found)
    columns = (
        Column("Model", numeric=False),
        Column("Calibration error", "%"),
        Column("Likelihood loss", "nats"),
        Column("Fitted T", "on validation data"),
        Column("Calibration error", "%, at fitted T"),
        Column("Likelihood loss", "nats, at fitted T"),
    )[: None if fitted else 3]
    table = Table(
        "Calibration on the test data",
        columns,
        tuple(_row(name, found)[: len(columns)] for name, found in rows),
        _NOTE + (_SCALING if fitted else ""),
    )
    return Section("Is it as sure as it is right?", table=table, figures=_diagram(results))


def _row(name: str, found: Sequence[Calibration]) -> tuple[str, ...]:
    def mean(read: Callable[[Calibration], float | None], factor: float = 1.0) -> str:
        values = [read(each) for each in found]
        known = [factor * value for value in values if value is not None]
        return significant(fmean(known)) if len(known) == len(found) else NONE

    return (
        name,
        mean(lambda each: each.ece, 100),
        mean(lambda each: each.nll),
        mean(lambda each: each.temperature),
        mean(lambda each: each.scaled_ece, 100),
        mean(lambda each: each.scaled_nll),
    )


def _diagram(results: StudyResults) -> tuple[Figure, ...]:
    control, subject = control_of(results, results.subject), results.arm(results.subject)
    lines = [
        _line(name, found, number)
        for name, found, number in (
            ("teacher", results.teacher and results.teacher.reliability, 0),
            (control.name, control.reliability, look(results, control.name))
            if control
            else ("", None, 1),
            (subject.name, subject.reliability, look(results, subject.name)),
        )
        if found is not None
    ]
    if not lines:
        return ()
    return (
        Figure(
            reliability_diagram("reliability", lines),
            "How often right, for how sure",
            "On the dashed line a model is right as often as it says; below it, it is too sure. "
            "The larger a mark, the more test examples it stands for. All seeds together.",
        ),
    )


def _line(name: str, found: Reliability, number: int) -> ReliabilityLine:
    return ReliabilityLine(name, found.confidence, found.accuracy, found.share, number)
