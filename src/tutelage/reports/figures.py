"""Figures as inline SVG, each described in words, whose colours follow the page.

`canvas` gives axes in the style of the report, and `to_svg` ends every figure. The palette is Okabe
and Ito's; series are told apart without colour as well. Colours in a figure are placeholders: in
the SVG they become variables of the page's style sheet, which has values for a light screen, a
dark one and paper.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from io import StringIO
from textwrap import fill
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, LogNorm, to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator
from matplotlib.transforms import ScaledTranslation
from numpy.typing import NDArray

from tutelage.data.sets import evenly
from tutelage.evaluation import Interval, Reliability
from tutelage.reports.numbers import signed, significant
from tutelage.results.samples import NO_CLASS, ImageSample, pixels_of

MOST_POINTS = 300
"""How many examples `residuals` draws."""
MOST_NAMED = 24
"""With more classes `maps` and `boxes` have no legend."""
_WIDTH = 4.7  # inches
_FEW = 0.01  # a bin with a smaller fraction of the examples is a dot without a line
_TAB20: Any = colormaps["tab20"]
# 20 colours that can be told apart, on a light page and on a dark one: strong first.
_COLORS = ListedColormap([*_TAB20.colors[::2], *_TAB20.colors[1::2]])

_INK, QUIET, _RULE = "#1A1B1C", "#5A5B5C", "#D1D2D3"
_DASHED = (0, (5, 3))
_SERIES = ("#1A1B1D", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00")
_VARIABLES = {_INK: "ink", QUIET: "quiet", _RULE: "rule"} | {
    color: f"series-{place}" for place, color in enumerate(_SERIES)
}
_STYLE: Any = {
    "svg.fonttype": "none",  # text stays text, in the page's own font
    "font.family": "DejaVu Sans",  # wider than what the page will use, so that nothing collides
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.labelsize": 10,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "legend.fontsize": 10,
    "text.color": _INK,
    "axes.labelcolor": QUIET,
    "axes.edgecolor": _RULE,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": _RULE,
    "grid.linewidth": 0.6,
    "grid.alpha": 0.7,
    "xtick.color": _RULE,
    "ytick.color": _RULE,
    "xtick.labelcolor": QUIET,
    "ytick.labelcolor": QUIET,
    "lines.linewidth": 1.8,
    "lines.markersize": 6,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}


class Look(NamedTuple):
    """How a series is drawn."""

    color: str
    marker: str
    line: Any


def look_of(number: int) -> Look:
    """Return the look of the teacher, 0, or of the student of that number; 30 of them differ."""
    if number == 0:
        return Look(_SERIES[0], "D", "-")
    place = number - 1
    lines = ((0, (5, 2)), (0, (5, 1.5, 1, 1.5)), "-", (0, (1, 1.5)), (0, (3, 1)), (0, (8, 2)))
    # Five colours and six marks: who shares a colour has another mark.
    return Look(_SERIES[1 + place % 5], "s^ovPX"[place % 6], lines[place % 6])


@dataclass(frozen=True, slots=True)
class Line:
    """A value at each of the ascending x, perhaps with its interval; look 0 is the teacher's."""

    label: str
    x: Sequence[float]
    values: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    look: int = 1


@contextmanager
def canvas(
    height: float = 3.5, width: float = _WIDTH, series: int = 1
) -> Iterator[tuple[Figure, Axes]]:
    """Return a figure of this size in inches, with room for a legend of so many series."""
    with mpl.rc_context(_STYLE):
        size = (width, height + 0.19 * max(0, series - 2))
        figure = Figure(figsize=size, layout="constrained")
        yield figure, figure.subplots()


def to_svg(figure: Figure, description: str) -> str:
    """Return a figure as SVG to stand within HTML, described by its alternative text."""
    buffer = StringIO()
    # Names of clips and marks are hashed with the salt: equal figures give equal bytes.
    with mpl.rc_context(_STYLE | {"svg.hashsalt": description}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<defs>\s*<style.*?</style>\s*</defs>", "", svg,
                 flags=re.DOTALL)  # fmt: skip
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', svg))
    svg = re.sub(r'\s+id="([^"]+)"', lambda found: found[0] if found[1] in used else "", svg)
    svg = re.sub(r"\s*font-family: [^;\"]*;?", "", svg)
    for color, variable in _VARIABLES.items():
        svg = svg.replace(color.lower(), f"var(--{variable})")
    width, height = (72 * inches for inches in figure.get_size_inches())
    head = (
        f'<svg role="img" aria-label="{escape(description)}" viewBox="0 0 {width:g} {height:g}" '
        f'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
    )
    return re.sub(r"<svg[^>]*>", lambda _: head, svg, count=1).strip()


