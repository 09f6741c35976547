"""Values that change over training: a temperature, the weight of an objective.

A schedule is a function of progress, the fraction of training that is done: 0 at the first step,
near 1 at the last. Objectives accept a schedule wherever they accept a number:

>>> from tutelage import schedules
>>> cooling = schedules.Linear(8.0, 1.0)
>>> cooling(0.0), cooling(0.5), cooling(1.0)
(8.0, 4.5, 1.0)
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping

from tutelage._checks import finite_number, fraction
from tutelage.errors import ArgumentError

_FINITE = "a schedule takes finite numbers"
_CHECKED = 100
"""Steps of progress, after each of which the value of a schedule is checked."""
_PROGRESS = "progress runs from 0 (first step) to 1 (end of training)"


class Schedule(ABC):
    """A number as a function of training progress in [0, 1]."""

    @abstractmethod
    def __call__(self, progress: float) -> float:
        """Return the value at `progress`."""


class Constant(Schedule):
    """A constant value."""

    def __init__(self, value: float) -> None:
        self.value = finite_number("value", value, _FINITE)

    def __call__(self, progress: float) -> float:
        """Return the value, whatever `progress` is."""
        return self.value

    def __repr__(self) -> str:
        return f"{self.value:g}"


class _Ramp(Schedule):
    """From `start` to `end` while progress goes from `begin` to `until`; constant outside."""

    def __init__(self, start: float, end: float, begin: float = 0.0, until: float = 1.0) -> None:
        self.start = finite_number("start", start, _FINITE)
        self.end = finite_number("end", end, _FINITE)
        self.begin = fraction("begin", begin, _PROGRESS)
        self.until = fraction("until", until, _PROGRESS)
        if self.begin >= self.until:
            raise ArgumentError(
                f"`begin` must come before `until`, got {begin} and {until}; {_PROGRESS}"
            )

    def _done(self, progress: float) -> float:
        """Return the fraction of the ramp that is done, in [0, 1]."""
        return min(max((progress - self.begin) / (self.until - self.begin), 0.0), 1.0)

    def __repr__(self) -> str:
        span = "" if (self.begin, self.until) == (0.0, 1.0) else f", {self.begin:g}, {self.until:g}"
        return f"{type(self).__name__}({self.start:g}, {self.end:g}{span})"


class Linear(_Ramp):
    """A straight line: (1 − w)·start + w·end, with w the fraction of the ramp that is done.

    Args:
        start: Value up to progress `begin`.
        end: Value from progress `until` on.
        begin: Progress at which the ramp begins, in [0, 1).
        until: Progress at which it ends, in (0, 1].

    Raises:
        ArgumentError: A value is not finite, or `begin` does not come before `until`.

    >>> Linear(0.0, 1.0, until=0.5)(0.25)
    0.5
    """

    def __call__(self, progress: float) -> float:
        """Return the value at `progress`."""
        done = self._done(progress)
        return (1 - done) * self.start + done * self.end


class Cosine(_Ramp):
    """Half a cosine wave: c·start + (1 − c)·end, c = (1 + cos πw)/2, slow at both ends.

    Arguments and errors are those of `Linear`.

    >>> Cosine(4.0, 2.0)(0.5)
    3.0
    """

    def __call__(self, progress: float) -> float:
        """Return the value at `progress`."""
        weight = (1 + math.cos(math.pi * self._done(progress))) / 2
        return weight * self.start + (1 - weight) * self.end


class Step(Schedule):
    """Piecewise constant.

    Args:
        values: `{progress: value from there on}`, with a key 0.

    Raises:
        ArgumentError: There is no key 0, a key is outside [0, 1], or a value is not finite.

    >>> staircase = Step({0.0: 8, 0.5: 4, 0.9: 1})
    >>> staircase(0.49), staircase(0.5), staircase(1.0)
    (8.0, 4.0, 1.0)
    """

    def __init__(self, values: Mapping[float, float]) -> None:
        if not isinstance(values, Mapping) or 0.0 not in values:
            raise ArgumentError(
                f"`values` must be a dict that begins at progress 0, got {values!r}; add the key "
                "0.0, as in {0.0: 8, 0.5: 4}"
            )
        self.steps = tuple(sorted(
            (fraction("progress", at, _PROGRESS), finite_number("value", value, _FINITE))
            for at, value in values.items()
        ))  # fmt: skip

    def __call__(self, progress: float) -> float:
        """Return the value at `progress`."""
        return [value for at, value in self.steps if at <= max(progress, 0.0)][-1]

    def __repr__(self) -> str:
        return f"Step({dict(self.steps)})"


class Product(Schedule):
    """The product of two schedules of non-negative values; nested weights multiply so."""

    def __init__(self, first: Schedule, second: Schedule) -> None:
        self.first, self.second = first, second

    def __call__(self, progress: float) -> float:
        """Return the value at `progress`."""
        return self.first(progress) * self.second(progress)

    def __repr__(self) -> str:
        return f"{self.first} * {self.second}"


def positive_schedule(name: str, value: float | Schedule, advice: str) -> Schedule:
    """Return `value` as a schedule whose values are above zero; refuse any other."""
    schedule = _as_schedule(name, value, advice)
    if min(_values(schedule)) <= 0:
        raise ArgumentError(f"`{name}` must be positive, got {value}; {advice}")
    return schedule


def weight_schedule(value: float | Schedule) -> Schedule:
    """Return a weight as a schedule whose values are zero or more; refuse any other."""
    advice = "it is how much the objective counts in the loss, zero or more"
    schedule = _as_schedule("weight", value, advice)
    if min(_values(schedule)) < 0:
        raise ArgumentError(f"`weight` must be zero or more, got {value}; {advice}")
    return schedule


def fraction_schedule(name: str, value: float | Schedule, advice: str) -> Schedule:
    """Return `value` as a schedule whose values lie in [0, 1]; refuse any other."""
    schedule = _as_schedule(name, value, advice)
    values = _values(schedule)
    if min(values) < 0 or max(values) > 1:
        raise ArgumentError(f"`{name}` must lie in [0, 1], got {value}; {advice}")
    return schedule


def _values(schedule: Schedule) -> list[float]:
    """Return the values of a schedule over training: its ends, and 99 between them."""
    return [schedule(step / _CHECKED) for step in range(_CHECKED + 1)]


def _as_schedule(name: str, value: float | Schedule, advice: str) -> Schedule:
    if isinstance(value, Schedule):
        return value
    return Constant(finite_number(name, value, advice))
