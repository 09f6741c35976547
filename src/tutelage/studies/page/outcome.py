"""What each arm achieved, and how sure that is."""

from __future__ import annotations

from statistics import fmean

from tutelage.evaluation import Interval, mean_interval
from tutelage.reports import Cell, Column, Figure, Section, Table
from tutelage.reports.figures import Row, SeriesLine, intervals, paired, series
from tutelage.reports.numbers import NONE, count, significant
from tutelage.studies.results import ArmResult, Comparison, StudyResults
from tutelage.studies.verdict import (
    against_strongest,
    difference,
    figure_name,
    strongest,
)

MOST_DRAWN = 10


def outcome_sections(results: StudyResults) -> tuple[Section | None, ...]:
    """Return the table of arms, the figures of differences, and the lines over a number."""
    return (_arms(results), _differences(results), _series(results))


def look(results: StudyResults, name: str) -> int:
    """Return the number of an arm's look; 0 is the teacher's."""
    return 1 + [arm.name for arm in results.arms].index(name)


def spread(values: tuple[float, ...]) -> Interval | None:
    """Return the mean with its interval over seeds; None for a single one."""
    return mean_interval(values) if len(values) > 1 else None


def _arms(results: StudyResults) -> Section:
    control, figure = strongest(results), results.figure
    names = [arm.name for arm in results.arms]
    against = _against(results)
    extra = [name for name in _figures(results) if name != figure.name]
    columns = (
        Column("Arm", numeric=False),
        Column(figure_name(figure).capitalize(), _spread_unit(results)),
        *((Column("Difference", against), Column("95 % interval", "of the difference"))
          if control else ()),
        *(Column(_heading(name), _unit(name)) for name in extra),
        Column("Steps"),
    )  # fmt: skip
    rows = [_row(results, arm, extra, control is not None) for arm in results.arms]
    if results.teacher is not None:
        rows.insert(0, _teacher_row(results, extra, control is not None))
    offset = len(rows) - len(names)
    table = Table(
        "Each arm's figures on the test data",
        columns,
        tuple(rows),
        _note(results),
        emphasis=offset + names.index(results.subject),
    )
    return Section("What each arm achieved", table=table)


def _spread_unit(results: StudyResults) -> str:
    unit = "%" if results.figure.is_share else ""
    return f"{unit} ± 95 %".strip() if len(results.seeds) > 1 else unit


def _against(results: StudyResults) -> str:
    """Say what the arms are compared with."""
    control = strongest(results)
    if control is None:
        return ""
    own = any(arm.against is not None for arm in results.arms)
    return "against its control" if own else f"against “{control.name}”"


def _figures(results: StudyResults) -> list[str]:
    """Return the figures that every arm has, without those that have a section of their own."""
    first, *others = (arm.trials[0].figures for arm in results.arms)
    return [
        name
        for name in first
        if name not in ("agreement", "kl") and all(name in other for other in others)
    ]


def _row(
    results: StudyResults, arm: ArmResult, extra: list[str], compared: bool
) -> tuple[str | Cell, ...]:
    values, figure = arm.values(results.figure.name), results.figure
    found = None if arm.is_control else against_strongest(results, arm.name)
    steps = arm.trials[0].steps
    return (
        arm.name,
        _mean(values, figure.is_share),
        *(_compared(found, results) if compared else ()),
        *(_mean(arm.values(name), _is_share(name)) for name in extra),
        NONE if steps is None else count(steps),
    )


def _teacher_row(results: StudyResults, extra: list[str], compared: bool) -> tuple[str | Cell, ...]:
    figures = {} if results.teacher is None else results.teacher.figures

    def value(name: str, share: bool) -> str:
        return _one(figures[name], share) if name in figures else NONE

    return (
        "teacher",
        value(results.figure.name, results.figure.is_share),
        *((NONE, NONE) if compared else ()),
        *(value(name, _is_share(name)) for name in extra),
        NONE,
    )


def _mean(values: tuple[float, ...], share: bool) -> str | Cell:
    if not values:
        return NONE
    mean, interval = fmean(values), spread(values)
    if interval is None:
        return _one(mean, share)
    half = interval.half_width
    text = f"{100 * mean:.2f} ± {100 * half:.2f}" if share else (
        f"{significant(mean)} ± {significant(half, 2)}"
    )  # fmt: skip
    return Cell(text, mean)


def _one(value: float, share: bool) -> str:
    return f"{100 * value:.2f}" if share else significant(value)


def _compared(found: Comparison | None, results: StudyResults) -> tuple[str | Cell, str]:
    if found is None:
        return NONE, NONE
    mean, figure = fmean(found.differences), results.figure
    if found.interval is None:
        return Cell(difference(mean, figure, 2), mean), NONE
    low, high = (difference(end, figure, 2) for end in (found.interval.low, found.interval.high))
    return Cell(difference(mean, figure, 2), mean), f"{low} to {high}"


def _note(results: StudyResults) -> str:
    text = (
        f"± is the 95 % interval of the mean over {len(results.seeds)} seeds (Student's t). The "
        "difference is that of the same seeds, signed so that more is better. "
        if len(results.seeds) > 1
        else ""
    )
    tests = count(results.examples["test"])
    if results.examples.get("val"):
        text += f"All choices rest on {count(results.examples['val'])} validation examples; the "
    else:
        text += "The "
    text += f"{tests} test examples chose nothing. The marked arm {results.chosen_by}."
    return text


