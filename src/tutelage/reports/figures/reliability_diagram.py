"""Accuracy against confidence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tutelage.reports.figures._canvas import canvas, to_svg
from tutelage.reports.figures._palette import QUIET, look_of

_AREA, _LEAST_AREA = 240.0, 9.0


@dataclass(frozen=True, slots=True)
class ReliabilityLine:
    """One model, its examples sorted into bins by confidence.

    Args:
        label: Its name.
        confidences: Mean confidence of each bin, in [0, 1], ascending.
        accuracies: Fraction of each bin that is right.
        fractions: Fraction of all examples that each bin holds; bins without any are left out.
        look: Number of its look; 0 is the teacher's.
    """

    label: str
    confidences: Sequence[float]
    accuracies: Sequence[float]
    fractions: Sequence[float]
    look: int = 1

    def filled(self) -> list[tuple[float, float, float]]:
        """Return confidence, accuracy and fraction of the bins that hold examples."""
        bins = zip(self.confidences, self.accuracies, self.fractions, strict=True)
        return [each for each in bins if each[2] > 0 and all(map(math.isfinite, each))]


def reliability_diagram(name: str, lines: Sequence[ReliabilityLine]) -> str:
    """Return accuracy against confidence as SVG; a calibrated model lies on the diagonal.

    Args:
        name: Of the figure, unique on its page.
        lines: The models.
    """
    with canvas(4.7, 4.7) as (figure, axes):
        axes.plot([0, 100], [0, 100], color=QUIET, linestyle=(0, (5, 3)), linewidth=1.1)
        for line in lines:
            look, bins = look_of(line.look), line.filled()
            x, y = ([100 * each[side] for each in bins] for side in (0, 1))
            axes.plot(x, y, color=look.color, linestyle=look.line, linewidth=1.5)
            areas = [_LEAST_AREA + _AREA * fraction for *_, fraction in bins]
            axes.scatter(x, y, areas, color=look.color, marker=look.marker, alpha=0.7, linewidths=0)
            axes.plot(
                [], [], color=look.color, linestyle=look.line, marker=look.marker, label=line.label
            )
        axes.set_xlim(0, 102)
        axes.set_ylim(0, 102)
        axes.set_aspect("equal")
        axes.set_xlabel("confidence, %")
        axes.set_ylabel("accuracy, %")
        figure.legend(loc="outside upper left", handlelength=3.6, labelspacing=0.3)
        return to_svg(figure, name, _described(lines))


def _described(lines: Sequence[ReliabilityLine]) -> str:
    parts = "; ".join(
        f"{line.label}: "
        + ", ".join(f"{100 * sure:.0f} {100 * right:.0f}" for sure, right, _ in line.filled())
        for line in lines
    )
    return f"Accuracy against confidence, bin by bin: confidence and accuracy in %. {parts}."
