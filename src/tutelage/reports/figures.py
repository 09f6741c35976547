"""Figures as inline SVG, each described in words, whose colours follow the page.

Those `as_percent` are given fractions and show them in per cent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, LogNorm, to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator
from matplotlib.transforms import ScaledTranslation
from numpy.typing import ArrayLike, NDArray

from tutelage.evaluation import Interval, Reliability
from tutelage.reports.canvas import DASHED, QUIET, canvas, legend, look_of, to_svg
from tutelage.reports.numbers import signed, significant
from tutelage.results.samples import NO_CLASS, ImageSample, pixels_of

MOST_BARS = 30
"""How many bars `deltas` has room for; of more, the largest losses and gains are drawn."""
MOST_POINTS = 250
"""How many examples `residuals` draws one by one; more are counted in squares."""
MOST_NAMED = 24
"""With more classes `maps` and `boxes` have no legend."""
_TAB20: Any = colormaps["tab20"]
# 20 colours that can be told apart, on a light page and on a dark one: strong first.
_COLORS = ListedColormap([*_TAB20.colors[::2], *_TAB20.colors[1::2]])


@dataclass(frozen=True, slots=True)
class Line:
    """A value at each of the ascending x, perhaps with its interval; look 0 is the teacher's."""

    label: str
    x: Sequence[float]
    values: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    look: int = 1

    def scaled(self, as_percent: bool) -> tuple[Any, Any]:
        """Return the values, and the ends of their intervals or None, as they are drawn."""
        factor = 100 if as_percent else 1
        values = factor * np.asarray(self.values, dtype=float)
        if self.low is None or self.high is None:
            return values, None
        return values, factor * np.asarray([self.low, self.high], dtype=float)


