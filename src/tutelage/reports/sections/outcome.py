"""Results of each arm and their uncertainty: as a whole, over a number, by domain and by class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean
from typing import TypeVar

from tutelage.evaluation import Interval, mean_interval
from tutelage.reports.figures import (
    MOST_POINTS,
    Line,
    deltas,
    intervals,
    paired,
    residuals,
    series,
)
from tutelage.reports.numbers import NONE, count, counted, significant
from tutelage.reports.page import Figure, Row, Section, Table
from tutelage.reports.verdict import (
    against_control,
    axis_label,
    difference,
    ends,
    examples,
    metric_name,
    possible,
)
from tutelage.results.record import ArmRecord, Comparison, DecidingMetric, PartDifference, Record
from tutelage.tasks import TASKS
from tutelage.tasks.metrics import STANDARD

_MOST_DRAWN = 10
_Thing = TypeVar("_Thing")

_OF_RESEMBLANCE = ("agreement", "kl", "acceptance_rate")  # which have sections of their own
_MOST_ROWS, _MOST_BARS = 30, 30
_HALF = 0.5  # an interval of a fraction that is wider to one side tells nothing


def few_of(
    every: Sequence[_Thing], always: Sequence[_Thing | None], most: int, what: str
) -> tuple[list[_Thing], str]:
    """Return at most so many things, in their order, some `always`; and the end of a caption."""
    chosen = sorted(every, key=lambda each: each not in always)[:most]
    left = counted(len(every) - len(chosen), f"further {what}")
    caption = f" Not drawn: {left}." if len(chosen) < len(every) else ""
    return [each for each in every if each in chosen], caption


def arms_drawn(record: Record) -> tuple[list[ArmRecord], str]:
    """Return the arms that figures show, with the primary one and its control: see `few_of`."""
    primary = record.arm(record.primary)
    return few_of(record.arms, (primary, record.control_of(primary.name)), _MOST_DRAWN, "arm")


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


def over_seeds(record: Record) -> str:
    """Return the end of a note that numbers are means; of a run they are not."""
    return " Means over seeds." if record.seeds else ""


def metric_title(name: str) -> str:
    """Return a metric's name with a capital letter."""
    if name in STANDARD:
        return STANDARD[name].heading
    words = name.replace("_", " ")
    return words[:1].upper() + words[1:]


def heading(record: Record, name: str) -> str:
    """Return the head of a metric's column: its title, and the unit of a standard one."""
    known = STANDARD.get(name)
    # A metric of the user's may have the name of a standard one, and other values.
    unit = known.unit if known and known.fraction == record.is_fraction(name) else ""
    return f"{metric_title(name)}\n{unit}" if unit else metric_title(name)


def mean_text(record: Record, arm: ArmRecord, name: str, decimals: int = 2) -> str:
    """Return the mean of an arm's metric over seeds, with its interval; fractions in per cent."""
    values, found, scale = arm.values(name), spread(arm, name), record.scale(name)
    if not values:
        return NONE
    if found is None or _is_too_wide(record, name, found):
        return value_text(record, name, fmean(values), decimals)
    half = scale * found.half_width
    width = f"{half:.{decimals}f}" if record.is_fraction(name) else significant(half, 2)
    return f"{value_text(record, name, fmean(values), decimals)} ± {width}"


def left_out(record: Record, *names: str) -> str:
    """Return the end of a note where an interval of one of these metrics is left out."""
    arms = record.judged().values()
    found = any(_is_too_wide(record, name, spread(arm, name)) for name in names for arm in arms)
    return " An interval that is too wide to tell anything is left out." if found else ""


def _is_too_wide(record: Record, name: str, found: Interval | None) -> bool:
    return found is not None and record.is_fraction(name) and found.half_width > _HALF


def value_text(record: Record, name: str, value: float, decimals: int = 2) -> str:
    """Return a metric's value in a table: a fraction in per cent."""
    return f"{100 * value:.{decimals}f}" if record.is_fraction(name) else significant(value)


def outcome_sections(record: Record) -> tuple[Section | None, ...]:
    """Return the tables of arms, the differences, and the lines over a number."""
    metric = record.metric
    if metric is None:
        return ()
    extra = [
        name
        for name in record.arms[-1].metrics
        if name not in (metric.name, *_OF_RESEMBLANCE)
        and all(arm.values(name) for arm in record.arms)
    ]
    # A run has no differences: all of its metrics fit into one table.
    beside, apart = ([], extra) if record.comparisons else (extra, [])
    emphasis = list(record.judged()).index(record.primary)
    rows = [_row(record, arm, metric, beside) for arm in record.judged().values()]
    others = [
        [
            ("Model", arm.name),
            *((heading(record, name), mean_text(record, arm, name)) for name in apart),
        ]
        for arm in record.judged().values()
    ]
    note = "± is the 95 % interval; of metrics that are not example means, over seeds alone."
    results = Table(
        "Metrics of each model",
        rows,
        _note(record) + left_out(record, metric.name, *beside),
        emphasis,
    )
    rest = Table("Other metrics of each model", others, note + left_out(record, *apart), emphasis)
    return (
        Section("Results", table=results),
        Section("Other metrics", table=rest) if apart else None,
        _differences(record, metric),
        _series(record, metric),
    )


