"""The learning curves of a run's page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from tutelage.reports.figures import Curve, curves
from tutelage.reports.figures._palette import LOOKS
from tutelage.reports.page import Figure, Section

_LOSSES = ("train/loss", "val/loss")
_SHARES = ("val/accuracy", "val/agreement")
_ERRORS = ("val/mse", "val/teacher_mse")
_LEAD = "val/lead/"
_LABELS = {
    "train/loss": "training",
    "val/loss": "validation",
    "val/accuracy": "accuracy",
    "val/agreement": "agreement with the teacher",
    "val/mse": "from the labels",
    "val/teacher_mse": "from the teacher",
}

History = Sequence[Mapping[str, Any]]


def learning_curves(history: History) -> Section:
    """Return the figures of each epoch over steps, those that belong together in one."""
    keys = _keys(history)
    parts = [key for key in keys if key.startswith("train/") and key != "train/loss"]
    known = {*_LOSSES, *_SHARES, *_ERRORS}
    by_domain = _by_domain(keys)
    known |= {key for group in by_domain.values() for key in group}
    leads = [key for key in keys if key.startswith(_LEAD)]
    known |= set(leads)
    own = [key for key in keys if key.startswith("val/") and key not in known]
    drawn = [
        _figure(history, _LOSSES, "Loss", "loss", "What training lowers, averaged over an epoch."),
        _figure(
            history,
            parts if len(parts) > 1 else (),
            "Parts of the objective",
            "training loss",
            "Each part before it is weighed.",
        ),
        _figure(
            history,
            _SHARES,
            "Quality on validation data",
            "% of examples",
            "Share of examples whose class is right, or is the one that the teacher names.",
            as_percent=True,
        ),
        _figure(
            history,
            _ERRORS,
            "Error on validation data",
            "mean squared error",
            "Mean squared distance from labels and teacher.",
        ),
        *(_figure(history, (key,), _name(key), _name(key), "On validation data.") for key in own),
        _figure(
            history,
            leads,
            "Where the student is ahead",
            "lead over the teacher",
            "On validation data. After an epoch where a group is above 0, it is not taught.",
        ),
        *(_of_domains(history, figure, group) for figure, group in by_domain.items()),
    ]
    return Section(
        "Learning curves",
        figures=tuple(figure for figure in drawn if figure is not None),
        caption="Each mark is an epoch, or several where there are many; the scale is in steps.",
    )


def _by_domain(keys: Sequence[str]) -> dict[str, list[str]]:
    """Return the figures that are told by domain, `val/accuracy/photo`, by what they tell."""
    groups: dict[str, list[str]] = {}
    for key in keys:
        kind, *rest = key.split("/", 2)
        if kind == "val" and len(rest) > 1 and f"val/{rest[0]}" in keys:
            groups.setdefault(f"val/{rest[0]}", []).append(key)
    return groups


def _of_domains(history: History, figure: str, keys: Sequence[str]) -> Figure | None:
    title = f"{_name(figure).capitalize()} by domain"
    as_percent = figure in _SHARES
    label = "% of examples" if as_percent else _name(figure)
    return _figure(
        history, keys, title, label, "On the validation data of each.", as_percent=as_percent
    )


def _keys(history: History) -> list[str]:
    """Return the names of all figures: stages may have different ones."""
    return list(dict.fromkeys(chain.from_iterable(history)))


def _figure(
    history: History,
    keys: Sequence[str],
    title: str,
    y_label: str,
    caption: str,
    as_percent: bool = False,
) -> Figure | None:
    """Return the figure of those keys that the history has; None if it has none of them."""
    lines = [
        _curve(history, key, 1 + place % (len(LOOKS) - 1))
        for place, key in enumerate(keys)
        if key in _keys(history)
    ]
    lines = [line for line in lines if line.values]
    if not lines:
        return None
    name = "run-" + "-".join("".join(c if c.isalnum() else "-" for c in key) for key in keys)
    positive = all(value > 0 for line in lines for value in line.values)
    values = [value for line in lines for value in line.values]
    log = positive and not as_percent and max(values) > 10 * min(values)
    return Figure(
        curves(name, lines, y_label, log=log, as_percent=as_percent),
        title,
        f"{caption} The scale is logarithmic." if log else caption,
    )


def _curve(history: History, key: str, look: int) -> Curve:
    """Return a figure's finite values; there may be none."""
    finite = [record for record in history if math.isfinite(record.get(key, math.nan))]
    steps, values = [r["step"] for r in finite], [r[key] for r in finite]
    name = _LABELS.get(key, _name(key).rsplit("/", 1)[-1])
    return Curve(name, steps, values, look=look)


def _name(key: str) -> str:
    return key.split("/", 1)[1].replace("_", " ")
