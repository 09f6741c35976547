"""The verdict: the result in words, and what was saved."""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean
from typing import Literal

from tutelage.evaluation import Interval
from tutelage.reports.numbers import (
    NONE,
    counted,
    file_size,
    milliseconds,
    percent,
    signed,
    significant,
    times,
)
from tutelage.results.record import TEACHER, Comparison, DecidingMetric, Record, SearchRecord
from tutelage.tasks.metrics import STANDARD

_TENTH_OF_A_POINT, _A_POINT = 0.001, 0.01

Outcome = Literal["gain", "loss", "open"]
"""What is shown of the primary arm: that it gains, that it loses, or neither."""


def outcome(record: Record) -> Outcome:
    """Return what is shown of the primary arm against its control, or the strongest one."""
    if record.search is not None:
        proof = against_teacher(record, record.primary)
        test = None if proof is None else proof.non_inferiority
        return "gain" if test is not None and test.shown and not record.leaks else "open"
    found = against_control(record, record.primary)
    interval = None if found is None else found.corrected
    if interval is None or record.leaks:
        return "open"
    return "gain" if interval.low > 0 else "loss" if interval.high < 0 else "open"


def verdict(record: Record) -> str:
    """Return the outcome: against the strongest control, against the teacher, and the saving."""
    return " ".join(sentences(record))


def sentences(record: Record) -> tuple[str, ...]:
    """Return the outcome in sentences, the most important first."""
    metric = record.metric
    if metric is None:
        return (_of_loss(record),)
    if record.search is not None:
        name = f"On {examples(record)} the student “{record.primary}”"
        parts = (_against_teacher(record, metric, name), _as_exported(record.search))
        return tuple(part for part in parts if part)
    parts = (
        _reached(record, metric),
        _limits(record, metric),
        _worst_domain(record, metric),
        _against_teacher(record, metric),
        _weak_teacher(record, metric),
        _saving(record),
    )
    return tuple(part for part in parts if part)


def metric_name(metric: DecidingMetric) -> str:
    """Return the deciding metric's name for readers.

    >>> metric_name(DecidingMetric("mse", False))
    'mean squared error'
    """
    words = STANDARD[metric.name].words if metric.name in STANDARD else ""
    return words or metric.name.replace("_", " ")


def axis_label(metric: DecidingMetric) -> str:
    """Return the deciding metric's name with its unit, for an axis."""
    return f"{metric_name(metric)}, %" if metric.is_fraction else metric_name(metric)


def shown(value: float, metric: DecidingMetric, decimals: int = 1) -> str:
    """Return a value of the deciding metric: a fraction in per cent, else three digits."""
    return percent(value, decimals) if metric.is_fraction else significant(value)


def difference(value: float, metric: DecidingMetric, decimals: int = 1) -> str:
    """Return a difference of the deciding metric with its sign: a fraction's in points."""
    if metric.is_fraction:
        return signed(100 * value, decimals)
    return ("+" if value >= 0 else "−") + significant(abs(value))


def gain(value: float, metric: DecidingMetric, decimals: int = 1) -> str:
    """Return a difference with its sign and unit, such as `+3.1 points`."""
    return difference(value, metric, decimals) + (" points" if metric.is_fraction else "")


def better(value: float, metric: DecidingMetric, decimals: int = 1) -> str:
    """Return a difference in words, such as `3.1 points better`.

    >>> better(-0.0062, DecidingMetric("mse", False)), better(0, DecidingMetric("mse", False))
    ('0.00620 worse', 'equal')
    """
    if not value:
        return "equal"
    return f"{_size(value, metric, decimals)} {'better' if value > 0 else 'worse'}"


def ends(interval: Interval | None, metric: DecidingMetric, decimals: int = 1) -> str:
    """Return the ends of a difference's interval; "–" where there is none."""
    if interval is None:
        return NONE
    found = possible(interval, metric)
    return " to ".join(difference(end, metric, decimals) for end in (found.low, found.high))


def possible(interval: Interval, metric: DecidingMetric) -> Interval:
    """Return the interval of a difference within ±1 for fractions, which cannot differ by more."""
    if not metric.is_fraction:
        return interval
    return replace(interval, low=max(interval.low, -1.0), high=min(interval.high, 1.0))


def against_control(record: Record, arm: str) -> Comparison | None:
    """Return an arm's comparison with its own control, or with the strongest."""
    control = record.control_of(arm)
    pairs = (each for each in record.comparisons if each.arm == arm)
    return next((each for each in pairs if control and each.other == control.name), None)