def _differences(results: StudyResults) -> Section | None:
    """Return the seeds joined by lines, and the differences with both kinds of interval."""
    if len(results.seeds) < 2:  # noqa: PLR2004 - nothing to join
        return None
    figure, drawn = results.figure, results.arms[:MOST_DRAWN]
    factor = 100 if figure.is_share else 1
    columns = [(_wrapped(arm.name), arm.values(figure.name)) for arm in drawn]
    unit = "%" if figure.is_share else ""
    label = ", ".join(filter(None, (f"{figure_name(figure)} on test data", unit)))
    looks = [look(results, arm.name) for arm in drawn]
    figures = [
        Figure(
            paired("seeds", columns, label, looks, as_percent=figure.is_share),
            "Seed by seed",
            "A thin line joins one seed's arms: the same first weights, the same order of data. "
            "Bars are means.",
        )
    ]
    rows = _interval_rows(results, factor)
    if rows:
        figures.append(
            Figure(
                intervals("differences", rows, _difference_label(results)),
                f"A{_against(results)[1:]}",
                "Mean difference of paired seeds with its 95 % interval (Student's t, over seeds). "
                "Where it crosses the line, no difference is shown.",
            )
        )
    return Section("How sure that is", figures=tuple(figures), table=_bootstraps(results))


def _interval_rows(results: StudyResults, factor: int) -> list[Row]:
    found = [against_strongest(results, arm.name) for arm in results.arms if not arm.is_control]
    return [
        Row(
            each.arm,
            factor * fmean(each.differences),
            factor * each.interval.low,
            factor * each.interval.high,
            look(results, each.arm),
        )
        for each in found
        if each is not None and each.interval is not None
    ]


def _difference_label(results: StudyResults) -> str:
    unit = "points of " if results.figure.is_share else "gain in "
    return f"{unit}{figure_name(results.figure)} {_against(results)}"


def _bootstraps(results: StudyResults) -> Table | None:
    """Return every arm against every control, with the interval over seeds and examples."""
    figure = results.figure
    if not results.comparisons:
        return None
    rows = []
    for each in results.comparisons:
        ends = [
            NONE if one is None else (
                f"{difference(one.low, figure, 2)} to {difference(one.high, figure, 2)}"
            )
            for one in (each.interval, each.bootstrap)
        ]  # fmt: skip
        mean = fmean(each.differences)
        needed = NONE if each.seeds_needed is None else count(each.seeds_needed)
        cells = (each.arm, each.control, Cell(difference(mean, figure, 2), mean), *ends, needed)
        rows.append(cells)
    columns = (
        Column("Arm", numeric=False),
        Column("Control", numeric=False),
        Column("Difference"),
        Column("95 %", "over seeds"),
        Column("95 %", "seeds and examples"),
        Column("Seeds needed", "power 80 %"),
    )
    return Table(
        "Every arm against every control",
        columns,
        tuple(rows),
        "The interval over seeds (Student's t) speaks of other starts and orders on these test "
        "examples; the other (bootstrap) draws test examples anew as well, and so speaks of other "
        "examples too. So many seeds would find a difference of this size with a power of 80 %.",
    )


def _series(results: StudyResults) -> Section | None:
    """Return the arms that stand along a number, as lines."""
    names = list(dict.fromkeys(arm.series for arm in results.arms if arm.series))
    if not names:
        return None
    lines = [_line(results, name, 1 + place) for place, name in enumerate(names)]
    at = sorted({value for line in lines for value in line.x})
    log = at[0] > 0 and at[-1] > 10 * at[0]
    unit = ", %" if results.figure.is_share else ""
    label = f"{figure_name(results.figure)}{unit}"
    svg = series("along", lines, results.axis or "value", label, log_x=log,
                 as_percent=results.figure.is_share)  # fmt: skip
    caption = "Means over seeds; bars are their 95 % intervals."
    return Section(f"Along {results.axis or 'the sweep'}", figures=(Figure(svg, "", caption),))


def _line(results: StudyResults, name: str, number: int) -> SeriesLine:
    arms = sorted(
        (arm for arm in results.arms if arm.series == name and arm.at is not None),
        key=lambda arm: arm.at or 0.0,
    )
    found = [(arm.at or 0.0, arm.values(results.figure.name)) for arm in arms]
    means = [fmean(values) for _, values in found]
    ranges = [spread(values) for _, values in found]
    whole = all(each is not None for each in ranges)
    return SeriesLine(
        name,
        [place for place, _ in found],
        means,
        [each.low for each in ranges if each is not None] if whole else None,
        [each.high for each in ranges if each is not None] if whole else None,
        number,
    )


def _wrapped(name: str) -> str:
    return name.replace(", ", ",\n").replace(" ", "\n", 1) if len(name) > 12 else name  # noqa: PLR2004


def _is_share(name: str) -> bool:
    return name in ("accuracy", "agreement")


def _unit(name: str) -> str:
    units = {"agreement": "% with teacher", "accuracy": "%", "kl": "nats, from teacher",
             "r2": "1 is perfect", "teacher_mse": "from teacher"}  # fmt: skip
    return units.get(name, "")


def _heading(name: str) -> str:
    names = {"kl": "Mean KL", "mse": "Mean squared error", "r2": "R²", "teacher_mse": "Distance"}
    return names.get(name, name.replace("_", " ").capitalize())
