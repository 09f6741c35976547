"""Standard metrics, and the evaluation of users' metrics: functions or torchmetrics objects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from tutelage.errors import ArgumentError, DataError, TutelageError, in_short
from tutelage.labels import known as known_of
from tutelage.nested import describe, on_tensors
from tutelage.rows import Rows
from tutelage.signals import UNLABELLED


@runtime_checkable
class UpdatedMetric(Protocol):
    """A metric that accumulates batches, as those of torchmetrics: `reset`, `update`, `compute`."""

    def reset(self) -> None:
        """Discard what was accumulated."""

    def update(self, output: Any, labels: Any) -> None:
        """Accumulate outputs and labels."""

    def compute(self) -> Any:
        """Return the value over all that was accumulated."""


@runtime_checkable
class RowMetric(Protocol):
    """A metric that must know which rows belong to which example, such as one of entities."""

    def of_rows(self, output: Tensor, labels: Tensor, rows: Rows) -> Any:
        """Return the value over all examples: outputs and labels are those of labelled rows."""


@runtime_checkable
class ClassMetric(Protocol):
    """A metric with a value for each class; studies then compare the arms class by class too."""

    def by_class(self, output: Any, labels: Any, rows: Rows | None) -> Mapping[int | str, float]:
        """Return the metric of each class, by its id or name; without those that have none."""
        ...


@runtime_checkable
class CountedMetric(Protocol):
    """A metric of counts that are added up over examples, such as those of an IoU or an F1.

    Studies count once for each example, and have the metric without any of them (`jackknife`).
    """

    def counts(self, output: Any, labels: Any, rows: Rows | None) -> Tensor:
        """Return the counts of each example, `[examples, …]`."""
        ...

    def of_counts(self, counts: Tensor) -> Tensor:
        """Return the metric, in float64, `[…]`, of counts with any dimensions before their own."""
        ...

    def by_class_of_counts(self, counts: Tensor) -> Mapping[int | str, Tensor]:
        """Return that of each class; NaN where it has none."""
        ...


@runtime_checkable
class ScoreMetric(Protocol):
    """A metric that needs no logits of language models, but `TokenScores` of their tokens."""

    reads_scores: Literal[True]

    def of_rows(self, output: Any, labels: Tensor, rows: Rows) -> Any:
        """Return the value over all examples, of `TokenScores` or of logits of labelled rows."""


def needs_logits(metrics: Mapping[str, Metric]) -> list[str]:
    """Return the names of the metrics that need logits, and not `TokenScores`."""
    return [name for name, each in metrics.items() if not isinstance(each, ScoreMetric)]


Metric = Callable[[Any, Any], Any] | UpdatedMetric | RowMetric
"""A function of (outputs, labels) of all examples, or an object with update and compute.

