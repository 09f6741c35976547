"""What a study says, in words: won, lost or not shown, and at what cost."""

from __future__ import annotations

from statistics import fmean

from tutelage.evaluation import Interval
from tutelage.reports.numbers import count, percent, points, significant, times
from tutelage.studies.results import ArmResult, Comparison, Figure, StudyResults

_TENTH_OF_A_POINT = 0.001
_NAMES = {
    "mse": "mean squared error",
    "teacher_mse": "distance from the teacher (mean squared)",
    "agreement": "agreement with the teacher",
}


def verdict(results: StudyResults) -> str:
    """Return the outcome: against the strongest control, against the teacher, and the saving."""
    parts = (_against_control(results), _against_teacher(results), _saving(results))
    return " ".join(part for part in parts if part)


def figure_name(figure: Figure) -> str:
    """Return the deciding figure's name for readers.

    >>> figure_name(Figure("mse", False, False))
    'mean squared error'
    """
    return _NAMES.get(figure.name, figure.name.replace("_", " "))


def shown(value: float, figure: Figure, decimals: int = 1) -> str:
    """Return a value of the deciding figure: a share in per cent, else three digits."""
    return percent(value, decimals) if figure.is_share else significant(value)


def difference(value: float, figure: Figure, decimals: int = 1) -> str:
    """Return a difference of the deciding figure with its sign: a share's in points."""
    if figure.is_share:
        return points(value) if decimals == 1 else f"{100 * value:+.{decimals}f}".replace("-", "−")
    return ("+" if value >= 0 else "−") + significant(abs(value))


def clear(interval: Interval | None) -> bool:
    """Tell whether there is an interval and it leaves zero out."""
    return interval is not None and (interval.low > 0 or interval.high < 0)


def strongest(results: StudyResults) -> ArmResult | None:
    """Return the control that does best on the test data; None without controls.

    Choosing it by the test data can only make it look stronger, never the arms.
    """
    sign = 1 if results.figure.higher else -1
    known = [arm for arm in results.controls if arm.values(results.figure.name)]
    if not known:
        return None
    return max(known, key=lambda arm: sign * fmean(arm.values(results.figure.name)))


def against_strongest(results: StudyResults, arm: str) -> Comparison | None:
    """Return an arm's comparison with its own control, or with the strongest."""
    control = control_of(results, arm)
    if control is None:
        return None
    pairs = (each for each in results.comparisons if each.arm == arm)
    return next((each for each in pairs if each.control == control.name), None)


def control_of(results: StudyResults, arm: str) -> ArmResult | None:
    """Return the control that an arm is compared with: its own, else the strongest."""
    own = results.arm(arm).against
    return strongest(results) if own is None else results.arm(own)


def _against_control(results: StudyResults) -> str:
    found, figure = against_strongest(results, results.subject), results.figure
    examples = count(results.examples["test"])
    if found is None:
        value = fmean(results.arm(results.subject).values(figure.name))
        return (
            f"On {examples} test examples the student “{results.subject}” reaches "
            f"{shown(value, figure)} in {figure_name(figure)}; there is no control to compare it "
            "with."
        )
    mean = fmean(found.differences)
    better = "better" if mean >= 0 else "worse"
    unit = " points" if figure.is_share else ""
    size = difference(abs(mean), figure, decimals_of(found)).lstrip("+")
    which = "the strongest control" if results.arm(found.arm).against is None else "its control"
    text = (
        f"On {examples} test examples the student “{found.arm}” is {size}{unit} {better} in "
        f"{figure_name(figure)} than {which}, “{found.control}”"
    )
    return f"{text} ({_certainty(found, figure)})."


def _certainty(found: Comparison, figure: Figure) -> str:
    if found.interval is None:
        return "one seed only, so nothing is known of how much of that is luck"
    ends = (found.interval.low, found.interval.high)
    low, high = (difference(end, figure, decimals_of(found)) for end in ends)
    text = f"95 % interval {low} to {high}, {len(found.differences)} paired seeds"
    if clear(found.interval):
        return text if found.interval.low > 0 else f"{text}: distillation lost"
    return f"{text}: it includes zero, so no difference is shown"


def decimals_of(found: Comparison) -> int:
    """Return with how many decimals a difference and its interval can be told from zero."""
    ends = () if found.interval is None else (found.interval.low, found.interval.high)
    smallest = min(abs(each) for each in (fmean(found.differences), *ends))
    return 1 if smallest >= _TENTH_OF_A_POINT else 2


def _against_teacher(results: StudyResults) -> str:
    found = next((each for each in results.against_teacher if each.arm == results.subject), None)
    if found is None or results.teacher is None:
        return ""
    figure, mean = results.figure, fmean(found.differences)
    value = shown(results.teacher.figures[figure.name], figure)
    side = "above" if (mean >= 0) == figure.higher else "below"
    unit = " points" if figure.is_share else ""
    size = difference(abs(mean), figure).lstrip("+")
    text = f"It is {size}{unit} {side} its teacher's {value}"
    return f"{text}{_no_worse(results)}."


def _no_worse(results: StudyResults) -> str:
    found = next(each for each in results.against_teacher if each.arm == results.subject)
    test, figure = found.non_inferiority, results.figure
    if test is None:
        return ""
    unit = " points" if figure.is_share else ""
    margin = difference(test.margin, figure, 2).lstrip("+") + unit
    bound = f"one-sided 95 % bound {difference(test.bound, figure, 2)}"
    if test.shown:
        return (
            f": on these test examples no worse than the margin of {margin} that was stated "
            f"beforehand ({bound})"
        )
    return f"; that it loses less than the margin of {margin} is not shown ({bound})"


def _saving(results: StudyResults) -> str:
    teacher = None if results.teacher is None else results.models.get(results.teacher.model)
    student = results.models.get(results.arm(results.subject).model)
    if teacher is None or student is None:
        return ""
    said = []
    if teacher.cost and student.cost and student.cost.parameters:
        ratio = times(teacher.cost.parameters / student.cost.parameters)
        said.append(f"has {ratio} its parameters")
    pairs = list(zip(teacher.latencies, student.latencies, strict=False))
    if pairs:
        spent = " and ".join(
            f"{times(theirs.median / ours.median)} {_at_once(ours.batch_size)}"
            for theirs, ours in pairs
        )
        said.append(f"takes, as a multiple of its time, {spent}")
    return f"The teacher {' and '.join(said)}." if said else ""


def _at_once(number: int) -> str:
    return "for one input" if number == 1 else f"for {number} at once"
