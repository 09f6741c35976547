"""Values: one or several numbers for each example, or row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from tutelage.errors import DataError
from tutelage.labels import by_example, is_known
from tutelage.nested import describe
from tutelage.objectives import LabelRegression, Objective
from tutelage.tasks.outputs import Outputs
from tutelage.tasks.task import NO_SUMMARY, Residuals, Summary, Task

_MOST_OUTPUTS = 4
_MOST_POINTS = 2000


class Values(Task):
    """Numbers: outputs are `[examples, outputs]`, and labels the same, NaN where missing."""

    name = "values"
    label_metrics = ("mse", "r2")
    teacher_metrics = ("teacher_mse",)
    means = ("mse",)
    companions: ClassVar = {"mse": ("r2",)}

    def default_objective(self, smoothing: float = 0.0) -> Objective:
        """Return the squared error."""
        return LabelRegression()

    def metrics(self, outputs: Outputs) -> dict[str, float]:
        """Return `mse`, `r2` where labels vary, and `teacher_mse`."""
        found = dict[str, float]()
        student, teacher = outputs.student, outputs.comparable_teacher
        if student is None:
            return found
        if self._matches(student, outputs.labels):
            found = {"mse": mse(student, outputs.labels), "r2": r2(student, outputs.labels)}
            if math.isnan(found["r2"]) and not math.isnan(found["mse"]):
                del found["r2"]  # of labels that do not vary
        return found if teacher is None else found | {"teacher_mse": mse(student, teacher)}

    def summarize(self, seeds: Sequence[Outputs]) -> Summary:
        """Return the residuals of the first seed."""
        prediction, labels = seeds[0].student, seeds[0].labels
        if prediction is None or not isinstance(labels, Tensor):
            return NO_SUMMARY
        if labels.numel() != prediction.numel():
            return NO_SUMMARY
        predicted = prediction.reshape(len(prediction), -1).double()
        true = labels.reshape(predicted.shape).double()
        if predicted.shape[1] > _MOST_OUTPUTS:
            return NO_SUMMARY
        columns = zip(true.T, predicted.T, strict=True)
        return {**NO_SUMMARY, "residuals": tuple(_residuals(*each) for each in columns)}

    def row_values(self, name: str, outputs: Outputs) -> tuple[Tensor, Tensor] | None:
        """Return squared errors; None where some of an example's values are not known."""
        prediction, labels = outputs.student, outputs.labels
        if name != "mse" or prediction is None or not self._matches(prediction, labels):
            return None
        errors = (prediction.double() - labels.reshape(prediction.shape).double()).square()
        known = errors.flatten(1).isfinite().all(dim=1)
        if bool(known.logical_xor(by_example(is_known(labels))).any()):
            return None  # a mean over values, not over examples
        return known.nonzero().ravel(), errors.flatten(1).mean(dim=1)[known]

    def _matches(self, prediction: Tensor, labels: object) -> bool:
        """Tell whether there is a label for each value, and at least one is known."""
        if not isinstance(labels, Tensor) or not bool(by_example(is_known(labels)).any()):
            return False
        return len(labels) == len(prediction) and labels.numel() == prediction.numel()


def mse(output: Tensor, labels: Tensor) -> float:
    """Mean squared error over all known values.

    Args:
        output: `[examples, outputs]`.
        labels: The same shape, or `[examples]` for one output; NaN (of integers −100) is left out.

    Raises:
        DataError: The shapes do not match.
    """
    known, errors, _ = _compared(output, labels)
    return errors[known].square().mean().item()


def r2(output: Tensor, labels: Tensor) -> float:
    """1 − Σ(o − y)²/Σ(y − ȳ)², averaged over the outputs; predicting the mean gives 0.

    It is not defined, NaN, where the known labels of an output do not vary.

    Arguments and errors as for `mse`.
    """
    known, errors, labels = _compared(output, labels)
    residual = errors.where(known, 0).square().sum(dim=0)  # NaN if a known value is predicted so
    labels = labels.where(known, torch.nan)
    spread = (labels - labels.nanmean(dim=0)).square().nansum(dim=0)
    return (1 - residual / spread.masked_fill(spread == 0, torch.nan)).mean().item()


def _compared(output: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return which values are known, the errors, and the labels, each in the output's shape."""
    if len(labels) != len(output) or labels.numel() != output.numel():
        raise DataError(
            f"values must have a label for each output, {list(output.shape)}, got "
            f"{describe(labels)}; give both in one shape"
        )
    labels = labels.reshape(output.shape)
    return is_known(labels), output.double() - labels.double(), labels.double()


def _residuals(true: Tensor, predicted: Tensor) -> Residuals:
    """Return true and predicted values, of many an evenly spaced sample."""
    known = (true - predicted).isfinite().nonzero().ravel()
    last, number = max(0, len(known) - 1), min(len(known), _MOST_POINTS)
    known = known[torch.linspace(0, last, number, dtype=torch.float64).long()]
    return Residuals(tuple(true[known].tolist()), tuple(predicted[known].tolist()))
