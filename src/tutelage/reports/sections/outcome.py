"""Results of each arm and their uncertainty: as a whole, over a number, by domain and by class."""

from __future__ import annotations

import math
from statistics import fmean
from textwrap import fill

from tutelage.evaluation import Interval, mean_interval
from tutelage.reports.figures import (
    MOST_BARS,
    MOST_POINTS,
    Line,
    deltas,
    intervals,
    paired,
    residuals,
    series,
)
from tutelage.reports.numbers import NONE, count, counted, significant
from tutelage.reports.page import Cell, Column, Figure, Section, Table
from tutelage.reports.verdict import (
    against_control,
    axis_label,
    control_of,
    difference,
    ends,
    examples,
    metric_heading,
    metric_name,
    strongest,
)
from tutelage.results.record import ArmRecord, Comparison, DecidingMetric, PartDifference, Record
from tutelage.tasks import TASKS
from tutelage.tasks.metrics import STANDARD

MOST_DRAWN = 10

_OF_RESEMBLANCE = ("agreement", "kl", "acceptance_rate")  # which have sections of their own
_MOST_ROWS = 30


def outcome_sections(record: Record) -> tuple[Section | None, ...]:
    """Return the table of arms, the differences, and the lines over a number."""
    if record.metric is None:
        return ()
    return (
        _arms(record, record.metric),
        _differences(record, record.metric),
        _series(record, record.metric),
    )


def look(record: Record, name: str) -> int:
    """Return the number of an arm's look; 0 is the teacher's."""
    teacher = record.teacher is not None and name == record.teacher.name
    return 0 if teacher else 1 + [arm.name for arm in record.arms].index(name)


def spread(arm: ArmRecord, name: str) -> Interval | None:
    """Return the interval of an arm's metric: over seeds and examples, else over seeds alone.

    None where all seeds are equal, or one has no finite value.
    """
    found, values = arm.intervals.get(name), arm.values(name)
    if found is None and len(set(values)) > 1 and all(map(math.isfinite, values)):
        found = mean_interval(values)
    return found


def first_column(record: Record) -> Column:
    """Return the head of the column that names an arm, or a run's model."""
    return Column("Model" if record.is_run else "Arm", numeric=False)


def over_seeds(record: Record) -> str:
    """Return the end of a note that numbers are means; of a run they are not."""
    return "" if record.is_run else " Means over seeds."


def heading(name: str) -> Column:
    """Return the head of a metric's column."""
    if name in STANDARD:
        return Column(STANDARD[name].heading, STANDARD[name].unit)
    words = name.replace("_", " ")
    return Column(words[:1].upper() + words[1:])


def mean_text(
    values: tuple[float, ...], as_percent: bool, interval: Interval | None = None
) -> str | Cell:
    """Return the mean of a metric over seeds, with its interval; fractions in per cent."""
    if not values:
        return NONE
    factor = 100 if as_percent else 1
    mean = factor * fmean(values)
    if interval is None:
        return f"{mean:.2f}" if factor == 100 else significant(mean)  # noqa: PLR2004
    half = factor * interval.half_width
    text = f"{mean:.2f} ± {half:.2f}" if factor == 100 else (  # noqa: PLR2004
        f"{significant(mean)} ± {significant(half, 2)}"
    )  # fmt: skip
    return Cell(text, mean)


def _arms(record: Record, metric: DecidingMetric) -> Section:
    everyone = record.judged()
    extra = [
        name
        for name in record.arms[-1].metrics
        if name not in (metric.name, *_OF_RESEMBLANCE)
        and all(arm.values(name) for arm in record.arms)
    ]
    unit = ["%"] if metric.is_fraction else []
    unit += ["± 95 %"] if not record.is_run else []
    columns = (
        first_column(record),
        Column(metric_heading(metric), " ".join(unit)),
        Column("Difference", _against(record)),
        Column("95 % interval", "of the difference"),
        *map(heading, extra),
        Column("Steps"),
    )
    table = Table(
        "Metrics of each arm",
        columns,
        tuple(_row(record, arm, metric, extra) for arm in everyone.values()),
        _note(record),
        emphasis=list(everyone).index(record.primary),
    ).without_empty()
    return Section("Results", table=table)


