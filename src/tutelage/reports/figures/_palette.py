"""Colours, marks and lines: Okabe and Ito's palette, told apart without colour as well.

Colours in a figure are placeholders; in the SVG they become variables of the page's style sheet,
which has values for a light screen, a dark one and paper.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

INK, QUIET, RULE, PAPER = "#1A1B1C", "#5A5B5C", "#D1D2D3", "#FDFEFC"

_SERIES = ("#1A1B1D", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00")

VARIABLES = {
    INK: "var(--ink)",
    QUIET: "var(--quiet)",
    RULE: "var(--rule)",
    PAPER: "var(--paper)",
} | {color: f"var(--series-{place})" for place, color in enumerate(_SERIES)}
"""Which variable of the style sheet stands for a colour of a figure."""


@dataclass(frozen=True, slots=True)
class Look:
    """How a series is drawn."""

    color: str
    marker: str
    line: Any


_LINES: Any = ("-", (0, (5, 2)), (0, (5, 1.5, 1, 1.5)), "-", (0, (1, 1.5)), (0, (3, 1)))
LOOKS = tuple(map(Look, _SERIES, "Ds^ovP", _LINES))
"""Looks in the order of a table's rows: the teacher, then students."""


def look_of(number: int) -> Look:
    """Return the look of that number; beyond the last the students' begin again, never 0."""
    return LOOKS[number if number < len(LOOKS) else 1 + (number - 1) % (len(LOOKS) - 1)]
