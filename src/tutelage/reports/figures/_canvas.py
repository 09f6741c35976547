"""From a matplotlib figure to SVG that belongs to a page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from html import escape
from io import StringIO
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tutelage.reports.figures import _palette as palette

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
    "text.color": palette.INK,
    "axes.labelcolor": palette.QUIET,
    "axes.edgecolor": palette.RULE,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": palette.RULE,
    "grid.linewidth": 0.6,
    "grid.alpha": 0.7,
    "xtick.color": palette.RULE,
    "ytick.color": palette.RULE,
    "xtick.labelcolor": palette.QUIET,
    "ytick.labelcolor": palette.QUIET,
    "lines.linewidth": 1.8,
    "lines.markersize": 6,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}


@contextmanager
def canvas(width: float = 4.7, height: float = 3.5) -> Iterator[tuple[Figure, Axes]]:
    """Return a figure of this size in inches, and its axes, in the style of the report."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, figure.subplots()


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
    for color, variable in palette.VARIABLES.items():
        svg = svg.replace(color.lower(), variable)
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
