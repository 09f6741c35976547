"""What the demo's differences say, in one sentence."""

from __future__ import annotations

from tutelage.demo.results import Comparison, DemoResults
from tutelage.evaluation import Interval
from tutelage.reports.numbers import count, points


def verdict(results: DemoResults) -> str:
    """Return the outcome of both comparisons; an interval with zero in it is no gain."""
    few, more = results.comparisons
    images = results.images
    labelled, unlabelled = count(images["labelled"]), count(images["unlabelled"])
    return (
        f"With the teacher's answers on the same {labelled} images and on {unlabelled} more "
        f"without labels, the small student is {_outcome(more.interval)} than from the "
        f"{labelled} labels alone ({_interval(more)}, {len(more.differences)} paired seeds"
        f"{_caveat(more.interval)}); with the teacher's answers on the {labelled} images only, "
        f"the difference is {points(few.interval.mean)} points "
        f"({_interval(few)}{_caveat(few.interval)})."
    )


def clear(interval: Interval) -> bool:
    """Tell whether an interval leaves zero out."""
    return interval.low > 0 or interval.high < 0


def _outcome(interval: Interval) -> str:
    size = points(abs(interval.mean)).lstrip("+")
    better = "more accurate" if interval.mean >= 0 else "less accurate"
    return f"{size} points {better}" + ("" if clear(interval) else " on average")


def _interval(comparison: Comparison) -> str:
    ends = (points(end) for end in (comparison.interval.low, comparison.interval.high))
    return "95 % interval {} to {}".format(*ends)


def _caveat(interval: Interval) -> str:
    return "" if clear(interval) else ": it includes zero, so no difference is shown"
