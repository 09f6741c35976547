"""Mean average precision (mAP) of detected boxes, as COCO defines it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tutelage.errors import DataError, NonFiniteError
from tutelage.nested import describe
from tutelage.rows import Rows

_THRESHOLDS = np.linspace(0.5, 0.95, 10)
_RECALLS = np.linspace(0.0, 1.0, 101)
_MOST = 100  # detections of one class in one image
BoxDicts = Sequence[Mapping[str, Any]]
"""For each image a dict of tensors or arrays, as torchvision's detectors take and give them."""
_Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class AveragePrecision:
    """How well boxes are detected; each in [0, 1].

    Args:
        ap: Mean over the classes and over the IoU thresholds 0.50, 0.55, …, 0.95.
        ap50: Mean over the classes at the threshold 0.50.
        by_class: Each class's mean over the thresholds, by label, ascending.
    """

    ap: float
    ap50: float
    by_class: dict[int, float]


@dataclass(frozen=True, slots=True)
class _Matches:
    """The detections of one class in one image, in descending order of their scores.

    Args:
        scores: `[detections]`.
        correct: Whether each matches a true box, `[thresholds, detections]`.
        valid: Whether each counts, `[thresholds, detections]`: not if it matches a crowd.
        truths: How many true boxes there are, without crowds.
    """

    scores: _Array
    correct: _Array
    valid: _Array
    truths: int


def mean_average_precision(predictions: BoxDicts, targets: BoxDicts) -> AveragePrecision:
    """Return the mean over classes of the area under the curve of precision over recall.

    The definition of COCO (Lin, Maire, Belongie, Bourdev, Girshick, Hays, Perona, Ramanan, Zitnick
    and Dollár 2014, https://arxiv.org/abs/1405.0312; https://cocodataset.org/#detection-eval), for
    boxes of all sizes. In each image the 100 detections of a class with the highest scores are
    matched one after another to the true box of that class with the largest intersection over union
    (IoU) that is not taken and reaches the threshold. Precision at a recall is the largest at that
    recall or beyond; it is averaged over the recalls 0, 0.01, …, 1. Classes without a true box are
    left out, so that false detections of them cost nothing.

    Args:
        predictions: For each image `boxes`, `[n, 4]` as (x1, y1, x2, y2), `scores` `[n]` and
            `labels` `[n]`, integers. None are needed: n may be 0.
        targets: For each image `boxes` and `labels`, and optionally `iscrowd` `[n]`: a crowd is not
            a true box, and detections that lie in it (by the part of their own area) do not count.

    Raises:
        DataError: The numbers of images or boxes differ, a box is not (x1, y1, x2, y2) with
            x1 ≤ x2 and y1 ≤ y2, labels are no integers, or there is no true box at all.
        NonFiniteError: A coordinate or a score is NaN or infinite.

    >>> target = {"boxes": torch.tensor([[0.0, 0.0, 10.0, 10.0]]), "labels": torch.tensor([1])}
    >>> found = {**target, "boxes": target["boxes"] + 1.0, "scores": torch.tensor([0.9])}
    >>> mean_average_precision([found], [target])  # IoU 81/119 = 0.68 reaches 4 of 10 thresholds
    AveragePrecision(ap=0.4, ap50=1.0, by_class={1: 0.4})
    """
    if len(predictions) != len(targets):
        raise DataError(
            f"predictions and targets must be of the same images, got {len(predictions)} and "
            f"{len(targets)}; give one dict on each side for every image"
        )
    found = [_arrays(each, "predictions", k, ("scores",)) for k, each in enumerate(predictions)]
    true = [_arrays(each, "targets", k, ()) for k, each in enumerate(targets)]
    classes = np.unique(np.concatenate([each["labels"][~each["iscrowd"]] for each in true] or [[]]))
    if not len(classes):
        raise DataError(
            f"at least one image must have a true box, got none in {len(targets)} images; give "
            "targets with boxes"
        )
    curves = {int(each): _precision(each, found, true) for each in classes}
    means = {label: float(curve.mean()) for label, curve in curves.items()}
    ap50 = float(np.mean([curve[0].mean() for curve in curves.values()]))
    return AveragePrecision(float(np.mean(list(means.values()))), ap50, means)


class MeanAveragePrecision:
    """`mean_average_precision` as a metric of a detector: its `ap`, or with `at_50` its `ap50`.

    `metrics={"AP": tl.evaluation.MeanAveragePrecision()}`. A study then compares the average
    precision of each class too (over all thresholds), and shows both in per cent.

    Args:
        at_50: Whether an IoU of 0.5 is enough.
    """

    is_fraction = True

    def __init__(self, *, at_50: bool = False) -> None:
        self.at_50 = at_50

    def __call__(self, predictions: BoxDicts, targets: BoxDicts) -> float:
        """Return it for dicts of boxes, one for each image."""
        found = mean_average_precision(predictions, targets)
        return found.ap50 if self.at_50 else found.ap

    def by_class(
        self, predictions: BoxDicts, targets: BoxDicts, rows: Rows | None
    ) -> dict[int, float]:
        """Return each class's average precision."""
        return mean_average_precision(predictions, targets).by_class