def _row(record: Record, arm: ArmRecord, metric: DecidingMetric, beside: list[str]) -> Row:
    is_judged = arm is not record.teacher and not arm.is_control
    found = against_control(record, arm.name) if is_judged else None
    unit = "% " * metric.is_fraction + "± 95 %" * bool(record.seeds)
    steps = arm.trials[0].steps
    mean, interval = (NONE, NONE) if found is None else _compared(found, found.corrected, metric)
    return [
        ("Model", arm.name),
        (f"{metric_title(metric.name)}\n{unit}", mean_text(record, arm, metric.name)),
        (f"Difference\n{_against(record)}", mean),
        ("95 % interval\nof the difference", interval),
        *((heading(record, name), mean_text(record, arm, name)) for name in beside),
        ("Steps", NONE if steps is None else count(steps)),
    ]


def _compared(
    found: Comparison, interval: Interval | None, metric: DecidingMetric
) -> tuple[str, str]:
    return difference(fmean(found.differences), metric, 2), ends(interval, metric, 2)


def _against(record: Record) -> str:
    """Return what the arms are compared with."""
    control = record.strongest_control()
    if control is None:
        return ""
    own = any(arm.against is not None for arm in record.arms)
    return "against its control" if own else f"against “{control.name}”"


def _note(record: Record) -> str:
    """Return how the models were measured, and what the task says of the metrics."""
    primary = record.arm(record.primary)
    note = TASKS[record.task].note_on(primary.metrics)
    if record.is_run:
        return (
            f"Measured on {examples(record)}. The student's weights are those of epoch "
            f"{primary.trials[0].best_epoch}, selected on the same examples, so its metrics are "
            f"slightly optimistic; held-out test data would give unbiased ones. {note}"
        ).rstrip()
    controls, others = len(record.controls), len(record.arms) - len(record.controls) - 1
    corrected = []
    if controls > 1 and any(arm.against is None for arm in record.arms):
        corrected.append(
            f"their upper ends for {controls} controls, of which the same examples select the best"
        )
    if others > 1:
        corrected.append(f"those of the {others} arms that are not marked for their number")
    val = record.examples.get("val")
    selection = f"All selection used {count(val)} validation examples; the" if val else "The"
    leaks = "are not held out (see the warning above)"
    sentences = (
        f"± is the 95 % interval over {counted(len(record.seeds), 'seed')} and the test examples.",
        "The difference is the mean over pairs of equal seeds; above zero the model is better.",
        f"Intervals of differences are corrected (Bonferroni): {'; '.join(corrected)}."
        if corrected
        else "",
        f"{selection} {examples(record)} "
        f"{leaks if record.leaks else 'were never used for selection'}.",
        f"The marked arm {record.chosen_by}.",
        note,
    )
    return " ".join(filter(None, sentences))


def _differences(record: Record, metric: DecidingMetric) -> Section | None:
    """Return the seeds joined by lines, and the differences with both kinds of interval."""
    if len(record.seeds) < 2:  # noqa: PLR2004 - nothing to join
        return None
    arms, rest = arms_drawn(record)
    columns = [
        (arm.name, [metric.scale * each for each in arm.values(metric.name)],
         look(record, arm.name))
        for arm in arms
    ]  # fmt: skip
    figures = [
        Figure(
            paired(columns, f"{axis_label(metric)}, on test data"),
            "Seed by seed",
            "A thin line joins the arms of one seed, which share initial weights and data order. "
            f"Bars are means.{rest}",
        )
    ]
    found = [against_control(record, arm.name) for arm in record.arms if not arm.is_control]
    rows = [
        (each.arm, _scaled(each.corrected, metric), look(record, each.arm))
        for each in found
        if each is not None and each.corrected is not None
    ]
    if rows:
        unit = "points of " if metric.is_fraction else "gain in "
        figures.append(
            Figure(
                intervals(rows, f"{unit}{metric_name(metric)} {_against(record)}"),
                f"A{_against(record)[1:]}",
                "Mean difference of paired seeds with its 95 % interval over seeds and test "
                "examples, corrected as in the table of results. An interval that includes zero "
                "shows no difference.",
            )
        )
    return Section("Uncertainty", figures=tuple(figures), table=_comparisons(record, metric))


