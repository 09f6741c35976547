"""Amounts as people write them: `0.5 points`, `2h`, `5ms`, `0.25x`, `5M`, `10MB`."""

from __future__ import annotations

import math
import re

from tutelage.errors import ArgumentError

TIMES = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
BYTES = {"B": 1.0, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9}
POINTS = {"points": 0.01, "point": 0.01, "pp": 0.01}
COUNTS = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9}


def amount(
    name: str, given: float | str, units: dict[str, float], of_teacher: float | None = None
) -> float:
    """Return an amount in the unit whose factor is 1.

    Args:
        name: Of the argument.
        given: A number, or a text of a number and a unit.
        units: Their factors.
        of_teacher: What `1x` is; None where that is not known.

    Raises:
        ArgumentError: It is none, or is not above zero.

    >>> amount("budget", "1.5h", TIMES), amount("latency", "0.25x", TIMES, 0.008)
    (5400.0, 0.002)
    """
    known = units if of_teacher is None else units | {"x": of_teacher}
    found = re.fullmatch(r"([0-9.]+(?:e[+-]?\d+)?)\s*([A-Za-z]*)", str(given).strip())
    try:
        value = math.nan if found is None else float(found[1])
    except ValueError:
        value = math.nan
    unit = found[2] if found else ""
    factor = known.get(unit, 1.0 if unit == "" else math.nan)
    if not (math.isfinite(value * factor) and value > 0):
        shown = ", ".join(f"3{each}" for each in known if each)
        raise ArgumentError(
            f"`{name}` must be a number above zero with one of the units {shown}, got {given!r}; "
            "correct it"
        )
    return value * factor