def against_teacher(record: Record, arm: str) -> Comparison | None:
    """Return an arm's comparison with the teacher."""
    return next((each for each in record.against_teacher if each.arm == arm), None)


def decimals_of(found: Comparison) -> int:
    """Return how many decimals distinguish a difference and its interval from zero."""
    interval = found.corrected
    both = () if interval is None else (interval.low, interval.high)
    smallest = min(abs(each) for each in (fmean(found.differences), *both))
    return 1 if smallest >= _TENTH_OF_A_POINT else 2


def examples(record: Record) -> str:
    """Return on which examples the models are judged, such as `597 test examples`."""
    kind = "test" if "test" in record.examples else "val"
    name = {"test": "test", "val": "validation"}[kind]
    if kind not in record.examples:
        return f"the {name} examples"
    return counted(record.examples[kind], f"{name} example")


def savings(record: Record) -> tuple[str | None, list[tuple[str, int]]]:
    """Return how many times the teacher is larger, and slower at each batch size."""
    teacher, student = map(record.model_of, (record.teacher, record.arm(record.primary)))
    if teacher is None or student is None:
        return None, []
    smaller = None
    if teacher.cost and student.cost and student.cost.parameters:
        smaller = times(teacher.cost.parameters / student.cost.parameters)
    pairs = zip(teacher.latencies, student.latencies, strict=False)
    return smaller, [
        (times(theirs.median / ours.median), ours.batch_size) for theirs, ours in pairs
    ]


def _reached(record: Record, metric: DecidingMetric) -> str:
    found, arm = against_control(record, record.primary), record.arm(record.primary)
    name = "student" if record.is_run else f"student “{arm.name}”"
    if found is None:
        value, words = shown(fmean(arm.values(metric.name)), metric), metric_name(metric)
        article = "an" if words[0] in "aeioF" else "a"
        lacking = "" if record.is_run else "; there is no control to compare it with"
        return f"On {examples(record)} the {name} has {article} {words} of {value}{lacking}."
    mean = fmean(found.differences)
    which = "the strongest control" if arm.against is None else "its control"
    return (
        f"On {examples(record)} the {name} is {better(mean, metric, decimals_of(found))} in "
        f"{metric_name(metric)} {'than' if mean else 'to'} {which}, “{found.other}” "
        f"({_certainty(record, found, metric)})."
    )


def _certainty(record: Record, found: Comparison, metric: DecidingMetric) -> str:
    one = "one seed only, so the variation between seeds is unknown"
    interval = found.corrected
    if interval is None:
        return one if len(found.differences) == 1 else "all seeds differ equally: no interval"
    text = (
        f"95 % interval {ends(interval, metric, decimals_of(found))}, over {_over(record, found)}"
    )
    controls = sum(each.arm == found.arm for each in record.comparisons)
    if controls > 1:
        text += f", the upper end corrected for {controls} controls"
    if len(found.differences) == 1:
        text += f"; {one}"
    if interval.low <= 0 <= interval.high:
        return f"{text}: it includes zero, so no difference is shown"
    return text if interval.low > 0 else f"{text}: distillation made it worse"


def _over(record: Record, found: Comparison) -> str:
    """Return what an interval covers, such as `5 paired seeds and the test examples`."""
    parts = []
    if "seeds" in found.over:
        parts.append(counted(len(found.differences), "paired seed"))
    if "examples" in found.over:
        groups = "" if record.groups is None else f" in {counted(record.groups, 'group')}"
        parts.append(f"the test examples{groups}")
    return " and ".join(parts)


def _limits(record: Record, metric: DecidingMetric) -> str:
    """Return what so few seeds or examples cannot show."""
    found, texts = against_control(record, record.primary), []
    if found is None:
        return ""
    if len(found.differences) == 2:  # noqa: PLR2004
        texts.append(
            "Two seeds say little about the variation between seeds, which widens the interval."
        )
    matters = _A_POINT if metric.is_fraction else abs(fmean(found.differences))
    if metric.is_fraction and found.resolution >= 1:
        texts.append("So few test examples cannot show any difference.")
    elif found.resolution >= matters and found.resolution > 0:
        least = _size(found.resolution, metric)
        texts.append(f"So few test examples cannot show a difference below {least}.")
    return " ".join(texts)