def _finished(figure: Figure, axes: Axes, x_label: str, y_label: str, words: str) -> str:
    """Label the axes, name the series above the figure if there are several; return the SVG."""
    axes.set_xlabel(f"{x_label} (log scale)" if axes.get_xscale() == "log" else x_label)
    axes.set_ylabel(y_label)
    if len(axes.get_legend_handles_labels()[1]) > 1:
        figure.legend(loc="outside upper left", handlelength=3.6, labelspacing=0.3)
    return to_svg(figure, words)


def curves(lines: Sequence[Line], y_label: str, *, log: bool = False) -> str:
    """Return values over optimizer steps as SVG, their intervals as bands."""
    with canvas(series=len(lines)) as (figure, axes):
        for line in lines:
            look = look_of(line.look)
            axes.plot(
                line.x, line.values, color=look.color, linestyle=look.line, marker=look.marker,
                markevery=max(1, len(line.x) // 8), markersize=5, label=line.label,
            )  # fmt: skip
            if line.low is not None and line.high is not None:
                axes.fill_between(
                    line.x, line.low, line.high, color=look.color, alpha=0.15, linewidth=0
                )
        if log:
            axes.set_yscale("log")
            _number_log_scale(axes.yaxis)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set_xlim(left=0)
        ends = (f"{each.label}: from {each.values[0]:.3g} to {each.values[-1]:.3g}"
                for each in lines)  # fmt: skip
        words = f"{y_label} over optimizer steps. {'; '.join(ends)}."
        return _finished(figure, axes, "optimizer steps", y_label, words)


def series(lines: Sequence[Line], x_label: str, y_label: str, *, log_x: bool) -> str:
    """Return values with their intervals against a number that was varied, as SVG."""
    with canvas(series=len(lines)) as (figure, axes):
        if log_x:
            axes.set_xscale("log")
        for place, line in enumerate(lines):
            # A little apart, or their bars would cover each other.
            _draw(figure, axes, line, 2.5 * (place - (len(lines) - 1) / 2))
        axes.margins(x=0.06)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        tried = sorted({x for line in lines for x in line.x})
        places = np.log(tried) if log_x else np.asarray(tried, dtype=float)
        # Numbers stand where values are, unless they would run into each other.
        if len(tried) == 1 or np.diff(places).min() > 0.07 * (places[-1] - places[0]):
            axes.set_xticks(tried)
            axes.xaxis.set_minor_locator(NullLocator())
        at = [
            f"{line.label}: "
            + ", ".join(f"{significant(y)} at {x:g}" for x, y in zip(line.x, line.values,
                                                                     strict=True))
            for line in lines
        ]  # fmt: skip
        words = f"{y_label} against {x_label}. {'; '.join(at)}."
        return _finished(figure, axes, x_label, y_label, words)


def trade_off(models: Sequence[Line], y_label: str) -> str:
    """Return models by milliseconds for an input and quality as SVG; bars are their intervals."""
    times = [model.x[0] for model in models]
    with canvas(series=len(models)) as (figure, axes):
        axes.set_xscale("log")
        # So much room that at least two of 1, 2, 5, 10, … are on the scale.
        axes.set_xlim(min(times) / 2.6, max(times) * 2.6)
        for place, model in enumerate(models):
            # Models of equal time stand a little apart, or their bars would cover each other.
            twins = [other for other, time in enumerate(times) if time == times[place]]
            _draw(figure, axes, model, 9 * (twins.index(place) - (len(twins) - 1) / 2))
        _number_log_scale(axes.xaxis)
        shown = (f"{model.label}: {significant(model.values[0])} in {model.x[0]:.3g} ms"
                 for model in models)  # fmt: skip
        x_label = "milliseconds for one input"
        words = f"{y_label} against {x_label}. {'; '.join(shown)}."
        return _finished(figure, axes, x_label, y_label, words)


def _draw(figure: Figure, axes: Axes, line: Line, shift: float) -> None:
    """Draw a line with error bars, so many points aside from where its values are."""
    look, bars = look_of(line.look), None
    if line.low is not None and line.high is not None:
        sides = (np.subtract(line.values, line.low), np.subtract(line.high, line.values))
        bars = np.maximum(sides, 0)
    drawn = axes.errorbar(
        line.x, line.values, yerr=bars, color=look.color, marker=look.marker, elinewidth=1.2,
        linestyle=look.line if len(line.x) > 1 else "", capsize=2.5, label=line.label,
    )  # fmt: skip
    moved = axes.transData + ScaledTranslation(shift / 72, 0, figure.dpi_scale_trans)
    for part in drawn.get_children():  # once the limits of the axes know where they are
        part.set_transform(moved)


def _number_log_scale(axis: Any) -> None:
    """Write numbers at 1, 2, 5, 10, …: a scale of less than a decade has several of them."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def paired(columns: Sequence[tuple[str, Sequence[float], int]], y_label: str) -> str:
    """Return repetitions as lines across conditions, as SVG.

    Each condition has a name, a value for each repetition, in the same order in all, and the number
    of its look.
    """
    with canvas() as (figure, axes):
        for repetition in zip(*(values for _, values, _ in columns), strict=True):
            axes.plot(range(len(columns)), repetition, color=QUIET, linewidth=0.9, alpha=0.6)
        for place, (_, values, number) in enumerate(columns):
            look, mean = look_of(number), sum(values) / len(values)
            axes.plot(
                [place] * len(values), values, look.marker, color=look.color, alpha=0.85, zorder=3
            )
            axes.plot([place - 0.18, place + 0.18], [mean, mean], color=look.color, linewidth=2.6)
        room = max(8, 50 // len(columns))
        names = [fill(label, room, break_long_words=False) for label, *_ in columns]
        axes.set_xticks(range(len(columns)), names)
        axes.tick_params(axis="x", length=0)
        axes.grid(visible=False, axis="x")
        axes.set_xlim(-0.4, len(columns) - 0.6)
        axes.set_ylabel(y_label)
        shown = (f"{label}: {', '.join(map(significant, values))}" for label, values, _ in columns)
        return to_svg(figure, f"{y_label}, repetition by repetition. {'; '.join(shown)}.")


def intervals(rows: Sequence[tuple[str, Interval, int]], x_label: str) -> str:
    """Return mean differences and their intervals as SVG, with the numbers beside them.

    Each row of this forest plot has a name, its interval and the number of its look.
    """
    numbers = [0.0, *(end for _, each, _ in rows for end in (each.mean, each.low, each.high))]
    low, high = min(numbers), max(numbers)
    room, largest = 0.08 * (high - low) or 1.0, max(-low, high)
    # Two digits of the largest, and one decimal at least.
    decimals = 1 if largest == 0 else max(1, 1 - math.floor(math.log10(largest)))
    texts = [
        "{} [{}, {}]".format(*(signed(end, decimals) for end in (each.mean, each.low, each.high)))
        for _, each, _ in rows
    ]
    labels = [fill(label, 20) for label, *_ in rows]
    lines = max(label.count("\n") for label in labels)
    with canvas(0.75 + (0.34 + 0.17 * lines) * len(rows)) as (figure, axes):
        axes.axvline(0, color=QUIET, linestyle=_DASHED, linewidth=1.1)
        for place, (_, each, number) in enumerate(rows):
            look, ends = look_of(number), (each.low, each.high)
            axes.plot(ends, [place, place], color=look.color, linewidth=2)
            axes.plot(ends, [place, place], "|", color=look.color, ms=8, mew=2)
            axes.plot([each.mean], [place], look.marker, color=look.color, ms=7.5, zorder=3)
        axes.set_xlim(low - room, high + room)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_yticks(range(len(rows)), labels)
        axes.set_xlabel(x_label)
        axes.locator_params(axis="x", nbins=5)
        right = axes.twinx()
        right.set_ylim(axes.get_ylim())
        right.set_yticks(range(len(texts)), texts)
        for side in (axes, right):
            side.tick_params(axis="y", length=0)
            side.grid(visible=False, axis="y")
            side.spines["left"].set_visible(False)
        right.grid(visible=False)
        parts = "; ".join(f"{row[0]}: {text}" for row, text in zip(rows, texts, strict=True))
        return to_svg(figure, f"{x_label}, mean and interval. {parts}.")


def deltas(changes: Sequence[tuple[str, float]], x_label: str) -> str:
    """Return changes as bars, each with its name, as SVG: to the right what is gained."""
    values = [0.0, *(change for _, change in changes)]
    low, high = min(values), max(values)
    room = 0.2 * (high - low) or 1.0  # for the number at the end of each bar
    with canvas(0.7 + 0.2 * max(len(changes), 3)) as (figure, axes):
        for place, (_, change) in enumerate(changes):
            loses, color = change < 0, look_of(1 if change < 0 else 3).color
            axes.barh([place], [change], height=0.68, color=color, alpha=0.85, linewidth=0)
            axes.annotate(
                signed(change), (change, place), xytext=(-3 if loses else 3, 0), fontsize=9,
                textcoords="offset points", ha="right" if loses else "left",
                va="center_baseline", color=QUIET,
            )  # fmt: skip
        axes.axvline(0, color=QUIET, linewidth=1)
        axes.set_xlim(low - room if low < 0 else -room / 4, high + room)
        axes.set_yticks(range(len(changes)), [_shortened(label) for label, _ in changes])
        axes.set_ylim(max(len(changes), 1) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(x_label)
        axes.locator_params(axis="x", nbins=6)
        parts = ", ".join(f"{label} {signed(change)}" for label, change in changes)
        return to_svg(figure, f"{x_label}. {parts}.")


def _shortened(label: str) -> str:
    """Leave out the middle of a long name: what tells names apart is often at the end."""
    return label if len(label) <= 22 else f"{label[:11]}…{label[-10:]}"  # noqa: PLR2004


def shared_range(*matrices: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Return the least and greatest value off the diagonals, so that maps can be compared."""
    values = np.concatenate([np.asarray(each)[~np.eye(len(each), dtype=bool)] for each in matrices])
    low = max(float(values.min()), 1e-4)
    return low, max(float(values.max()), low * 10)


def heat_map(
    matrix: Sequence[Sequence[float]],
    classes: Sequence[str],
    limits: tuple[float, float],
    description: str,
) -> str:
    """Return fractions by true class (row) and predicted class as SVG, on a logarithmic scale.

    The diagonal is masked; `limits` are what the darkest and the brightest colour stand for. The
    row of a class without examples, whose fractions are all 0, has no numbers.
    """
    values, size = np.asarray(matrix, dtype=float), len(classes)
    norm, colors = LogNorm(*limits, clip=True), colormaps["cividis"]
    with canvas(4.6) as (figure, axes):
        masked = np.ma.masked_array(values, np.eye(size, dtype=bool)).clip(*limits)
        axes.pcolormesh(masked, cmap="cividis", norm=norm, edgecolors="none", linewidth=0)
        for row, column in np.ndindex(*values.shape):
            if not values[row].any():
                continue
            fraction, color = float(values[row, column]), QUIET
            if row != column:  # light on dark, and dark on light
                red, green, blue, _ = colors(float(norm(np.float64(fraction))))
                bright = 0.299 * red + 0.587 * green + 0.114 * blue > 0.42  # noqa: PLR2004
                color = to_hex("#0b0c0d" if bright else "#f8f9fa")
            decimals = 0 if fraction >= 0.0995 else 1  # noqa: PLR2004 - two figures
            axes.text(
                column + 0.5, row + 0.5, f"{100 * fraction:.{decimals}f}", ha="center",
                va="center", color=color, fontsize=8.5,
            )  # fmt: skip
        axes.set_xticks(np.arange(size) + 0.5, list(classes))
        axes.set_yticks(np.arange(size) + 0.5, list(classes))
        axes.tick_params(length=0)
        axes.invert_yaxis()
        axes.set_aspect("equal")
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        return _finished(figure, axes, "predicted class", "true class", description)


def reliability_diagram(
    models: Sequence[tuple[str, Reliability, int]],
    names: tuple[str, str] = ("confidence", "accuracy"),
) -> str:
    """Return accuracy against confidence as SVG; a calibrated model lies on the diagonal.

    Each model has a name, its bins and the number of its look. `names` are those of the axes. Bins
    of hardly any examples are dots, and no line leads to them.
    """
    described, (x_name, y_name) = [], names
    with canvas(4.5, series=len(models)) as (figure, axes):
        axes.plot([0, 100], [0, 100], color=QUIET, linestyle=_DASHED, linewidth=1.1)
        for label, bins, number in models:
            look, found = look_of(number), np.asarray(bins.fraction)
            x, y = 100 * np.asarray(bins.confidence), 100 * np.asarray(bins.accuracy)
            axes.plot(
                x[found >= _FEW], y[found >= _FEW], color=look.color, linestyle=look.line, lw=1.5
            )
            axes.scatter(
                x, y, 9 + 240 * found, color=look.color, marker=look.marker, alpha=0.7, lw=0,
                clip_on=False,
            )  # fmt: skip
            axes.plot(
                [], [], color=look.color, linestyle=look.line, marker=look.marker, label=label
            )
            pairs = (f"{sure:.0f} {right:.0f}" for sure, right in zip(x, y, strict=True))
            described.append(f"{label}: {', '.join(pairs)}")
        axes.set(xlim=(0, 102), ylim=(0, 102))
        axes.set_aspect("equal")
        words = (
            f"{y_name.capitalize()} against {x_name}, bin by bin: {x_name} and {y_name} in %. "
            f"{'; '.join(described)}."
        )
        return _finished(figure, axes, f"{x_name}, %", f"{y_name}, %", words)


def residuals(true: Sequence[float], predicted: Sequence[float], *, look: int = 1) -> str:
    """Return predicted minus true values against the true ones (NaN: left out), as SVG.

    Of many examples `MOST_POINTS` are drawn, evenly spaced.
    """
    labels = np.asarray(true, dtype=float)
    missed = np.asarray(predicted, dtype=float) - labels
    known = np.isfinite(missed)
    labels, missed = labels[known], missed[known]
    words = "Predicted less true value: no example has both."
    if len(labels):
        low, middle, high = np.quantile(missed, [0.05, 0.5, 0.95])
        words = (
            f"Predicted less true value, of {len(labels)} examples whose true "
            f"value lies from {labels.min():.3g} to {labels.max():.3g}. Half of them are off by "
            f"{np.median(np.abs(missed)):.3g} or less; the middle is {middle:.3g}, and 90 % lie "
            f"from {low:.3g} to {high:.3g}."
        )
    with canvas() as (figure, axes):
        drawn = evenly(len(labels), MOST_POINTS).numpy()
        color = look_of(look).color
        axes.plot(labels[drawn], missed[drawn], "o", color=color, markersize=4, alpha=0.6)
        axes.axhline(0, color=QUIET, linestyle=_DASHED, linewidth=1.1)
        return _finished(figure, axes, "true value", "predicted − true", words)


def maps(samples: Sequence[ImageSample], named: Callable[[int], str]) -> str:
    """Draw each sample as a row: the image, and each map of classes, named in a legend, as SVG."""
    sources = list(samples[0].maps)
    images = [pixels_of(each.image) for each in samples]
    ids = [[pixels_of(each.maps[name]) for name in sources] for each in samples]
    used = {int(each) for row in ids for part in row for each in np.unique(part)} - {NO_CLASS}
    with _grid(images, ["image", *sources], used, named) as (figure, grid):
        for row, image, parts in zip(grid, images, ids, strict=True):
            row[0].imshow(image)
            for place, part in zip(row[1:], parts, strict=True):
                place.imshow(
                    np.ma.masked_equal(part, NO_CLASS), cmap=_COLORS, vmin=-0.5,
                    vmax=_COLORS.N - 0.5, interpolation="nearest",
                )  # fmt: skip
        shown = ", ".join(sources)
        return to_svg(figure, f"{len(images)} images with the classes of their pixels: {shown}")


def boxes(samples: Sequence[ImageSample], named: Callable[[int], str]) -> str:
    """Draw each sample as a row: the image with each source's boxes, named in a legend, as SVG."""
    sources = list(samples[0].boxes)
    images = [pixels_of(each.image) for each in samples]
    used = {box[4] for each in samples for found in each.boxes.values() for box in found}
    with _grid(images, sources, used, named) as (figure, grid):
        for row, image, sample in zip(grid, images, samples, strict=True):
            for place, source in zip(row, sources, strict=True):
                place.imshow(image)
                for left, top, right, bottom, label in sample.boxes[source]:
                    size, color = (right - left, bottom - top), _COLORS(label % _COLORS.N)
                    place.add_patch(Rectangle((left, top), *size, fill=False, color=color, lw=1.2))
        return to_svg(figure, f"{len(samples)} images with boxes: {', '.join(sources)}")


@contextmanager
def _grid(
    images: Sequence[NDArray[np.uint8]],
    heads: Sequence[str],
    used: set[int],
    named: Callable[[int], str],
) -> Iterator[tuple[Figure, Any]]:
    """Give a figure and its axes, a row for each image and a column for each head.

    With a legend of the classes that are used, if they are few.
    """
    width, aspect = 2 * _WIDTH, max(image.shape[0] / image.shape[1] for image in images)
    lines = -(-len(used) // 6) if len(used) <= MOST_NAMED else 0
    height = len(images) * width / len(heads) * aspect + 0.35 + 0.28 * lines
    with canvas(height, width) as (figure, axes):
        axes.remove()
        grid: Any = figure.subplots(len(images), len(heads), squeeze=False)
        for place, head in zip(grid[0], heads, strict=True):
            place.set_title(head)
        for place in grid.flat:
            place.set_axis_off()
        if lines:
            patches = [
                Patch(color=_COLORS(each % _COLORS.N), label=named(each)) for each in sorted(used)
            ]
            figure.legend(handles=patches, loc="outside lower center", ncols=6, labelcolor=QUIET)
        yield figure, grid
