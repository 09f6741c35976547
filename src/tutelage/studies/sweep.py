"""Which settings an arm tries: a grid, some of it at random, and beyond its edges."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any

from tutelage._checks import by_name, integer
from tutelage.errors import ArgumentError

FURTHER = 4
"""How many settings each arm may try beyond the edges of its grid."""
_EXAMPLE = "{'learning_rate': [1e-3, 3e-3]}"


@dataclass(frozen=True, eq=False)
class Sweep(Mapping[str, Sequence[Any]]):
    """Values to try: all combinations, or as many as there are trials, drawn at random.

    A plain dict in place of a `Sweep` is a full grid. The settings are drawn without repetition,
    and are the same for all arms that try the same values.

    Args:
        grid: Values by the name of a setting.
        trials: How many combinations to try; None for all.
        extend: Whether to try up to 4 further settings where the best so far has the largest or
            smallest value of numbers: the next beyond it, in the ratio of the last two if these are
            positive, else at their distance, until it is no better. If one arm does, all arms that
            sweep may try as many.
        seed: Of the draw.

    Raises:
        ArgumentError: An argument is outside its range.

    >>> sweep = Sweep({"learning_rate": [0.1, 0.01], "epochs": [5, 10, 20]}, trials=2)
    >>> len(list(sweep.settings())), len(list(Sweep(sweep.grid).settings()))
    (2, 6)
    """

    grid: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    trials: int | None = None
    extend: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        by_name("sweep", self.grid, _EXAMPLE)
        if self.trials is not None:
            integer("trials", self.trials, 1, "None tries all combinations")
        if not isinstance(self.extend, bool):
            raise ArgumentError(
                f"`extend` must be True or False, got {self.extend!r}; True tries up to {FURTHER} "
                "further settings"
            )
        integer("seed", self.seed, 0, "it decides which combinations are drawn")

    def __getitem__(self, name: str) -> Sequence[Any]:
        return self.grid[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.grid)

    def __len__(self) -> int:
        return len(self.grid)

    def settings(self) -> Iterator[dict[str, Any]]:
        """Yield the combinations to try; one empty dict where there is nothing to sweep."""
        # In the order of names, so that the draw does not depend on how they were written down.
        sizes = {name: len(self.grid[name]) for name in sorted(self.grid)}
        total = math.prod(sizes.values())
        places = range(total) if self.trials is None or self.trials >= total else self._draw(total)
        drawn = []
        for place in places:
            indices = {}
            for name, size in sizes.items():
                place, indices[name] = divmod(place, size)  # noqa: PLW2901 - its digits
            drawn.append(tuple(indices[name] for name in self.grid))
        for each in sorted(drawn):
            pairs = zip(self.grid, each, strict=True)
            yield {name: self.grid[name][index] for name, index in pairs}

    def _draw(self, total: int) -> list[int]:
        """Return the numbers of `trials` different combinations."""
        generator, found = random.Random(self.seed), dict[int, None]()  # noqa: S311 - no secret
        while len(found) < (self.trials or 0):
            found[generator.randrange(total)] = None
        return list(found)


def as_sweep(sweep: Mapping[str, Sequence[Any]]) -> Sweep:
    """Return a sweep for what a user gives: a sweep, or a dict for the full grid."""
    return sweep if isinstance(sweep, Sweep) else Sweep(sweep)


def joined(common: Mapping[str, Sequence[Any]], own: Mapping[str, Sequence[Any]]) -> Sweep:
    """Return an arm's own sweep with the values of a common one; its own options come first."""
    ours, theirs = as_sweep(own), as_sweep(common)
    return Sweep(
        {**theirs, **ours},
        theirs.trials if ours.trials is None else ours.trials,
        ours.extend or theirs.extend,
        theirs.seed if ours.trials is None else ours.seed,
    )


def at_edge(name: str, values: Sequence[Any], chosen: Any) -> bool:
    """Return whether a value is the largest or smallest of numbers that could go on beyond it.

    None could below 0 where none is negative, below 1 for integers, or above 1 for fractions.
    """
    numbers = _numbers(values)
    if len(numbers) < 2 or chosen not in (numbers[0], numbers[-1]):  # noqa: PLR2004 - no grid
        return False
    if chosen == numbers[0]:
        return numbers[0] < 0 or numbers[0] > int(_whole(numbers))
    return not (chosen == 1 and numbers[0] >= 0 and name != "learning_rate")


def beyond(name: str, values: Sequence[Any], chosen: Any) -> float | None:
    """Return the next value beyond an edge; None where `chosen` is at none, or there is no next."""
    if not at_edge(name, values, chosen):
        return None
    numbers = _numbers(values)
    inner = numbers[-2] if chosen == numbers[-1] else numbers[1]
    geometric = chosen > 0 and inner > 0
    found = chosen * chosen / inner if geometric else 2 * chosen - inner
    if _whole(numbers):
        found = max(round(found), 1) if numbers[0] > 0 else round(found)
    else:
        found = float(f"{found:.3g}")
    fraction = numbers[0] >= 0 and numbers[-1] <= 1 and name != "learning_rate"
    outside = (fraction and found > 1) or (numbers[0] >= 0 and found < 0)
    return None if outside or found in numbers else found


def _numbers(values: Sequence[Any]) -> list[Any]:
    """Return different values in order; an empty list if one is not a number."""
    if not all(isinstance(each, Real) and not isinstance(each, bool) for each in values):
        return []
    return sorted(set(values))


def _whole(numbers: Sequence[Any]) -> bool:
    return all(isinstance(each, Integral) for each in numbers)