def curves(
    lines: Sequence[Line], y_label: str, *, log: bool = False, as_percent: bool = False
) -> str:
    """Return values over optimizer steps as SVG, their intervals as bands."""
    with canvas() as (figure, axes):
        ends = []
        for line in lines:
            look, (values, band) = look_of(line.look), line.scaled(as_percent)
            axes.plot(
                line.x, values, color=look.color, linestyle=look.line, marker=look.marker,
                markevery=max(1, len(line.x) // 8), markersize=5, label=line.label,
            )  # fmt: skip
            if band is not None:
                axes.fill_between(line.x, *band, color=look.color, alpha=0.15, linewidth=0)
            ends.append(f"{line.label}: from {values[0]:.3g} to {values[-1]:.3g}")
        if log:
            axes.set_yscale("log")
            _number_log_scale(axes.yaxis)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set_xlim(left=0)
        words = f"{y_label} over optimizer steps. {'; '.join(ends)}."
        return _finished(figure, axes, ("optimizer steps", y_label), words, len(lines) > 1)


def series(
    lines: Sequence[Line], x_label: str, y_label: str, *, log_x: bool, as_percent: bool
) -> str:
    """Return values with their intervals against a number that was varied, as SVG."""
    with canvas(4.7, 3.5 + 0.19 * max(0, len(lines) - 2)) as (figure, axes):
        if log_x:
            axes.set_xscale("log")
        shown = []
        for place, line in enumerate(lines):
            # A little apart, or their bars would cover each other.
            values = _draw(figure, axes, line, as_percent, 2.5 * (place - (len(lines) - 1) / 2))
            pairs = zip(line.x, values, strict=True)
            at = ", ".join(f"{_text(value, as_percent)} at {x:g}" for x, value in pairs)
            shown.append(f"{line.label}: {at}")
        axes.margins(x=0.06)
        _mark_what_was_tried(axes, sorted({x for line in lines for x in line.x}), log_x)
        words = f"{y_label} against {x_label}. {'; '.join(shown)}."
        return _finished(figure, axes, (x_label, y_label), words, len(lines) > 1)


def trade_off(models: Sequence[Line], y_label: str, *, as_percent: bool) -> str:
    """Return models by milliseconds for an input and quality as SVG; bars are their intervals."""
    times, x_label = [model.x[0] for model in models], "milliseconds for one input"
    unit, shown = " %" if as_percent else "", []
    with canvas() as (figure, axes):
        axes.set_xscale("log")
        # So much room that at least two of 1, 2, 5, 10, … are on the scale.
        axes.set_xlim(min(times) / 2.6, max(times) * 2.6)
        for place, model in enumerate(models):
            # Models of equal time stand a little apart, or their bars would cover each other.
            twins = [other for other, time in enumerate(times) if time == times[place]]
            aside = 9 * (twins.index(place) - (len(twins) - 1) / 2)
            [value] = _draw(figure, axes, model, as_percent, aside)
            text = f"{_text(value, as_percent)}{unit} in {times[place]:.3g} ms"
            shown.append(f"{model.label}: {text}")
        _number_log_scale(axes.xaxis)
        words = f"{y_label} against {x_label}. {'; '.join(shown)}."
        return _finished(figure, axes, (x_label, y_label), words, len(models) > 1)


def _draw(figure: Figure, axes: Axes, line: Line, as_percent: bool, shift: float) -> Any:
    """Draw a line with error bars, so many points aside from where its values are; return these."""
    look, (values, ends) = look_of(line.look), line.scaled(as_percent)
    bars = None if ends is None else np.maximum([values - ends[0], ends[1] - values], 0)
    drawn = axes.errorbar(
        line.x, values, yerr=bars, color=look.color, linestyle=look.line if len(values) > 1 else "",
        marker=look.marker, elinewidth=1.2, capsize=2.5, label=line.label,
    )  # fmt: skip
    moved = axes.transData + ScaledTranslation(shift / 72, 0, figure.dpi_scale_trans)
    for part in drawn.get_children():  # once the limits of the axes know where they are
        part.set_transform(moved)
    return values


def _mark_what_was_tried(axes: Axes, tried: Sequence[float], log_x: bool) -> None:
    """Set the scale's numbers where values are, unless they would run into each other."""
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    places = np.log(tried) if log_x else np.asarray(tried, dtype=float)
    if len(tried) == 1 or np.diff(places).min() > 0.07 * (places[-1] - places[0]):
        axes.set_xticks(tried)
        axes.xaxis.set_minor_locator(NullLocator())


def _number_log_scale(axis: Any) -> None:
    """Write numbers at 1, 2, 5, 10, …: a scale of less than a decade has several of them."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _finished(
    figure: Figure, axes: Axes, labels: tuple[str, str], words: str, several: bool
) -> str:
    x_label, y_label = labels
    axes.set_xlabel(f"{x_label} (log scale)" if axes.get_xscale() == "log" else x_label)
    axes.set_ylabel(y_label)
    if several:
        legend(figure)
    return to_svg(figure, words)


def _text(value: float, in_percent: bool) -> str:
    return f"{value:.1f}" if in_percent else significant(value)


def paired(
    columns: Sequence[tuple[str, Sequence[float], int]], y_label: str, *, as_percent: bool
) -> str:
    """Return repetitions as lines across conditions, as SVG.

    Each condition has a name, a value for each repetition, in the same order in all, and the number
    of its look.
    """
    factor, shown = 100 if as_percent else 1, []
    with canvas() as (figure, axes):
        heights = [[factor * each for each in values] for _, values, _ in columns]
        for repetition in zip(*heights, strict=True):
            axes.plot(range(len(columns)), repetition, color=QUIET, linewidth=0.9, alpha=0.6)
        for place, (values, (label, _, number)) in enumerate(zip(heights, columns, strict=True)):
            look, mean = look_of(number), sum(values) / len(values)
            axes.plot(
                [place] * len(values), values, look.marker, color=look.color, alpha=0.85, zorder=3
            )
            axes.plot([place - 0.18, place + 0.18], [mean, mean], color=look.color, linewidth=2.6)
            texts = ", ".join(_text(each, as_percent) for each in values)
            shown.append(f"{' '.join(label.split())}: {texts}")
        axes.set_xticks(range(len(columns)), [label for label, *_ in columns])
        axes.tick_params(axis="x", length=0)
        axes.grid(visible=False, axis="x")
        axes.set_xlim(-0.4, len(columns) - 0.6)
        axes.set_ylabel(y_label)
        return to_svg(figure, f"{y_label}, repetition by repetition. {'; '.join(shown)}.")


def intervals(rows: Sequence[tuple[str, Interval, int]], x_label: str, *, as_percent: bool) -> str:
    """Return mean differences and their intervals as SVG, with the numbers beside them.

    Each row of this forest plot has a name, its interval and the number of its look.
    """
    factor = 100 if as_percent else 1
    found = [(factor * each.mean, factor * each.low, factor * each.high) for _, each, _ in rows]
    numbers = [0.0, *(number for each in found for number in each)]
    low, high = min(numbers), max(numbers)
    room, largest = 0.08 * (high - low) or 1.0, max(-low, high)
    # Two digits of the largest, and one decimal at least.
    decimals = 1 if largest == 0 else max(1, 1 - math.floor(math.log10(largest)))
    texts = ["{} [{}, {}]".format(*(signed(number, decimals) for number in each)) for each in found]
    labels = [fill(label, 20) for label, *_ in rows]
    lines = max(label.count("\n") for label in labels)
    with canvas(4.7, 0.75 + (0.34 + 0.17 * lines) * len(rows)) as (figure, axes):
        axes.axvline(0, color=QUIET, linestyle=DASHED, linewidth=1.1)
        for place, ((mean, *ends), (_, _, number)) in enumerate(zip(found, rows, strict=True)):
            look = look_of(number)
            axes.plot(ends, [place, place], color=look.color, linewidth=2)
            for end in ends:
                axes.plot([end], [place], "|", color=look.color, markersize=8, markeredgewidth=2)
            axes.plot([mean], [place], look.marker, color=look.color, markersize=7.5, zorder=3)
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


def deltas(
    labels: Sequence[str], before: Sequence[float], after: Sequence[float], x_label: str
) -> str:
    """Return the change of each class's fraction as bars, as SVG: to the right what is gained.

    Classes without a value, NaN, are left out.
    """
    shown = [
        (label, 100 * (new - old))
        for label, old, new in zip(labels, before, after, strict=True)
        if math.isfinite(new - old)
    ]
    note, half = "", MOST_BARS // 2
    if len(shown) > MOST_BARS:
        note = (
            f" Of {len(shown)}, these are the {half} that lose most and the {half} that gain most."
        )
        ordered = sorted(shown, key=lambda each: each[1])
        shown = ordered[:half] + ordered[-half:]
    changes = [change for _, change in shown]
    low, high = min([0.0, *changes]), max([0.0, *changes])
    room = 0.2 * (high - low) or 1.0  # for the number at the end of each bar
    with canvas(4.7, 0.7 + 0.2 * max(len(shown), 3)) as (figure, axes):
        for place, change in enumerate(changes):
            loses, color = change < 0, look_of(1 if change < 0 else 3).color
            axes.barh([place], [change], height=0.68, color=color, alpha=0.85, linewidth=0)
            axes.annotate(
                signed(change), (change, place), xytext=(-3 if loses else 3, 0), fontsize=9,
                textcoords="offset points", ha="right" if loses else "left",
                va="center_baseline", color=QUIET,
            )  # fmt: skip
        axes.axvline(0, color=QUIET, linewidth=1)
        axes.set_xlim(low - room if low < 0 else -room / 4, high + room)
        axes.set_yticks(range(len(shown)), [_shortened(label) for label, _ in shown])
        axes.set_ylim(max(len(shown), 1) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(x_label)
        axes.locator_params(axis="x", nbins=6)
        parts = ", ".join(f"{label} {signed(change)}" for label, change in shown)
        return to_svg(figure, f"{x_label}.{note} {parts or 'There are none'}.")


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
    with canvas(4.7, 4.6) as (figure, axes):
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
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.set_xlabel("predicted class")
        axes.set_ylabel("true class")
        return to_svg(figure, description)


def reliability_diagram(
    models: Sequence[tuple[str, Reliability, int]],
    names: tuple[str, str] = ("confidence", "accuracy"),
) -> str:
    """Return accuracy against confidence as SVG; a calibrated model lies on the diagonal.

    Each model has a name, its bins and the number of its look. `names` are those of the axes.
    """
    described, (x_name, y_name) = [], names
    with canvas(4.7, 4.7) as (figure, axes):
        axes.plot([0, 100], [0, 100], color=QUIET, linestyle=DASHED, linewidth=1.1)
        for label, bins, number in models:
            look = look_of(number)
            x, y = ([100 * each for each in side] for side in (bins.confidence, bins.accuracy))
            axes.plot(x, y, color=look.color, linestyle=look.line, linewidth=1.5)
            areas = [9 + 240 * fraction for fraction in bins.fraction]
            axes.scatter(x, y, areas, color=look.color, marker=look.marker, alpha=0.7, linewidths=0)
            axes.plot(
                [], [], color=look.color, linestyle=look.line, marker=look.marker, label=label
            )
            pairs = (f"{sure:.0f} {right:.0f}" for sure, right in zip(x, y, strict=True))
            described.append(f"{label}: {', '.join(pairs)}")
        axes.set(xlim=(0, 102), ylim=(0, 102), xlabel=f"{x_name}, %", ylabel=f"{y_name}, %")
        axes.set_aspect("equal")
        legend(figure)
        return to_svg(
            figure,
            f"{y_name.capitalize()} against {x_name}, bin by bin: {x_name} and {y_name} in %. "
            f"{'; '.join(described)}.",
        )


def residuals(labels: ArrayLike, predictions: ArrayLike, *, look: int = 1) -> str:
    """Return predicted minus true values against the true ones (NaN: left out), as SVG.

    Many examples are counted in squares, of a few sizes whose area stands for their number, so that
    the figure is a few hundred marks at most.
    """
    true = np.asarray(labels, dtype=float).ravel()
    missed = np.asarray(predictions, dtype=float).ravel() - true
    known = np.isfinite(missed)
    true, missed, color = true[known], missed[known], look_of(look).color
    words = "Predicted less true value: no example has both."
    if len(true):
        low, middle, high = np.quantile(missed, [0.05, 0.5, 0.95])
        words = (
            f"Predicted less true value, of {len(true)} examples whose true "
            f"value lies from {true.min():.3g} to {true.max():.3g}. Half of them are off by "
            f"{np.median(np.abs(missed)):.3g} or less; the middle is {middle:.3g}, and 90 % lie "
            f"from {low:.3g} to {high:.3g}."
        )
    with canvas() as (figure, axes):
        if len(true) > MOST_POINTS:
            counts, x_edges, y_edges = np.histogram2d(true, missed, bins=(24, 18))
            columns, rows = np.nonzero(counts)
            x, y = ((edges[:-1] + edges[1:]) / 2 for edges in (x_edges, y_edges))
            sizes = np.ceil(6 * np.sqrt(counts[columns, rows] / counts.max()))
            for size in range(1, 7):
                here = sizes == size
                axes.plot(
                    x[columns[here]], y[rows[here]], "s", color=color, alpha=0.8,
                    markersize=0.6 + 1.2 * size, markeredgewidth=0,
                )  # fmt: skip
        else:
            axes.plot(true, missed, "o", color=color, markersize=4, alpha=0.6)
        axes.axhline(0, color=QUIET, linestyle=DASHED, linewidth=1.1)
        axes.set(xlabel="true value", ylabel="predicted − true")
        return to_svg(figure, words)


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
    width, aspect = 9.4, max(image.shape[0] / image.shape[1] for image in images)
    lines = -(-len(used) // 6) if len(used) <= MOST_NAMED else 0
    height = len(images) * width / len(heads) * aspect + 0.35 + 0.28 * lines
    with canvas(width, height) as (figure, axes):
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