def _scaled(interval: Interval, metric: DecidingMetric) -> Interval:
    """Return the interval of a difference as it is drawn."""
    found = possible(interval, metric)
    return Interval(*(metric.scale * each for each in (found.mean, found.low, found.high)))


def _comparisons(record: Record, metric: DecidingMetric) -> Table | None:
    """Return every arm against every control, with the interval over seeds and examples."""
    rows = []
    for each in record.comparisons:
        mean, interval = _compared(each, each.interval, metric)
        rows.append(
            [
                ("Model", each.arm),
                ("Control", each.other),
                ("Difference", mean),
                ("95 % interval\nof the difference", interval),
                (
                    "Seeds needed\npower 80 %",
                    NONE if each.seeds_needed is None else count(each.seeds_needed),
                ),
            ]
        )
    note = (
        "Each interval is of one pair alone and not corrected for their number: to explore, not to "
        "conclude from. It covers both sources of chance: seeds (initialization and data order) "
        "and the choice of test examples (Howe 1974; see docs/studies.md)."
    )
    if any(each.seeds_needed is not None for each in record.comparisons):
        note += (
            " “Seeds needed” is the number of paired seeds that would show a difference of this "
            "size on these test examples with a power of 80 %; it is empty where more seeds alone "
            "would not."
        )
    return Table("Every arm against every control", rows, note) if rows else None


def _series(record: Record, metric: DecidingMetric) -> Section | None:
    """Return the arms that stand along a number, as lines."""
    names = list(dict.fromkeys(arm.series for arm in record.arms if arm.series))
    if not names:
        return None
    lines = [_line(record, metric, name, 1 + place) for place, name in enumerate(names)]
    at = sorted({value for line in lines for value in line.x})
    axis = record.axis or "value"
    svg = series(lines, axis, axis_label(metric), log_x=at[0] > 0 and at[-1] > 10 * at[0])
    caption = "Means over seeds; bars are their 95 % intervals." + left_out(record, metric.name)
    return Section(f"Along {record.axis or 'the sweep'}", figures=(Figure(svg, "", caption),))


def _line(record: Record, metric: DecidingMetric, name: str, number: int) -> Line:
    found = sorted(
        ((arm.at, arm) for arm in record.arms if arm.series == name and arm.at is not None),
        key=lambda pair: pair[0],
    )
    ranges = [interval_drawn(record, metric.name, arm) for _, arm in found]
    known = [each for each in ranges if each is not None]
    whole = len(known) == len(found)
    return Line(
        name,
        [place for place, _ in found],
        [metric.scale * fmean(arm.values(metric.name)) for _, arm in found],
        [low for low, _ in known] if whole else None,
        [high for _, high in known] if whole else None,
        number,
    )


def interval_drawn(record: Record, name: str, arm: ArmRecord) -> tuple[float, float] | None:
    """Return the ends of the interval of an arm's metric as they are drawn."""
    found, scale = spread(arm, name), record.scale(name)
    if found is None or _is_too_wide(record, name, found):
        return None
    low, high = scale * found.low, scale * found.high
    return (max(low, 0.0), min(high, 100.0)) if record.is_fraction(name) else (low, high)


def parts_sections(record: Record) -> tuple[Section | None, ...]:
    """Return the metrics of each domain, what changes class by class, and the residuals."""
    table = _part_table(record, "domain")
    differences = None if table is None else Section("Differences by domain", table=table)
    return (_domains(record), differences, _classes(record), _missed(record))


def _classes(record: Record) -> Section | None:
    control = record.control_of(record.primary)
    drawn = [_deltas(record, other) for other in (control, record.teacher) if other is not None]
    figures = tuple(figure for figure in drawn if figure is not None)
    table = _part_table(record, "class")
    part = "class" if table else TASKS[record.task].words.part
    title = f"{part.capitalize()} by {part}"
    return Section(title, figures=figures, table=table) if figures or table else None


def _part_table(record: Record, kind: str) -> Table | None:
    """Return the primary arm's differences by domain or class, the lowest first."""
    found = sorted((each for each in record.parts if each.kind == kind),
                   key=lambda each: each.difference)  # fmt: skip
    metric, control = record.metric, record.control_of(record.primary)
    if not found or metric is None or control is None:
        return None
    known = [
        NONE if _tells_nothing(each.interval, metric) else ends(each.interval, metric)
        for each in found[:_MOST_ROWS]
    ]
    rows = [
        [
            (kind.capitalize(), _named(record, each)),
            ("Test examples", NONE if each.examples is None else count(each.examples)),
            (f"Difference\nof {metric_name(metric)}", difference(each.difference, metric, 2)),
            (f"Interval\ncorrected for {len(found)}", interval),
        ]
        for each, interval in zip(found, known, strict=False)
    ]
    rest = f" Of {len(found)}, the {_MOST_ROWS} lowest." if len(found) > _MOST_ROWS else ""
    note = f"“{record.primary}” minus “{control.name}”, the lowest first.{rest}"
    if {*known} != {NONE}:
        plural = {"domain": "domains", "class": "classes"}[kind]
        note += (
            " The intervals (over seeds and test examples) all hold together with 95 %: each is "
            f"corrected for the number of {plural} looked at (Bonferroni)."
        )
        note += " “–” marks one that is too wide to tell anything." * (NONE in known)
    return Table(f"Differences by {kind}", rows, note)