def _precision(label: int, found: list[dict[str, _Array]], true: list[dict[str, _Array]]) -> _Array:
    """Return the precision of one class at each threshold and recall, `[thresholds, recalls]`."""
    images = [
        _matches(label, *both)
        for both in zip(found, true, strict=True)
        if any((side["labels"] == label).any() for side in both)
    ]
    order = np.argsort(-np.concatenate([each.scores for each in images]), kind="stable")
    correct, valid = (
        np.concatenate([getattr(each, name) for each in images], axis=1)[:, order]
        for name in ("correct", "valid")
    )
    hits, all_ = (correct & valid).cumsum(axis=1), valid.cumsum(axis=1)
    recall = hits / sum(each.truths for each in images)
    precision = hits / np.maximum(all_, 1)
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    curves = np.zeros((len(_THRESHOLDS), len(_RECALLS)))
    for curve, reached, values in zip(curves, recall, precision, strict=True):
        first = np.searchsorted(reached, _RECALLS)  # the first detection with that recall
        there = first < len(values)
        curve[there] = values[first[there]]
    return curves


def _matches(label: int, found: dict[str, _Array], true: dict[str, _Array]) -> _Matches:
    """Match the detections of a class in one image to its true boxes, best score first."""
    ours, theirs = found["labels"] == label, true["labels"] == label
    order = np.argsort(-found["scores"][ours], kind="stable")[:_MOST]
    boxes, scores = found["boxes"][ours][order], found["scores"][ours][order]
    crowd = true["iscrowd"][theirs]
    ious = _ious(boxes, true["boxes"][theirs], crowd)
    correct = np.zeros((len(_THRESHOLDS), len(boxes)), dtype=bool)
    valid = np.ones_like(correct)
    free = np.tile(~crowd, (len(_THRESHOLDS), 1))
    rows = np.arange(len(_THRESHOLDS))
    for place, row in enumerate(ious if crowd.size else ()):
        # Of equal ones the last, as in COCO's own code.
        open_ = np.where(free, row, -1.0)[:, ::-1]
        best = row.size - 1 - open_.argmax(axis=1)
        hit = open_.max(axis=1) >= _THRESHOLDS
        correct[:, place] = hit
        free[rows[hit], best[hit]] = False
        in_crowd = np.where(crowd, row, -1.0).max() >= _THRESHOLDS
        valid[:, place] = hit | ~in_crowd
    return _Matches(scores, correct, valid, int((~crowd).sum()))


def _ious(boxes: _Array, truths: _Array, crowd: _Array) -> _Array:
    """Return IoUs, `[detections, truths]`; of a crowd: the part of the detection inside it."""
    low = np.maximum(boxes[:, None, :2], truths[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], truths[None, :, 2:])
    shared = (high - low).clip(min=0).prod(axis=2)
    area, others = ((each[:, 2:] - each[:, :2]).prod(axis=1) for each in (boxes, truths))
    union = np.where(crowd, area[:, None], area[:, None] + others - shared)
    return shared / np.where(union > 0, union, 1)


def _arrays(image: Any, side: str, place: int, also: tuple[str, ...]) -> dict[str, _Array]:
    """Return the arrays of one image, checked; boxes and scores in float64."""
    where, names = f"`{side}[{place}]`", ("boxes", "labels", *also)
    if missing := [name for name in names if name not in image]:
        raise DataError(f"{where} must have {missing} too; give what torchvision's detectors do")
    arrays = {name: _array(image[name]) for name in names}
    number = arrays["labels"].size
    crowds = image["iscrowd"] if "iscrowd" in image and not also else np.zeros(number)
    arrays["iscrowd"] = _array(crowds).astype(bool)
    if arrays["boxes"].size == 0:
        arrays["boxes"] = arrays["boxes"].reshape(-1, 4)
    shapes = {name: each.shape for name, each in arrays.items()}
    floats = number > 0 and arrays["labels"].dtype.kind == "f"
    if floats or shapes.pop("boxes") != (number, 4) or set(shapes.values()) != {(number,)}:
        raise DataError(
            f"{where} must have boxes [n, 4] and the others [n], labels integers, got "
            f"{describe({name: torch.as_tensor(each) for name, each in arrays.items()})}; give one "
            "of each for every box"
        )
    arrays["labels"] = arrays["labels"].astype(np.int64)
    for name in ("boxes", *also):
        arrays[name] = arrays[name].astype(np.float64)
    boxes = arrays["boxes"]
    if not all(np.isfinite(arrays[name]).all() for name in ("boxes", *also)):
        raise NonFiniteError(
            f"boxes and scores must be finite, got NaN or infinite values in {where}; find out why "
            "the model diverged"
        )
    wrong = (boxes[:, 2:] < boxes[:, :2]).any(axis=1)
    if wrong.any():
        raise DataError(
            "boxes must be (x1, y1, x2, y2) with x1 ≤ x2 and y1 ≤ y2, got "
            f"{boxes[wrong][0].tolist()} in {where}; convert boxes of another form by "
            "torchvision.ops.box_convert"
        )
    return arrays


def _array(values: Any) -> _Array:
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        values = values.float() if values.dtype == torch.bfloat16 else values
    return np.asarray(values)
