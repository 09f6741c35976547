"""Boxes: what a detector finds in each image, a dict of boxes, scores and labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from tutelage.errors import ModelError
from tutelage.nested import describe
from tutelage.objectives import Objective, OwnLoss
from tutelage.tasks.outputs import Outputs
from tutelage.tasks.task import Task

_COLUMNS = {"boxes": 4, "scores": 1, "labels": 1}


class Boxes(Task):
    """Boxes: outputs are one dict for each image, and labels dicts of true boxes.

    There are no standard metrics: what counts as found is the user's choice, such as
    `tutelage.evaluation.MeanAveragePrecision`.
    """

    name = "boxes"

    def default_objective(self, smoothing: float = 0.0) -> Objective:
        """Return the detector's own loss."""
        return OwnLoss()

    def metrics(self, outputs: Outputs) -> dict[str, float]:
        """Return nothing."""
        return {}

    def pack(self, outputs: Outputs) -> Tensor | None:
        """Return all detections as one tensor."""
        return None if outputs.predictions is None else packed(outputs.predictions)

    def unpack(self, kept: Tensor, known: Outputs) -> Outputs:
        """Return the detections that were packed."""
        return Outputs(None, None, known.labels, known.domains, predictions=unpacked(kept))

    def same_form(self, one: Tensor, other: Tensor) -> bool:
        """Return that detections can be compared, however many there are."""
        return True


def packed(predictions: Sequence[Any]) -> Tensor:
    """Return detections as `[examples, most, 6]` in float32, padded with NaN.

    The columns are x1, y1, x2, y2, score and label.

    Args:
        predictions: For each example a dict of `boxes` `[n, 4]`, `scores` and `labels` `[n]`.

    Raises:
        ModelError: They have other keys or shapes, or a value is NaN.

    >>> found = {"boxes": torch.ones(1, 4), "scores": torch.ones(1), "labels": torch.ones(1).long()}
    >>> packed([found, {name: each[:0] for name, each in found.items()}]).shape
    torch.Size([2, 1, 6])
    """
    return pad_sequence(list(map(_table, predictions)), batch_first=True, padding_value=torch.nan)


def unpacked(output: Tensor) -> list[dict[str, Tensor]]:
    """Return the detections of each example, as `packed` was given them."""
    found = []
    for each in output:
        boxes, scores, labels = each[~each[:, 0].isnan()].split(list(_COLUMNS.values()), dim=1)
        found.append({"boxes": boxes, "scores": scores[:, 0], "labels": labels[:, 0].long()})
    return found


def _table(prediction: object) -> Tensor:
    """Return the detections of one example, `[n, 6]`."""
    if not isinstance(prediction, Mapping) or set(prediction) != set(_COLUMNS):
        raise ModelError(
            "a study keeps boxes, and a detector must return a dict of 'boxes', 'scores' and "
            f"'labels' for each example, got {describe(prediction)}; wrap it in a module that "
            "returns these three, or train it by tl.distill"
        )
    number = len(prediction["labels"])
    shapes = {"boxes": (number, _COLUMNS["boxes"]), "scores": (number,), "labels": (number,)}
    for name, shape in shapes.items():
        if tuple(prediction[name].shape) != shape:
            raise ModelError(
                f"detections must have {name!r} of shape {list(shape)}, got "
                f"{describe(prediction[name])}; give one of each for every box"
            )
    columns = [
        prediction[name].detach().cpu().float().reshape(number, width)
        for name, width in _COLUMNS.items()
    ]
    table = torch.cat(columns, dim=1)
    if bool(table.isnan().any()):
        raise ModelError(
            "boxes and scores must be numbers, got NaN; find out why the model diverged"
        )
    return table
