"""Calibration: confidence against accuracy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean

from tutelage.evaluation import Calibration
from tutelage.reports.figures import reliability_diagram
from tutelage.reports.numbers import NONE, significant
from tutelage.reports.page import Column, Figure, Section, Table
from tutelage.reports.record import Record
from tutelage.reports.sections.outcome import look, over_seeds
from tutelage.reports.verdict import control_of

_NOTE = (
    "ECE, the expected calibration error, is the mean distance of confidence and accuracy over "
    "15 bins (Guo et al. 2017); with few examples chance alone makes it larger than 0. NLL is the "
    "negative log-likelihood of the true class. Lower is better for both."
)
_NOTE_OF_BINARY = (
    "ECE, the expected calibration error, is the mean distance of the probability that a label is "
    "true and the fraction of true ones over 15 bins, all labels together; with few examples "
    "chance alone makes it larger than 0, and rare labels keep it small. NLL is the mean negative "
    "log-likelihood of a label. Lower is better for both."
)
_NOTE_OF_TOKENS = (
    "By token. ECE, the expected calibration error, is the mean distance of the probability of the "
    "most probable token and the fraction of tokens that are that one, over 15 bins (Guo et al. "
    "2017). NLL is the negative log-likelihood of the text's token, the logarithm of the "
    "perplexity. Lower is better for both."
)
_CONFIDENCE = ("confidence", "accuracy")
_PROBABILITY = ("probability of a label", "fraction of true labels")
_SCALING = (
    " Temperature scaling divides the logits by one number T, fitted on validation data; it "
    "changes no prediction."
)


def confidence_section(record: Record) -> Section | None:
    """Return calibration before and after temperature scaling, and the reliability diagram."""
    known = [
        (name, [trial.calibration for trial in arm.trials if trial.calibration is not None])
        for name, arm in record.judged().items()
    ]
    rows = [(name, found) for name, found in known if found]
    if not rows:
        return None
    fitted = any(each.temperature is not None for _, found in rows for each in found)
    columns = (
        Column("Model", numeric=False),
        Column("ECE", "%"),
        Column("NLL", "nats"),
        Column("Fitted T", "on validation data"),
        Column("ECE", "%, at fitted T"),
        Column("NLL", "nats, at fitted T"),
    )
    note = _NOTE_OF_TOKENS if record.tokens else _NOTE
    note = _NOTE_OF_BINARY if record.binary else note
    table = Table(
        "Calibration of the models",
        columns,
        tuple(_row(name, found) for name, found in rows),
        note + (_SCALING if fitted else "") + over_seeds(record),
    ).without_empty()
    return Section("Calibration", table=table, figures=_diagram(record))


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


def _diagram(record: Record) -> tuple[Figure, ...]:
    control, primary = control_of(record, record.primary), record.arm(record.primary)
    lines = [
        (arm.name, found, look(record, arm.name))
        for arm in (record.teacher, control, primary)
        if arm is not None and (found := arm.reliability) is not None
    ]
    if not lines:
        return ()
    text = (
        "On the dashed line labels are true as often as the model says; below it they are true "
        "less often. Larger marks stand for more labels."
        if record.binary
        else "On the dashed line accuracy equals confidence; below it the model is overconfident. "
        "Larger marks stand for more examples."
    )
    names = _PROBABILITY if record.binary else _CONFIDENCE
    return (
        Figure(
            reliability_diagram(lines, names),
            "True labels by probability" if record.binary else "Accuracy by confidence",
            text + ("" if record.is_run else " All seeds together."),
        ),
    )