def _tells_nothing(interval: Interval | None, metric: DecidingMetric) -> bool:
    """Tell whether an interval is missing, or holds nearly every difference that there can be."""
    if interval is None:
        return True
    found = possible(interval, metric)
    return metric.is_fraction and found.high - found.low > 2 * _HALF


def _named(record: Record, part: PartDifference) -> str:
    """Return the name of a domain or class; a class may be given by its id."""
    given = part.kind == "class" and part.name.isdecimal()
    return record.class_name(int(part.name)) if given else part.name


def _deltas(record: Record, theirs: ArmRecord) -> Figure | None:
    """Return the primary arm's recall of each class less another model's; None without two."""
    ours, words = record.arm(record.primary), TASKS[record.task].words
    common = sorted(ours.by_class.keys() & theirs.by_class.keys())
    if len(common) < 2:  # noqa: PLR2004 - nothing to compare
        return None
    changes = [
        (record.class_name(each), 100 * (ours.by_class[each] - theirs.by_class[each]))
        for each in common
        if math.isfinite(ours.by_class[each] - theirs.by_class[each])
    ]
    caption = (
        f"{words.measure.capitalize()} of each {words.part}: the student's minus the other's, in "
        "points."
    )
    if len(changes) > _MOST_BARS:
        half = _MOST_BARS // 2
        caption += (
            f" Of all {len(changes)}, these are the {half} that lose most and the {half} that gain "
            "most."
        )
        ordered = sorted(changes, key=lambda each: each[1])
        changes = ordered[:half] + ordered[-half:]
    svg = deltas(changes, f"points of {words.measure}, student minus {theirs.name}")
    other = "the teacher" if theirs is record.teacher else f"“{theirs.name}”"
    student = "The student" if record.is_run else f"“{ours.name}”"
    return Figure(svg, f"{student} against {other}", caption + over_seeds(record))


def _domains(record: Record) -> Section | None:
    """Return the metrics of each domain: of a run all, of a study's arms the deciding one."""
    primary = record.arm(record.primary)
    domains = {name: None for trial in primary.trials for name in trial.domains}
    if not domains:
        return None
    if record.seeds and record.metric is not None:
        cells = [(arm.name, arm, record.metric.name) for arm in record.judged().values()]
        caption = f"{axis_label(record.metric)}, for each domain".capitalize()
    else:
        found = primary.trials[0].domains.values()
        names = dict.fromkeys(name for metrics in found for name in metrics)
        cells = [(heading(record, name), primary, name) for name in names]
        caption = "Of the student on the validation examples of each domain"

    def row(domain: str | None) -> Row:
        text = [("Domain", domain or "All")]
        for head, arm, name in cells:
            trials = [
                trial.metrics if domain is None else trial.domains.get(domain, {})
                for trial in arm.trials
            ]
            known = [each[name] for each in trials if name in each]
            text.append((head, value_text(record, name, fmean(known)) if known else NONE))
        return text

    rows = [row(each) for each in (*domains, None)]
    note = f"{caption}.{over_seeds(record)}"
    table = Table(caption, rows, note, emphasis=len(domains))
    return Section("Domain by domain", table=table)


def _missed(record: Record) -> Section | None:
    control, primary = record.control_of(record.primary), record.arm(record.primary)
    drawn = [arm for arm in (control, primary) if arm is not None and arm.residuals]
    figures = []
    for arm in drawn:
        for place, each in enumerate(arm.residuals, start=1):
            output = f"output {place}" if len(arm.residuals) > 1 else "predicted minus true"
            title = output.capitalize() if record.is_run else f"“{arm.name}”, {output}"
            svg = residuals(each.true, each.predicted, look=look(record, arm.name))
            figures.append(Figure(svg, title))
    if not figures:
        return None
    caption = (
        "Above the dashed line the prediction is too high, below it too low"
        f"{' (first seed)' if record.seeds else ''}. A downward slope means that predictions are "
        "pulled towards the mean."
    )
    if max(len(each.true) for arm in drawn for each in arm.residuals) > MOST_POINTS:
        caption += f" {MOST_POINTS} of the examples are drawn, evenly spaced."
    return Section("Residuals", figures=tuple(figures), caption=caption)
