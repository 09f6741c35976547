"""How `compress` found the student: all candidates by quality and time, and what each took."""

from __future__ import annotations

from statistics import fmean

from tutelage.reports.figures import Line, trade_off
from tutelage.reports.numbers import (
    NONE,
    count,
    counted,
    file_size,
    milliseconds,
    significant,
    times,
)
from tutelage.reports.page import Figure, Row, Section, Table
from tutelage.reports.sections.outcome import few_of
from tutelage.reports.verdict import better, difference, metric_name, shown
from tutelage.results.record import CandidateRecord, DecidingMetric, Record, SearchRecord

_MOST_DRAWN = 24
_FAR = 1.5
_DISTANCES = {
    "kl": "mean KL divergence from the teacher",
    "teacher_mse": "mean squared difference from the teacher",
}


def search_section(record: Record) -> Section | None:
    """Return the candidates and how the chosen one was found; None where there was no search."""
    search, metric = record.search, record.metric
    if search is None or metric is None:
        return None
    chosen = next(each for each in search.candidates if each.is_chosen)
    missed = record.margin is not None and not search.within
    text = (
        f"{counted(len(search.candidates), 'candidate')}, {counted(search.rounds, 'round')} of "
        f"training in {significant(search.seconds / 60)} minutes; students were compared with the "
        f"teacher on validation data {counted(search.looks, 'time')}. The test data chose nothing.",
        f"No candidate was within the margin on validation data; the best of them was chosen. "
        f"{_what_helps(record, chosen, metric)}"
        if missed
        else "",
    )
    rows = [_row(each, search, metric, wanted=record.margin) for each in search.candidates]
    place = search.candidates.index(chosen)
    note = (
        "Times are medians of the exported models on "
        f"{counted(chosen.latencies[0].threads, 'CPU thread')}. Differences from the teacher are "
        "those on validation data after the longest training, in brackets the lower end of their "
        "95 % interval over examples."
    )
    table = Table("Candidates, the slowest first", rows, note, emphasis=place)
    return Section("Search", tuple(filter(None, text)), table, _front(search, metric))


def _what_helps(record: Record, chosen: CandidateRecord, metric: DecidingMetric) -> str:
    """Say what would bring a student nearer to its teacher, by the data where it is far from it."""
    text = "A larger budget, larger students, or more inputs for the teacher to label may help."
    trials = record.arm(record.primary).trials
    for name, words in _DISTANCES.items():
        if any(name not in each.train or name not in each.metrics for each in trials):
            continue
        near = fmean(each.train[name] for each in trials)
        far = fmean(each.metrics[name] for each in trials)
        text = (
            f"Its {words} is {significant(near)} on inputs that it was trained on, and "
            f"{significant(far)} on test data: "
        ) + (
            "more inputs for the teacher to label would help most."
            if far > _FAR * near
            else "longer training or a larger student would help most."
        )
    if chosen.before is not None and chosen.gain is not None:
        gained = better(chosen.gain - chosen.before, metric)
        text += f" Its last round, of four times as many steps, made it {gained}."
    return text


def _row(
    each: CandidateRecord, search: SearchRecord, metric: DecidingMetric, wanted: float | None
) -> Row:
    within = against = NONE
    if each.gain is not None and each.low is not None:
        against = f"{difference(each.gain, metric)} ({difference(each.low, metric)})"
        within = NONE if wanted is None else "yes" if each.low > -wanted else "no"
    elif each.gain is not None:
        against = difference(each.gain, metric)
    own = each.latencies[0].median
    faster = f" ({times(search.latencies[0].median / own)})" if search.latencies else ""
    return [
        ("Student", each.name),
        (
            metric_name(metric).capitalize(),
            NONE if each.value is None else shown(each.value, metric),
        ),
        ("Difference\nlower end", against),
        ("Within\nmargin", within),
        ("One input\nms, times faster", f"{milliseconds(own)}{faster}"),
        ("Parameters", NONE if each.parameters is None else count(each.parameters)),
        ("File", NONE if each.file_bytes is None else file_size(each.file_bytes)),
        ("Steps", NONE if each.steps is None else f"{each.steps:,}"),
    ]


def _front(search: SearchRecord, metric: DecidingMetric) -> tuple[Figure, ...]:
    """Return quality against time, the teacher at zero."""
    scale = metric.scale
    known = [each for each in search.candidates if each.gain is not None]
    chosen = [each for each in known if each.is_chosen]
    few, rest = few_of(known, chosen, _MOST_DRAWN, "candidate")
    lines = [
        Line(
            f"{each.name}, chosen" if each.is_chosen else each.name,
            [1000 * each.latencies[0].median],
            [scale * (each.gain or 0.0)],
            [scale * (each.low if each.low is not None else each.gain or 0.0)],
            [scale * (each.gain or 0.0)],
            look=1 + place,
        )
        for place, each in enumerate(few)
    ]
    if search.latencies:
        lines.insert(0, Line("teacher", [1000 * search.latencies[0].median], [0.0], look=0))
    unit = "points above the teacher" if metric.is_fraction else "better than the teacher by"
    return (
        Figure(
            trade_off(lines, f"{metric_name(metric)}: {unit}"),
            "Quality on validation data against time",
            "Bars go down to the lower end of the 95 % interval. Each student is shown after its "
            f"longest training.{rest}",
        ),
    )
