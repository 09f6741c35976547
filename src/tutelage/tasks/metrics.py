"""Metrics: what is known of the standard ones, and the user's: functions, torchmetrics objects."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

from torch import Tensor

from tutelage.errors import ArgumentError, DataError, NonFiniteError, TutelageError, in_short
from tutelage.labels import UNLABELLED, is_known
from tutelage.nested import describe
from tutelage.rows import Rows


class Known(NamedTuple):
    """What is known of a standard metric.

    Args:
        heading: Of a column.
        unit: Under the heading.
        higher: Whether higher values are better.
        fraction: Whether it lies in [0, 1] and is shown in per cent.
        words: Its name in a sentence; "" for its own.
    """

    heading: str
    unit: str
    higher: bool
    fraction: bool
    words: str = ""


STANDARD: dict[str, Known] = {
    "loss": Known("Loss", "", False, False),
    "accuracy": Known("Accuracy", "%", True, True),
    "label_accuracy": Known("Label accuracy", "% of labels", True, True),
    "f1": Known("F1", "%", True, True, "F1"),
    "f1_micro": Known("Micro F1", "%", True, True, "micro F1"),
    "f1_macro": Known("Macro F1", "%", True, True, "macro F1"),
    "average_precision": Known("Average precision", "%", True, True),
    "perplexity": Known("Perplexity", "", False, False),
    "mse": Known("Mean squared error", "", False, False, "mean squared error"),
    "r2": Known("R²", "1 is perfect", True, False, "R²"),
    "agreement": Known("Agreement", "% with teacher", True, True, "agreement with the teacher"),
    "kl": Known("Mean KL", "nats, from teacher", False, False, "KL divergence from the teacher"),
    "acceptance_rate": Known(
        "Acceptance rate", "% of tokens, by teacher", True, True, "acceptance rate of drafts"
    ),
    "teacher_mse": Known(
        "Distance",
        "mean squared, from teacher",
        False,
        False,
        "distance from the teacher (mean squared)",
    ),
}
"""The metrics that are computed without being asked for; each task has some of them."""


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

    def by_class_of_counts(self, counts: Tensor) -> Mapping[Any, Tensor]:
        """Return that of each class; NaN where it has none."""
        ...


class MetricOfCounts(CountedMetric):
    """A metric of counts: its value, and that of each class, follow from their sums."""

    def of_rows(self, output: Any, labels: Tensor, rows: Rows | None) -> float:
        """Return the metric of all examples; NaN if a logit is NaN, where argmax has no meaning."""
        try:
            return self.of_counts(self.total(output, labels, rows)).item()
        except NonFiniteError:
            return math.nan

    def by_class(self, output: Any, labels: Tensor, rows: Rows | None) -> dict[Any, float]:
        """Return that of each class, without those that are neither predicted nor true."""
        found = self.by_class_of_counts(self.total(output, labels, rows))
        return {name: value.item() for name, value in found.items() if not value.isnan()}

    def total(self, output: Any, labels: Tensor, rows: Rows | None) -> Tensor:
        """Return the sum of the counts of all examples."""
        return self.counts(output, labels, rows).sum(dim=0)


Metric = Callable[[Any, Any], Any] | UpdatedMetric | RowMetric
"""A function of (outputs, labels) of all examples, or an object with update and compute.

With several answers an example these are outputs `[rows, …]` and labels of rows; of a detector both
are lists with one item per example. A metric with `is_fraction = True` lies in [0, 1] and is shown
in per cent, and `higher_is_better` tells its direction. One with `reads_scores = True` is given
`TokenScores` of a language model in place of logits (`RowMetric`). One with `by_class` is compared
class by class too (`ClassMetric`), and one of counts without one pass over the data for each part
of them (`CountedMetric`).
"""


def reads_confusion(metric: object) -> bool:
    """Tell whether a metric's counts are confusion matrices: it has `reads_confusion = True`."""
    return isinstance(metric, CountedMetric) and getattr(metric, "reads_confusion", False) is True


def keeps_whole(kinds: Collection[str | None], metrics: Mapping[str, Metric]) -> bool:
    """Tell whether outputs of all positions of maps are kept.

    A user's function may read each of them, and other outputs than those of classes (by their
    `output_kind`) have no counts of all.
    """
    return bool({*kinds} - {None, "classes"}) or not all(map(reads_confusion, metrics.values()))


def needs_logits(metrics: Mapping[str, Metric]) -> list[str]:
    """Return the names of the metrics that need logits, and not `TokenScores`."""
    return [
        name for name, each in metrics.items() if getattr(each, "reads_scores", False) is not True
    ]


def check_class_ids(labels: Tensor, classes: int) -> None:
    """Refuse class ids that are out of range; −100 marks an example without a label."""
    known = labels[is_known(labels)]
    if len(known) and not (int(known.min()) >= 0 and int(known.max()) < classes):
        raise DataError(
            f"labels must lie from 0 to {classes - 1}, the classes of the output (or be "
            f"{UNLABELLED}), got {int(known.min())} to {int(known.max())}; number the classes from "
            "0, or give the model an output for each class"
        )


def check_numbers(output: Tensor, labels: Tensor) -> None:
    """Refuse a logit of NaN in a labelled row."""
    if bool((output.isnan().any(dim=1) & is_known(labels).to(output.device)).any()):
        raise NonFiniteError(
            "logits of labelled rows must be numbers, got NaN; find out why the model diverged"
        )


def check_same_examples(student: Tensor, teacher: Tensor) -> None:
    """Refuse logits of two models that are not of one shape."""
    if student.shape != teacher.shape:
        raise DataError(
            "logits of student and teacher must be of one shape, got "
            f"{list(student.shape)} and {list(teacher.shape)}; give both for the same examples"
        )


def evaluate_metric(
    name: str, metric: Metric, output: Any, labels: Any, rows: Rows | None = None
) -> float:
    """Return a metric's value as a float; an `ArgumentError` says that it fails or has none."""
    try:
        if isinstance(metric, RowMetric):
            rows = Rows.single(len(output)) if rows is None else rows
            return float(metric.of_rows(output, labels, rows))
        if isinstance(metric, UpdatedMetric):
            metric.reset()
            metric.update(output, labels)
            return float(metric.compute())
        return float(metric(output, labels))
    except TutelageError:
        raise
    except Exception as error:
        raise ArgumentError(
            f"metric `{name}` failed on outputs {describe(output)} and labels {describe(labels)} "
            f"with {in_short(error)}; it must return one number"
        ) from error
