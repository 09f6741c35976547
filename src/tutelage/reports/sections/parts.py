"""Results by class, by domain, and the residuals of values."""

from __future__ import annotations

from statistics import fmean

from tutelage.reports.figures import MOST_BARS, MOST_POINTS, deltas, residuals
from tutelage.reports.numbers import NONE, count
from tutelage.reports.page import Cell, Column, Figure, Section, Table
from tutelage.reports.record import ArmRecord, DecidingMetric, PartDifference, Record
from tutelage.reports.sections.outcome import heading, look, mean_text, over_seeds
from tutelage.reports.verdict import (
    control_of,
    difference,
    ends,
    metric_heading,
    metric_name,
)

_MOST_ROWS = 30


def parts_sections(record: Record) -> tuple[Section | None, ...]:
    """Return what changes class by class, the metrics of each domain, and the residuals."""
    table = _differences(record, "domain")
    differences = None if table is None else Section("Differences by domain", table=table)
    return (_domains(record), differences, _classes(record), _residuals(record))


def _classes(record: Record) -> Section | None:
    primary, control = record.arm(record.primary), control_of(record, record.primary)
    drawn = [
        _deltas(record, primary, other) for other in (control, record.teacher) if other is not None
    ]
    figures = tuple(figure for figure in drawn if figure is not None)
    table = _differences(record, "class")
    title = "Label by label" if record.binary and not table else "Class by class"
    return Section(title, figures=figures, table=table) if figures or table else None


def _differences(record: Record, kind: str) -> Table | None:
    """Return the primary arm's differences by domain or class, the lowest first."""
    found = sorted((each for each in record.parts if each.kind == kind),
                   key=lambda each: each.difference)  # fmt: skip
    metric, control = record.metric, control_of(record, record.primary)
    if not found or metric is None or control is None:
        return None
    rows = tuple(
        (
            _named(record, each),
            NONE if each.examples is None else count(each.examples),
            Cell(difference(each.difference, metric, 2), each.difference),
            ends(each.interval, metric),
        )
        for each in found[:_MOST_ROWS]
    )
    columns = (
        Column(kind.capitalize(), numeric=False),
        Column("Test examples"),
        Column("Difference", f"of {metric_name(metric)}"),
        Column("Interval", f"corrected for {len(found)}"),
    )
    rest = f" Of {len(found)}, the {_MOST_ROWS} lowest." if len(found) > _MOST_ROWS else ""
    plural = {"domain": "domains", "class": "classes"}[kind]
    note = (
        f"“{record.primary}” minus “{control.name}”, the lowest first.{rest} The intervals (over "
        f"seeds and test examples) all hold together with 95 %: each is corrected for the number "
        f"of {plural} looked at (Bonferroni)."
    )
    return Table(f"Differences by {kind}", columns, rows, note).without_empty()


def _named(record: Record, part: PartDifference) -> str:
    """Return the name of a domain or class; a class may be given by its id."""
    given = part.kind == "class" and part.name.isdecimal()
    return record.class_name(int(part.name)) if given else part.name


def _deltas(record: Record, ours: ArmRecord, theirs: ArmRecord) -> Figure | None:
    common = sorted(ours.by_class.keys() & theirs.by_class.keys())
    if len(common) < 2:  # noqa: PLR2004 - nothing to compare
        return None
    measure, part = ("average precision", "label") if record.binary else ("recall", "class")
    caption = f"{measure.capitalize()} of each {part}: the student's minus the other's, in points."
    if len(common) > MOST_BARS:
        caption += (
            f" Of all {len(common)}, these are the {MOST_BARS // 2} that lose most and the "
            f"{MOST_BARS // 2} that gain most."
        )
    svg = deltas(
        list(map(record.class_name, common)),
        [theirs.by_class[each] for each in common],
        [ours.by_class[each] for each in common],
        f"points of {measure}, student minus {theirs.name}",
    )
    other = "the teacher" if theirs is record.teacher else f"“{theirs.name}”"
    student = "The student" if record.is_run else f"“{ours.name}”"
    return Figure(svg, f"{student} against {other}", caption + over_seeds(record))


def _domains(record: Record) -> Section | None:
    names, metric = list(record.arm(record.primary).trials[0].domains), record.metric
    if names and record.is_run:
        return Section("Domain by domain", table=_domains_of_run(record, names).without_empty())
    if not names or metric is None:
        return None
    table = _domains_of_arms(record, names, metric)
    return Section("Domain by domain", table=table.without_empty())


def _domains_of_arms(record: Record, names: list[str], metric: DecidingMetric) -> Table:
    rows = tuple(
        (arm.name, *(_domain(record, arm, name, metric.name) for name in names))
        for arm in record.judged().values()
    )
    columns = (Column("Arm", numeric=False), *(Column(name) for name in names))
    unit = ", %" if metric.is_fraction else ""
    caption = f"{metric_heading(metric)}{unit}, for each domain"
    return Table(caption, columns, rows, f"{caption}.{over_seeds(record)}")


def _domains_of_run(record: Record, names: list[str]) -> Table:
    student = record.arm(record.primary)
    trial = student.trials[0]
    metrics = list(dict.fromkeys(each for found in trial.domains.values() for each in found))
    rows = [(name, *(_domain(record, student, name, each) for each in metrics)) for name in names]
    whole = {each: trial.curves.get(f"val/{each}") for each in metrics}
    at = {each: dict(zip(curve.steps, curve.values, strict=True)) if curve else {}
          for each, curve in whole.items()}  # fmt: skip
    steps = trial.curves["train/loss"].steps
    step = steps[(trial.best_epoch or len(steps)) - 1]
    overall = (
        mean_text((at[each][step],), record.is_fraction(each)) if step in at[each] else NONE
        for each in metrics
    )
    note = f"Of the student on the validation examples of each domain, at epoch {trial.best_epoch}."
    columns = (Column("Domain", numeric=False), *map(heading, metrics))
    return Table("Metrics by domain", columns, (*rows, ("All", *overall)), note, emphasis=len(rows))


def _domain(record: Record, arm: ArmRecord, domain: str, metric: str) -> str | Cell:
    found = [trial.domains.get(domain, {}).get(metric) for trial in arm.trials]
    known = [each for each in found if each is not None]
    return mean_text((fmean(known),), record.is_fraction(metric)) if known else NONE


def _residuals(record: Record) -> Section | None:
    control, primary = control_of(record, record.primary), record.arm(record.primary)
    drawn = [arm for arm in (control, primary) if arm is not None and arm.residuals]
    figures = []
    for arm in drawn:
        for place, each in enumerate(arm.residuals, start=1):
            output = f"output {place}" if len(arm.residuals) > 1 else "Predicted minus true"
            title = output.capitalize() if record.is_run else f"“{arm.name}”, {output.lower()}"
            svg = residuals(each.true, each.predicted, look=look(record, arm.name))
            figures.append(Figure(svg, title))
    if not figures:
        return None
    caption = (
        "Above the dashed line the prediction is too high, below it too low"
        f"{'' if record.is_run else ' (first seed)'}. A downward slope means that predictions are "
        "pulled towards the mean."
    )
    if max(len(each.true) for arm in drawn for each in arm.residuals) > MOST_POINTS:
        caption += " The area of a square is proportional to the number of examples in it."
    return Section("Residuals", figures=tuple(figures), caption=caption)
