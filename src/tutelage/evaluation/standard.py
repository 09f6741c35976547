"""The metrics that are computed without being asked for, by what an objective says of outputs."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from itertools import chain
from typing import Any

from torch import Tensor

from tutelage.errors import ArgumentError, DataError
from tutelage.evaluation.binary import (
    ONE_LABEL,
    SEVERAL_LABELS,
    are_multi_hot,
    binary_agreement,
    binary_metrics,
    has_label_for_each_output,
    is_binary,
)
from tutelage.evaluation.metrics import Metric, accuracy, agreement, check_class_ids, mse, r2
from tutelage.nested import describe
from tutelage.objectives import Objective
from tutelage.signals import Batch

STANDARD = ("loss", "accuracy", "agreement", "kl", "acceptance_rate", "mse", "r2", "teacher_mse")
"""The names of the metrics that are computed without being asked for, some of them in reports.

Language models have `perplexity` too, whose name a user's metric may take.
"""
OF_BINARY = tuple(dict.fromkeys((*ONE_LABEL, *SEVERAL_LABELS)))
"""Those of binary labels, of which a single one has `accuracy` too; all of them are fractions."""


def check_metric_names(metrics: Mapping[str, Metric], binary: bool = False) -> None:
    """Refuse a user's metrics that have the name of a standard one.

    Args:
        metrics: The user's, by name.
        binary: Whether outputs are logits of binary labels, for which there are more.

    Raises:
        ArgumentError: A name is taken.
    """
    taken = sorted({*STANDARD, *(OF_BINARY if binary else ())} & set(metrics))
    if taken:
        raise ArgumentError(
            f"`metrics` must not be named as the standard metrics are, got {taken}; rename yours"
        )


def label_metrics(objective: Objective, prediction: Tensor, labels: Any) -> dict[str, float]:
    """Return `accuracy`, for values `mse` and `r2`, or those of `binary_metrics`.

    Empty where there are no labels, or where they do not match the kind of the predictions.

    Raises:
        DataError: A class id is out of range, or labels are binary ones and outputs are not.
    """
    if not isinstance(labels, Tensor) or not bool(Batch(prediction, labels).labelled().any()):
        return {}
    if objective.output_kind == "values":
        matches = len(labels) == len(prediction) and labels.numel() == prediction.numel()
        found = {"mse": mse(prediction, labels), "r2": r2(prediction, labels)} if matches else {}
        if found and math.isnan(found["r2"]) and not math.isnan(found["mse"]):
            del found["r2"]  # of labels that do not vary
        return found
    if is_binary(objective, prediction, labels):
        return binary_metrics(prediction, labels)
    classes = objective.output_kind == "classes"
    if has_label_for_each_output(prediction, labels) or (
        classes and are_multi_hot(prediction, labels)
    ):
        raise DataError(
            f"labels of class logits must be class ids [examples], got {describe(labels)} for "
            f"outputs {describe(prediction)}, a label for each logit; for binary labels use "
            "BinaryLabels and BinaryTargets"
        )
    if labels.is_floating_point() or labels.ndim != 1:
        return {}
    check_class_ids(labels, prediction.shape[1])
    return {"accuracy": accuracy(prediction, labels)}


def with_companions(names: Collection[str], objective: Objective) -> set[str]:
    """Return metrics that a few examples have, with those that more examples may have too.

    F1 and average precision need a true label, R² labels that vary.
    """
    groups = [("mse", "r2")]
    groups += [ONE_LABEL, SEVERAL_LABELS] if objective.output_kind != "classes" else []
    return {*names, *chain.from_iterable(each for each in groups if each[0] in names)}


def learns_by_own_loss(objective: Objective) -> bool:
    """Tell whether only the student itself knows what its outputs and labels mean (`OwnLoss`)."""
    return objective.wants.student.loss is not None and not objective.wants.student.output


def teacher_metrics(
    objective: Objective, student: Tensor, teacher: Tensor, labels: Tensor | None
) -> dict[str, float]:
    """Return `agreement`, or for values `teacher_mse`; nothing for a single logit of a class."""
    if objective.output_kind == "values":
        return {"teacher_mse": mse(student, teacher)}
    if is_binary(objective, student, labels):
        return {"agreement": binary_agreement(student, teacher)}
    single = student.ndim == 2 and student.shape[1] == 1  # noqa: PLR2004 - rows and columns
    return {} if single else {"agreement": agreement(student, teacher)}