With several answers an example these are outputs `[rows, …]` and labels of rows; of a detector both
are lists with one item per example. A metric with `is_fraction = True` lies in [0, 1] and is shown
in per cent, and `higher_is_better` tells its direction. One with `reads_scores = True` is given
`TokenScores` of a language model in place of logits (`ScoreMetric`). One with `by_class` is
compared class by class too (`ClassMetric`), and one of counts without one pass over the data for
each part of them (`CountedMetric`).
"""


def accuracy(output: Tensor, labels: Tensor) -> float:
    """Fraction of examples whose predicted class (largest logit) is the true one, in [0, 1].

    Args:
        output: Logits `[examples, classes]`.
        labels: Class ids `[examples]`; −100 is left out.

    Raises:
        DataError: Labels are no class ids `[examples]`, or there is a single logit, of which the
            largest says nothing.

    >>> accuracy(torch.tensor([[2.0, 1.0], [2.0, 1.0], [0.0, 1.0]]), torch.tensor([0, 1, -100]))
    0.5
    """
    if labels.is_floating_point() or labels.shape != output.shape[:1]:
        raise DataError(
            f"labels of logits {list(output.shape)} must be class ids [{len(output)}], got "
            f"{describe(labels)}; give one integer for each example"
        )
    return _correct(output.argmax(dim=1) == labels, output)[known_of(labels)].mean().item()


def agreement(student: Tensor, teacher: Tensor) -> float:
    """Fraction of examples for which student and teacher predict the same class, in [0, 1].

    Shape:
        Logits of both, `[examples, classes]`.

    Raises:
        DataError: They are of other examples, or there is a single logit.
    """
    check_same_examples(student, teacher)
    same = student.argmax(dim=1) == teacher.argmax(dim=1)
    return _correct(_correct(same, student), teacher).mean().item()


def check_same_examples(student: Tensor, teacher: Tensor) -> None:
    """Refuse logits of two models that are not of one shape."""
    if student.shape != teacher.shape:
        raise DataError(
            "logits of student and teacher must be of one shape, got "
            f"{list(student.shape)} and {list(teacher.shape)}; give both for the same examples"
        )


def check_several_logits(logits: Tensor) -> None:
    """Refuse a single logit for each example as class logits."""
    if logits.ndim > 1 and logits.shape[1] == 1:
        raise DataError(
            f"class logits must be of at least two classes, got {describe(logits)}; for the logit "
            "of a binary label use binary_metrics, binary_agreement and binary_calibration"
        )


def _correct(correct: Tensor, logits: Tensor) -> Tensor:
    """Return 1 or 0 for each example, or NaN if a logit is NaN, where argmax has no meaning."""
    check_several_logits(logits)
    return correct.double().masked_fill(logits.isnan().any(dim=1), torch.nan)


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


def check_class_ids(labels: Tensor, classes: int) -> None:
    """Refuse class ids that are out of range; −100 marks an example without a label."""
    known = labels[known_of(labels)]
    if len(known) and not (int(known.min()) >= 0 and int(known.max()) < classes):
        raise DataError(
            f"labels must lie from 0 to {classes - 1}, the classes of the output (or be "
            f"{UNLABELLED}), got {int(known.min())} to {int(known.max())}; number the classes from "
            "0, or give the model an output for each class"
        )


def evaluate_metric(
    name: str, metric: Metric, output: Any, labels: Any, rows: Rows | None = None
) -> float:
    """Return a metric's value as a float; an `ArgumentError` says that it fails or has none."""
    try:
        if isinstance(metric, RowMetric):
            rows = Rows.single(len(output)) if rows is None else rows
            value = metric.of_rows(output, labels, rows)
        elif isinstance(metric, UpdatedMetric):
            metric.reset()
            metric.update(output, labels)
            value = metric.compute()
        elif callable(metric):
            value = metric(output, labels)
        else:
            raise ArgumentError(
                f"metric `{name}` must be a function of (outputs, labels), or an object with "
                f"reset, update and compute, got {type(metric).__name__}; pass one of these"
            )
    except TutelageError:
        raise
    except Exception as error:
        raise ArgumentError(
            f"metric `{name}` failed on outputs {describe(output)} and labels {describe(labels)} "
            f"with {in_short(error)}; correct it, or leave it out"
        ) from error
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ArgumentError(
            f"metric `{name}` must give one number, got {value!r}; reduce it to one"
        ) from error


def user_metrics(
    metrics: Mapping[str, Metric],
    output: Any,
    labels: Any,
    tolerant: bool,
    rows: Rows | None = None,
) -> dict[str, float]:
    """Return the user's metrics; none for outputs without labels, or without a labelled example."""
    found: dict[str, float] = {}
    left = len(metrics)
    for name, metric in metrics.items() if labels is not None and len(labels) else ():
        left, given, true = left - 1, output, labels
        # A metric may work in place; tensors are the labelled part of others, which nothing else
        # reads after the last one.
        if left or not (isinstance(output, Tensor) and isinstance(labels, Tensor)):
            given, true = (on_tensors(each, Tensor.clone) for each in (output, labels))
        try:
            found[name] = evaluate_metric(name, metric, given, true, rows)
        except ArgumentError as error:
            # Such as an area under a curve for a domain with a single class.
            if not (tolerant and isinstance(error.__cause__, ValueError)):
                raise
    return found


def _compared(output: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return which values are known, the errors, and the labels, each in the output's shape."""
    if len(labels) != len(output) or labels.numel() != output.numel():
        raise DataError(
            f"values must have a label for each output, {list(output.shape)}, got "
            f"{describe(labels)}; give both in one shape"
        )
    labels = labels.reshape(output.shape)
    return known_of(labels), output.double() - labels.double(), labels.double()
