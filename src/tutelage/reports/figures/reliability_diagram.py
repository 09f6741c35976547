"""Accuracy against confidence."""

from __future__ import annotations

from collections.abc import Sequence

from tutelage.evaluation import Reliability
from tutelage.reports.figures._canvas import canvas, to_svg
from tutelage.reports.figures._palette import QUIET, look_of

_AREA, _LEAST_AREA = 240.0, 9.0


def reliability_diagram(
    models: Sequence[tuple[str, Reliability, int]],
    names: tuple[str, str] = ("confidence", "accuracy"),
) -> str:
    """Return accuracy against confidence as SVG; a calibrated model lies on the diagonal.

    Each model has a name, its bins and the number of its look. `names` are those of the axes.
    """
    described, (x_name, y_name) = [], names
    with canvas(4.7, 4.7) as (figure, axes):
        axes.plot([0, 100], [0, 100], color=QUIET, linestyle=(0, (5, 3)), linewidth=1.1)
        for label, bins, number in models:
            look = look_of(number)
            x, y = ([100 * each for each in side] for side in (bins.confidence, bins.accuracy))
            axes.plot(x, y, color=look.color, linestyle=look.line, linewidth=1.5)
            areas = [_LEAST_AREA + _AREA * fraction for fraction in bins.fraction]
            axes.scatter(x, y, areas, color=look.color, marker=look.marker, alpha=0.7, linewidths=0)
            axes.plot(
                [], [], color=look.color, linestyle=look.line, marker=look.marker, label=label
            )
            pairs = (f"{sure:.0f} {right:.0f}" for sure, right in zip(x, y, strict=True))
            described.append(f"{label}: {', '.join(pairs)}")
        axes.set_xlim(0, 102)
        axes.set_ylim(0, 102)
        axes.set_aspect("equal")
        axes.set_xlabel(f"{x_name}, %")
        axes.set_ylabel(f"{y_name}, %")
        figure.legend(loc="outside upper left", handlelength=3.6, labelspacing=0.3)
        return to_svg(
            figure,
            f"{y_name.capitalize()} against {x_name}, bin by bin: {x_name} and {y_name} in %. "
            f"{'; '.join(described)}.",
        )
