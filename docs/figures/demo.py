"""The demo's table and figure for the README, from a demo's results.

tutelage demo && python docs/figures/demo.py demo/results.json
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

SHOWN = {
    "labels": ("200 labels\nonly", "#C14F00", "o"),
    "smoothed labels": ("200 labels,\nsmoothed", "#A86F00", "v"),
    "distilled": ("distilled on\nthese 200", "#0072B2", "s"),
    "distilled, more images": ("and on 1,000\nunlabelled", "#00855F", "^"),
    "all the teacher's labels": ("all 1,200\nlabels", "#5A5B5C", "D"),
}
"""The arms of the figure: a label, a colour and a mark."""
LOOK = {"svg.hashsalt": "tutelage", "svg.fonttype": "none", "font.family": "sans-serif"}


def table(found: dict[str, Any]) -> str:
    """Return teacher and students as a Markdown table."""
    lines = [
        "| | accuracy, % | agreement with teacher, % | parameters | file | ms per image, batch 1 | "
        "batch 256 |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    teacher = found["teacher"]
    accuracy = f"{100 * _values(teacher, 'accuracy')[0]:.1f}"
    lines.append(_row("teacher", accuracy, "–", found["models"][teacher["model"]]))
    for arm in found["arms"]:
        metrics = [_spread(arm, name) for name in ("accuracy", "agreement")]
        name = f"student: {arm['name'][0].lower()}{arm['name'][1:]}"
        lines.append(_row(name, metrics[0], metrics[1], found["models"][arm["model"]]))
    return "\n".join(lines)


def _row(name: str, accuracy: str, agreement: str, model: dict[str, Any]) -> str:
    times = [f"{1e3 * each['median'] / each['batch_size']:.3g}" for each in model["latencies"]]
    size = (f"{model['cost']['parameters']:,}", f"{model['cost']['file_bytes'] / 1000:.3g} kB")
    return "| " + " | ".join((name, accuracy, agreement, *size, *times)) + " |"


def _values(arm: dict[str, Any], metric: str) -> list[float]:
    return [trial["metrics"][metric] for trial in arm["trials"]]


def _spread(arm: dict[str, Any], metric: str) -> str:
    found = arm["intervals"][metric]
    return f"{100 * found['mean']:.1f} ± {50 * (found['high'] - found['low']):.1f}"


def draw_seeds(axes: Axes, found: dict[str, Any]) -> None:
    """Draw each seed's accuracy in each arm, joined by a line."""
    arms = {arm["name"]: _values(arm, "accuracy") for arm in found["arms"]}
    accuracies = 100 * np.array([arms[name] for name in SHOWN])
    axes.plot(accuracies, color="#999999", linewidth=0.8, zorder=1)
    for column, (values, look) in enumerate(zip(accuracies, SHOWN.values(), strict=True)):
        _, colour, mark = look
        axes.scatter([column] * len(values), values, color=colour, marker=mark, zorder=2)
        axes.hlines(values.mean(), column - 0.2, column + 0.2, color=colour, linewidth=2.5)
    teacher = 100 * _values(found["teacher"], "accuracy")[0]
    axes.axhline(teacher, color="black", linestyle="--", linewidth=1)
    axes.text(-0.2, teacher - 0.3, "teacher, 1,200 labels", va="top", fontsize=9)
    axes.set_xticks(range(len(SHOWN)), [label for label, *_ in SHOWN.values()], fontsize=8.5)
    axes.set_ylabel("accuracy on 597 test images, %")
    axes.set_title("The same small network, trained in five ways", fontsize=10)
    axes.grid(axis="y", alpha=0.3)


def draw_resemblance(axes: Axes, found: dict[str, Any]) -> None:
    """Draw the mean soft target for each true class, without the class itself."""
    targets = 100 * np.array(found["teacher"]["similarity"])
    np.fill_diagonal(targets, np.nan)
    axes.imshow(targets, cmap="cividis", norm=LogNorm())
    for row, column in np.argwhere(~np.isnan(targets)):
        dark = targets[row, column] < 1.5
        axes.text(
            column,
            row,
            f"{targets[row, column]:.1f}",
            ha="center",
            va="center",
            fontsize=6.5,
            color="white" if dark else "black",
        )
    axes.set(xticks=range(10), yticks=range(10), xlabel="other class", ylabel="true class")
    axes.set_title(
        f"Mean soft targets without the true class, % at T = {found['similarity_temperature']:g}",
        fontsize=10,
    )


def main() -> None:
    """Print the table and draw the figure."""
    found = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    print(table(found))
    with rc_context(LOOK):
        figure = Figure(figsize=(10, 4), layout="constrained")
        seeds, classes = figure.subplots(1, 2)
        draw_seeds(seeds, found)
        draw_resemblance(classes, found)
        path = Path(__file__).with_suffix(".svg")
        figure.savefig(path, metadata={"Date": None}, facecolor="white")


if __name__ == "__main__":
    main()
