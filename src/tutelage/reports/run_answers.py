"""What a student's answers tell besides the usual figures: how sure it is, and where it misses."""

from __future__ import annotations

import torch
from torch import Tensor

from tutelage.errors import DataError, NonFiniteError
from tutelage.evaluation import by_class, calibration, reliability
from tutelage.reports.run_record import Confidence, Misses

_MOST_CLASSES = 100
_MOST_OUTPUTS = 4
_MOST_POINTS = 2000


def confidence_of(output: Tensor, labels: Tensor | None) -> Confidence | None:
    """Return how sure a classifier is, and how right; None where that cannot be said.

    Args:
        output: Class logits `[examples, classes]`.
        labels: Class ids `[examples]`; −100 is left out.
    """
    if labels is None or labels.is_floating_point() or not _are_logits(output):
        return None
    try:
        whole, bins = calibration(output, labels), reliability(output, labels)
        few = output.shape[1] <= _MOST_CLASSES
        recalls = by_class(output, labels) if few else {}
    except (DataError, NonFiniteError):  # the rest of the page is worth having all the same
        return None
    parts = zip(bins.confidence, bins.accuracy, bins.share, strict=True)
    return Confidence(whole.nll, whole.ece, tuple(parts), recalls)


def _are_logits(output: Tensor) -> bool:
    """Tell whether there are classes to choose from, none of them ruled out by −∞."""
    classes = output.ndim == 2 and output.shape[1] > 1  # noqa: PLR2004
    return classes and bool(output.isfinite().all())


def misses_of(prediction: Tensor, labels: Tensor | None) -> tuple[Misses, ...]:
    """Return true and predicted values of each output, or of a sample where there are many.

    Args:
        prediction: Values `[examples, outputs]`.
        labels: As many values; NaN is left out. None, or others, give nothing.
    """
    if labels is None or labels.numel() != prediction.numel():
        return ()
    predicted = prediction.reshape(len(prediction), -1).double()
    true = labels.reshape(predicted.shape).double()
    if predicted.shape[1] > _MOST_OUTPUTS:
        return ()
    return tuple(_misses(*column) for column in zip(true.T, predicted.T, strict=True))


def _misses(true: Tensor, predicted: Tensor) -> Misses:
    known = (true - predicted).isfinite().nonzero().ravel()
    if len(known) > _MOST_POINTS:
        known = known[torch.linspace(0, len(known) - 1, _MOST_POINTS).long()]
    return Misses(tuple(true[known].tolist()), tuple(predicted[known].tolist()))
