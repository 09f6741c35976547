"""From a matplotlib figure to SVG that belongs to a page: its colours, marks, lines and text.

The palette is Okabe and Ito's; series are told apart without colour as well. Colours in a figure
are placeholders; in the SVG they become variables of the page's style sheet, which has values for a
light screen, a dark one and paper.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from html import escape
from io import StringIO
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, QUIET, RULE, PAPER = "#1A1B1C", "#5A5B5C", "#D1D2D3", "#FDFEFC"
DASHED = (0, (5, 3))
_SERIES = ("#1A1B1D", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00")
_VARIABLES = {INK: "ink", QUIET: "quiet", RULE: "rule", PAPER: "paper"} | {
    color: f"series-{place}" for place, color in enumerate(_SERIES)
}
_STYLE: Any = {
    "svg.fonttype": "none",  # text stays text, in the page's own font
    "svg.hashsalt": "tutelage",  # equal figures, equal bytes
    "font.family": "DejaVu Sans",  # wider than what the page will use, so that nothing collides
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.labelsize": 10,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "legend.fontsize": 10,
    "text.color": INK,
    "axes.labelcolor": QUIET,
    "axes.edgecolor": RULE,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "grid.alpha": 0.7,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": QUIET,
    "ytick.labelcolor": QUIET,
    "lines.linewidth": 1.8,
    "lines.markersize": 6,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}


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


@contextmanager
def canvas(width: float = 4.7, height: float = 3.5) -> Iterator[tuple[Figure, Axes]]:
    """Return a figure of this size in inches, and its axes, in the style of the report."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, figure.subplots()


def legend(figure: Figure) -> None:
    """Name the series above a figure."""
    figure.legend(loc="outside upper left", handlelength=3.6, labelspacing=0.3)


def to_svg(figure: Figure, description: str) -> str:
    """Return a figure as SVG to stand within HTML; call it inside `canvas`."""
    buffer = StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = _with_own_ids(svg, f"f{blake2b((description + svg).encode(), digest_size=5).hexdigest()}")
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"\s*font-family: [^;\"]*;?", "", svg)
    for color, variable in _VARIABLES.items():
        svg = svg.replace(color.lower(), f"var(--{variable})")
    width, height = (72 * inches for inches in figure.get_size_inches())
    head = (
        f'<svg role="img" aria-label="{escape(description)}" viewBox="0 0 {width:g} {height:g}" '
        f'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
    )
    return re.sub(r"<svg[^>]*>", lambda _: head, svg, count=1).strip()


def _with_own_ids(svg: str, name: str) -> str:
    """Drop the ids that nothing refers to; set a name of the figure's own before the others."""
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', svg))

    def renamed(match: re.Match[str]) -> str:
        return f' id="{name}-{match[1]}"' if match[1] in used else ""

    svg = re.sub(r'\s+id="([^"]+)"', renamed, svg)
    return re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", svg)