def _row(
    record: Record, arm: ArmRecord, metric: DecidingMetric, extra: list[str]
) -> tuple[str | Cell, ...]:
    is_judged = arm is not record.teacher and not arm.is_control
    found = against_control(record, arm.name) if is_judged else None
    steps = arm.trials[0].steps
    return (
        arm.name,
        mean_text(arm.values(metric.name), metric.is_fraction, spread(arm, metric.name)),
        *((NONE, NONE) if found is None else _compared(found, found.corrected, metric)),
        *(
            mean_text(arm.values(name), record.is_fraction(name), spread(arm, name))
            for name in extra
        ),
        NONE if steps is None else count(steps),
    )


def _compared(
    found: Comparison, interval: Interval | None, metric: DecidingMetric
) -> tuple[Cell, str]:
    mean = fmean(found.differences)
    return Cell(difference(mean, metric, 2), mean), ends(interval, metric, 2)


def _against(record: Record) -> str:
    """Return what the arms are compared with."""
    control = strongest(record)
    if control is None:
        return ""
    own = any(arm.against is not None for arm in record.arms)
    return "against its control" if own else f"against “{control.name}”"


def _note(record: Record) -> str:
    note = TASKS[record.task].note_on(record.arm(record.primary).metrics)
    return f"{_how_measured(record)} {note}".rstrip()


def _how_measured(record: Record) -> str:
    if record.is_run:
        epoch = record.arm(record.primary).trials[0].best_epoch
        return (
            f"Measured on {examples(record)}. The student's weights are those of epoch {epoch}, "
            "selected on the same examples, so its metrics are slightly optimistic; held-out test "
            "data would give unbiased ones."
        )
    scores = TASKS[record.task].keeps_scores  # of which all metrics have intervals
    others = "" if scores else "; for metrics that are no means over examples, over seeds alone"
    val = record.examples.get("val")
    selection = f"All selection used {count(val)} validation examples; the" if val else "The"
    leaks = "are not held out (see the warning above)"
    return (
        f"± is the 95 % interval over {counted(len(record.seeds), 'seed')} and the test examples"
        f"{others}. The difference is the mean over pairs of equal seeds; above zero the arm is "
        f"better.{_corrected(record)} {selection} {examples(record)} "
        f"{leaks if record.leaks else 'were never used for selection'}. The marked arm "
        f"{record.chosen_by}."
    )


def _corrected(record: Record) -> str:
    """Return for what the intervals of the differences are corrected, as a sentence."""
    controls, others = len(record.controls), len(record.arms) - len(record.controls) - 1
    parts = []
    if controls > 1 and any(arm.against is None for arm in record.arms):
        parts.append(
            f"their upper ends for {controls} controls, of which the same examples select the best"
        )
    if others > 1:
        parts.append(f"those of the {others} arms that are not marked for their number")
    return f" Intervals of differences are corrected (Bonferroni): {'; '.join(parts)}." * bool(
        parts
    )


def _differences(record: Record, metric: DecidingMetric) -> Section | None:
    """Return the seeds joined by lines, and the differences with both kinds of interval."""
    if len(record.seeds) < 2:  # noqa: PLR2004 - nothing to join
        return None
    drawn = record.arms[:MOST_DRAWN]
    columns = [
        (_wrapped(arm.name), arm.values(metric.name), look(record, arm.name)) for arm in drawn
    ]
    label = f"{axis_label(metric)}, on test data"
    figures = [
        Figure(
            paired(columns, label, as_percent=metric.is_fraction),
            "Seed by seed",
            "A thin line joins the arms of one seed, which share initial weights and data order. "
            "Bars are means.",
        )
    ]
    found = [against_control(record, arm.name) for arm in record.arms if not arm.is_control]
    rows = [
        (each.arm, each.corrected, look(record, each.arm))
        for each in found
        if each is not None and each.corrected is not None
    ]
    if rows:
        unit = "points of " if metric.is_fraction else "gain in "
        figures.append(
            Figure(
                intervals(
                    rows,
                    f"{unit}{metric_name(metric)} {_against(record)}",
                    as_percent=metric.is_fraction,
                ),
                f"A{_against(record)[1:]}",
                "Mean difference of paired seeds with its 95 % interval over seeds and test "
                "examples, corrected as in the table of results. An interval that includes zero "
                "shows no difference.",
            )
        )
    return Section("Uncertainty", figures=tuple(figures), table=_comparisons(record, metric))


