"""Numbers that say how good outputs are; any function or torchmetrics object will do as well."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from tutelage.errors import ArgumentError, DataError, TutelageError, in_short
from tutelage.nested import describe
from tutelage.signals import UNLABELLED


@runtime_checkable
class Updated(Protocol):
    """A metric that gathers batches, as torchmetrics' do: `reset`, `update`, `compute`."""

    def reset(self) -> None:
        """Forget what was gathered."""

    def update(self, output: Tensor, labels: Tensor) -> None:
        """Take in outputs and labels."""

    def compute(self) -> Any:
        """Return the value over all that was taken in."""


Metric = Callable[[Tensor, Tensor], Any] | Updated
"""A function of (outputs, labels) over the whole set, or an object with update and compute."""


def accuracy(output: Tensor, labels: Tensor) -> float:
    """Fraction of examples whose largest logit is the true class's, in [0, 1].

    Args:
        output: Logits `[examples, classes]`.
        labels: Class ids `[examples]`; −100 is left out.

    >>> accuracy(torch.tensor([[2.0, 1.0], [2.0, 1.0], [0.0, 1.0]]), torch.tensor([0, 1, -100]))
    0.5
    """
    known = labels.long() != UNLABELLED
    return _fraction(output.argmax(dim=1) == labels, output)[known].mean().item()


def agreement(student: Tensor, teacher: Tensor) -> float:
    """Fraction of examples for which student and teacher predict the same class, in [0, 1].

    Args:
        student: Logits `[examples, classes]`.
        teacher: The same of the teacher.
    """
    same = student.argmax(dim=1) == teacher.argmax(dim=1)
    return _fraction(_fraction(same, student), teacher).mean().item()


def _fraction(right: Tensor, logits: Tensor) -> Tensor:
    """Return 1 or 0 for each example, or NaN where its logits are: argmax would name a class."""
    return right.double().masked_fill(logits.isnan().any(dim=1), torch.nan)


def mse(output: Tensor, labels: Tensor) -> float:
    """Mean squared error over all known values, in their unit squared.

    Args:
        output: `[examples, outputs]`.
        labels: The same shape, or `[examples]` for one output; NaN is left out.
    """
    known, output, labels = _known(output, labels)
    return (output - labels)[known].square().mean().item()


def r2(output: Tensor, labels: Tensor) -> float:
    """1 − Σ(o − y)²/Σ(y − ȳ)², averaged over the outputs: 1 is perfect, 0 the mean's worth.

    Args:
        output: `[examples, outputs]`.
        labels: The same shape, or `[examples]` for one output; NaN is left out.
    """
    known, output, labels = _known(output, labels)
    output, labels = output.where(known, torch.nan), labels.where(known, torch.nan)
    residual = (output - labels).square().nansum(dim=0)
    spread = (labels - labels.nanmean(dim=0)).square().nansum(dim=0)
    return (1 - residual / spread).mean().item()


def check_class_ids(labels: Tensor, classes: int) -> None:
    """Refuse labels that are no classes of a model; −100 is no label.

    Raises:
        DataError: A label is below 0 or too large.
    """
    known = labels[labels.long() != UNLABELLED]
    if len(known) and not (int(known.min()) >= 0 and int(known.max()) < classes):
        raise DataError(
            f"labels must lie from 0 to {classes - 1}, the classes of the output (or be "
            f"{UNLABELLED}), got {int(known.min())} to {int(known.max())}; number the classes from "
            "0, or give the model an output for each class"
        )


def evaluate_metric(name: str, metric: Metric, output: Tensor, labels: Tensor) -> float:
    """Return a metric's value over outputs and labels, as a float.

    Raises:
        ArgumentError: The metric is of neither kind, fails (its error is the cause), or its value
            is not a number.
    """
    gathers = isinstance(metric, Updated)
    if not (gathers or callable(metric)):
        raise ArgumentError(
            f"metric `{name}` must be a function of (outputs, labels), or an object with reset, "
            f"update and compute, got {type(metric).__name__}"
        )
    try:
        if gathers:
            metric.reset()
            metric.update(output, labels)
        value = metric.compute() if gathers else metric(output, labels)
    except TutelageError:
        raise
    except Exception as error:
        raise ArgumentError(
            f"metric `{name}` failed on outputs {describe(output)} and labels {describe(labels)} "
            f"with {in_short(error)}; make it take these, or leave it out"
        ) from error
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ArgumentError(
            f"metric `{name}` must give one number, got {value!r}; reduce it to one"
        ) from error


def _known(output: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    output = output.double()
    labels = labels.reshape(output.shape).double()
    return ~labels.isnan(), output, labels