def _worst_domain(record: Record, metric: DecidingMetric) -> str:
    domains = [each for each in record.parts if each.kind == "domain"]
    if not domains:
        return ""
    found = min(domains, key=lambda each: each.difference)
    interval = f" ({ends(found.interval, metric)}, corrected for {len(domains)} domains)"
    interval = interval if found.interval else ""
    size = gain(found.difference, metric)
    return f"By domain the difference is lowest in “{found.name}”: {size}{interval}."


def _size(value: float, metric: DecidingMetric, decimals: int = 1) -> str:
    """Return a difference without its sign, with its unit."""
    return gain(abs(value), metric, decimals).lstrip("+")


def _against_teacher(record: Record, metric: DecidingMetric, subject: str = "It") -> str:
    found = against_teacher(record, record.primary)
    if found is None or record.teacher is None:
        return ""
    mean, value = fmean(found.differences), shown(record.teacher.metrics[metric.name], metric)
    size, than = better(mean, metric, decimals_of(found)), "than" if mean else "to"
    return f"{subject} is {size} {than} its teacher's {value}{_no_worse(record, found, metric)}."


def _weak_teacher(record: Record, metric: DecidingMetric) -> str:
    """Return that the teacher is not shown to be better than the control; else nothing."""
    control = record.control_of(record.primary)
    found = None if control is None else against_teacher(record, control.name)
    if control is None or found is None:
        return ""
    interval, mean = found.interval, -fmean(found.differences)
    if interval.high < 0 if interval else mean > 0:
        return ""
    worse = found.corrected is not None and found.corrected.low > 0
    least = "no interval"
    if found.corrected is not None:
        low, high = -found.corrected.high, -found.corrected.low
        least = f"95 % interval {ends(Interval(mean, low, high), metric)}"
    advice = "train it longer, or look for a better one, before you change anything else"
    return (
        f"The teacher itself is {'worse' if worse else 'not shown to be better'} than "
        f"“{control.name}” ({gain(mean, metric)}, {least})" + (f": {advice}." if mean <= 0 else ".")
    )


def _no_worse(record: Record, found: Comparison, metric: DecidingMetric) -> str:
    test = found.non_inferiority
    if test is None:
        untested = "; non-inferiority cannot be tested with one seed, or where all seeds tie"
        return "" if record.margin is None else untested
    margin = _size(test.margin, metric, 2)
    bound = f"one-sided 95 % bound {difference(test.bound, metric, 2)}"
    if test.shown:
        return (
            f": it is not worse by more than the margin of {margin} stated beforehand ({bound}, "
            f"over {_over(record, found)})"
        )
    return f"; non-inferiority within the margin of {margin} is not shown ({bound})"


def _saving(record: Record) -> str:
    smaller, faster = savings(record)
    model = record.model_of(record.teacher)
    several = model is not None and model.name != TEACHER
    who = f"The {model.name}" if several and model is not None else "The teacher"
    parts = []
    if smaller is not None:
        parts.append(f"{'have' if several else 'has'} {smaller} as many parameters")
    if faster:
        spent = " and ".join(
            f"{ratio} as long for {'one input' if size == 1 else f'{size} at once'}"
            for ratio, size in faster
        )
        parts.append(f"{'take' if several else 'takes'} {spent}")
    return f"{who} {' and '.join(parts)}." if parts else ""


def _as_exported(search: SearchRecord) -> str:
    """Return how fast the chosen student answers as a file, and its size."""
    chosen = next(each for each in search.candidates if each.is_chosen)
    ours = chosen.latencies[0].median
    size = "" if chosen.file_bytes is None else f", a file of {file_size(chosen.file_bytes)},"
    text = f"As exported{size} it takes {milliseconds(ours)} ms for one input"
    if not search.latencies:
        return f"{text}."
    theirs = search.latencies[0].median
    faster = f"the teacher {milliseconds(theirs)} ms, {times(theirs / ours)} as long"
    return f"{text}, {faster}."


def _of_loss(record: Record) -> str:
    """Return how the training loss changed, where there is no metric."""
    curve = record.arm(record.primary).trials[0].curves.get("train/loss")
    if curve is None:
        return "There is no metric of the student's quality."
    first, last = curve.values[0], curve.values[-1]
    return (
        f"The training loss went from {significant(first)} in the first epoch to "
        f"{significant(last)} in the last; measuring the student's quality takes validation data "
        "with labels or a teacher's output."
    )