def _comparisons(record: Record, metric: DecidingMetric) -> Table | None:
    """Return every arm against every control, with the interval over seeds and examples."""
    if not record.comparisons:
        return None
    rows = tuple(
        (
            each.arm,
            each.other,
            *_compared(each, each.interval, metric),
            NONE if each.seeds_needed is None else count(each.seeds_needed),
        )
        for each in record.comparisons
    )
    columns = (
        Column("Arm", numeric=False),
        Column("Control", numeric=False),
        Column("Difference"),
        Column("95 % interval", "of the difference"),
        Column("Seeds needed", "power 80 %"),
    )
    return Table(
        "Every arm against every control",
        columns,
        rows,
        "Each interval is of one pair alone and not corrected for their number: to explore, not to "
        "conclude from. It covers both sources of chance: seeds (initialization and data order) "
        "and the choice of test examples (Howe 1974; see docs/studies.md). “Seeds needed” is "
        "the number of paired seeds that would show a difference of this size on these test "
        "examples with a power of 80 %; it is empty where more seeds alone would not.",
    )


def _series(record: Record, metric: DecidingMetric) -> Section | None:
    """Return the arms that stand along a number, as lines."""
    names = list(dict.fromkeys(arm.series for arm in record.arms if arm.series))
    if not names:
        return None
    lines = [_line(record, metric, name, 1 + place) for place, name in enumerate(names)]
    at = sorted({value for line in lines for value in line.x})
    svg = series(
        lines,
        record.axis or "value",
        axis_label(metric),
        log_x=at[0] > 0 and at[-1] > 10 * at[0],
        as_percent=metric.is_fraction,
    )
    caption = "Means over seeds; bars are their 95 % intervals."
    return Section(f"Along {record.axis or 'the sweep'}", figures=(Figure(svg, "", caption),))


def _line(record: Record, metric: DecidingMetric, name: str, number: int) -> Line:
    arms = sorted(
        (arm for arm in record.arms if arm.series == name and arm.at is not None),
        key=lambda arm: arm.at or 0.0,
    )
    found = [(arm.at or 0.0, arm.values(metric.name)) for arm in arms]
    ranges = [each for each in (spread(arm, metric.name) for arm in arms) if each is not None]
    whole = len(ranges) == len(found)
    return Line(
        name,
        [place for place, _ in found],
        [fmean(values) for _, values in found],
        [each.low for each in ranges] if whole else None,
        [each.high for each in ranges] if whole else None,
        number,
    )


def _wrapped(name: str) -> str:
    """Return a name as a column's label."""
    return fill(name, 10)


def parts_sections(record: Record) -> tuple[Section | None, ...]:
    """Return what changes class by class, the metrics of each domain, and the residuals."""
    table = _part_table(record, "domain")
    differences = None if table is None else Section("Differences by domain", table=table)
    return (_domains(record), differences, _classes(record), _missed(record))


def _classes(record: Record) -> Section | None:
    primary, control = record.arm(record.primary), control_of(record, record.primary)
    drawn = [
        _deltas(record, primary, other) for other in (control, record.teacher) if other is not None
    ]
    figures = tuple(figure for figure in drawn if figure is not None)
    table = _part_table(record, "class")
    part = "class" if table else TASKS[record.task].words.part
    title = f"{part.capitalize()} by {part}"
    return Section(title, figures=figures, table=table) if figures or table else None


def _part_table(record: Record, kind: str) -> Table | None:
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
    words = TASKS[record.task].words
    measure = words.measure
    caption = (
        f"{measure.capitalize()} of each {words.part}: the student's minus the other's, in points."
    )
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


def _missed(record: Record) -> Section | None:
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
