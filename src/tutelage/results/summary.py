"""What a record holds of runs besides their metrics: curves, versions, what was not measured."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import torch

from tutelage.evaluation import Outputs
from tutelage.results.record import Curve
from tutelage.tasks.token_scores import unknown_labels
from tutelage.teachers import Teacher

_PACKAGES = ("tutelage", "torch", "accelerate", "numpy")


def unmeasured_scores(teacher: Teacher, outputs: Outputs | None) -> str:
    """Return why a teacher's own scores of tokens are not known, in words; "" if they are."""
    if outputs is None or outputs.scores is None:
        return "it has samples of its tokens, and no probabilities"
    return "" if teacher.modules() else unknown_labels(outputs.scores, outputs.labels)


def curves(history: Sequence[Mapping[str, Any]]) -> dict[str, Curve]:
    """Return the metrics of each epoch over steps, without those that are not finite."""
    names = dict.fromkeys(name for epoch in history for name in epoch)
    found = {}
    for name in names:
        rows = [
            (epoch["step"], epoch[name])
            for epoch in history
            if isinstance(epoch.get(name), (int, float)) and math.isfinite(epoch[name])
        ]
        if rows and (name == "lr" or name.startswith(("train/", "val/"))):
            steps, values = zip(*rows, strict=True)
            found[name] = Curve(steps, values)
    return found


def finite(metrics: Mapping[str, float | None]) -> dict[str, float]:
    """Return the metrics that are finite."""
    return {
        name: value for name, value in metrics.items() if value is not None and math.isfinite(value)
    }


def versions() -> dict[str, str]:
    """Return what this was made with."""
    return {name: version(name) for name in _PACKAGES} | {
        "python": platform.python_version(),
        "system": f"{platform.system()} on {platform.machine()}",
        "threads": str(torch.get_num_threads()),
    }
