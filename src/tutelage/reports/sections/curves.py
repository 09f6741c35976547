"""Learning curves: of one run all that was logged, of several arms what can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from tutelage.reports import figures
from tutelage.reports.canvas import LOOKS
from tutelage.reports.page import Figure, Section
from tutelage.reports.record import FRACTIONS, ArmRecord, Curve, DecidingMetric, Record
from tutelage.reports.sections.outcome import MOST_DRAWN, look
from tutelage.reports.verdict import axis_label

_LOSSES = ("train/loss", "val/loss")
_FRACTIONS = ("val/accuracy", "val/label_accuracy", "val/agreement")
_ERRORS = ("val/mse", "val/teacher_mse")
_LEAD = "val/lead/"
_LABELS = {
    "train/loss": "training",
    "val/loss": "validation",
    "val/accuracy": "accuracy",
    "val/label_accuracy": "accuracy of labels",
    "val/agreement": "agreement with the teacher",
    "val/f1": "F1",
    "val/f1_micro": "micro F1",
    "val/f1_macro": "macro F1",
    "val/mse": "from the labels",
    "val/teacher_mse": "from the teacher",
}


def curves_section(record: Record) -> Section | None:
    """Return the metrics of each epoch over optimizer steps."""
    if record.is_run:
        found = _of_run(record, record.arm(record.primary).trials[0].curves)
        caption = "Values are logged once an epoch."
    else:
        found = [_of_arms(record, "train/loss")]
        if record.metric is not None:
            found.insert(0, _of_arms(record, f"val/{record.metric.name}", record.metric))
        caption = "Lines are means over seeds; shading spans the lowest to the highest seed."
    drawn = tuple(figure for figure in found if figure is not None)
    return Section("Learning curves", figures=drawn, caption=caption) if drawn else None


def _of_run(record: Record, curves: dict[str, Curve]) -> list[Figure | None]:
    """Return all curves, those that belong together in one figure."""
    terms = [key for key in curves if key.startswith("train/") and key != "train/loss"]
    several = "val/label_accuracy" in curves
    fractions = tuple(f"val/{name}" for name in FRACTIONS if record.is_fraction(name))
    of_labels = tuple(key for key in fractions if key not in _FRACTIONS)
    by_domain = _by_domain(list(curves))
    leads = [key for key in curves if key.startswith(_LEAD)]
    known = {*_LOSSES, *_FRACTIONS, *of_labels, *_ERRORS, *leads}
    known |= {key for group in by_domain.values() for key in group}
    own = [key for key in curves if key.startswith("val/") and key not in known]
    on_val, counted = "On validation data.", "labels" if several else "examples"
    counted = "tokens" if "val/perplexity" in curves else counted
    groups = [
        (_LOSSES, "Loss", "loss", "The training loss is averaged over each epoch."),
        (terms if len(terms) > 1 else (), "Loss terms", "training loss", "Before weighting."),
        (_FRACTIONS, "Quality on validation data", f"% of {counted}",
         f"Fraction of {counted} whose prediction is the label's, or the teacher's."),
        (of_labels, "Precision and recall on validation data", "%", "Summaries of both."),
        (_ERRORS, "Error on validation data", "mean squared error",
         "Mean squared distance from labels and teacher."),
        *(((key,), _name(key), _name(key), on_val) for key in own),
        (leads, "Where the student is ahead", "lead over the teacher",
         "On validation data. A group above 0 is not distilled in the next epoch."),
        *((group, f"{_name(key).capitalize()} by domain",
           "% of examples" if key in _FRACTIONS else _name(key), "On the validation data of each.")
          for key, group in by_domain.items()),
    ]  # fmt: skip
    return [_grouped(record, curves, *group) for group in groups]


def _by_domain(keys: Sequence[str]) -> dict[str, list[str]]:
    """Return the metrics that are told by domain, `val/accuracy/photo`, by metric."""
    groups: dict[str, list[str]] = {}
    for key in keys:
        kind, *rest = key.split("/", 2)
        if kind == "val" and len(rest) > 1 and f"val/{rest[0]}" in keys:
            groups.setdefault(f"val/{rest[0]}", []).append(key)
    return groups


def _grouped(
    record: Record,
    curves: dict[str, Curve],
    keys: Sequence[str],
    title: str,
    y_label: str,
    caption: str,
) -> Figure | None:
    """Return a figure of the metrics that exist among those keys; None without any."""
    lines = [
        figures.Line(
            _LABELS.get(key, _name(key).rsplit("/", 1)[-1]),
            curves[key].steps,
            curves[key].values,
            look=1 + place % (len(LOOKS) - 1),
        )
        for place, key in enumerate(keys)
        if key in curves and curves[key].values
    ]
    if not lines:
        return None
    as_percent = record.is_fraction(keys[0].removeprefix("val/"))
    log = not as_percent and _spans_a_decade(lines)
    svg = figures.curves(lines, y_label, log=log, as_percent=as_percent)
    return Figure(svg, title, f"{caption} The scale is logarithmic." if log else caption)


def _of_arms(record: Record, key: str, metric: DecidingMetric | None = None) -> Figure | None:
    """Return one curve of all arms: the mean and the range over seeds."""
    lines = [
        _over_seeds(record, arm, key)
        for arm in record.arms[:MOST_DRAWN]
        if all(key in trial.curves for trial in arm.trials)
    ]
    if not lines:
        return None
    as_percent = metric is not None and metric.is_fraction
    log = metric is None and _spans_a_decade(lines)
    label = "training loss" if metric is None else axis_label(metric)
    svg = figures.curves(lines, label, log=log, as_percent=as_percent)
    title = "Training loss" if metric is None else "On validation data"
    note = "Arms have different losses: their heights cannot be compared." if metric is None else ""
    return Figure(svg, title, note)


def _spans_a_decade(lines: Sequence[figures.Line]) -> bool:
    values = [value for line in lines for value in line.values]
    return min(values) > 0 and max(values) > 10 * min(values)


def _over_seeds(record: Record, arm: ArmRecord, key: str) -> figures.Line:
    found = [trial.curves[key] for trial in arm.trials]
    # A step at which a seed has no finite value, or which it did not reach, is left out for all.
    steps = sorted(set.intersection(*(set(each.steps) for each in found)))
    rows = [dict(zip(each.steps, each.values, strict=True)) for each in found]
    passes = [[row[step] for row in rows] for step in steps]
    several = len(found) > 1
    return figures.Line(
        arm.name,
        steps,
        [fmean(values) for values in passes],
        [min(values) for values in passes] if several else None,
        [max(values) for values in passes] if several else None,
        look(record, arm.name),
    )


def _name(key: str) -> str:
    return key.split("/", 1)[1].replace("_", " ")
