"""Metrics of binary labels: one logit for each of several labels, or a single logit.

A label is predicted if its logit is positive (a probability above ½). Missing labels (−100, or NaN
in floats) are left out, entry by entry; a soft label, a float between 0 and 1, counts as true
above ½.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tutelage.evaluation.metrics import check_same_examples
from tutelage.objectives import Objective, binary_targets
from tutelage.objectives._binary_labels import known_labels

ONE_LABEL = ("accuracy", "f1", "average_precision")
"""The metrics of a single logit."""
SEVERAL_LABELS = ("label_accuracy", "f1_micro", "f1_macro", "average_precision")
"""The metrics of several labels."""

_THRESHOLD = 0.5


def is_binary(objective: Objective, prediction: Tensor, labels: Tensor | None) -> bool:
    """Tell whether predictions are logits of binary labels.

    The objective says so; where it does not depend on that, as one on layers, the labels do:
    integers, one for each output.
    """
    if objective.output_kind is not None:
        return objective.output_kind == "binary"
    return labels is not None and has_label_for_each_output(prediction, labels)


def has_label_for_each_output(prediction: Tensor, labels: Tensor) -> bool:
    """Tell whether there is an integer label for each output, and not one class for all of them."""
    if labels.is_floating_point() or prediction.ndim != 2:  # noqa: PLR2004 - rows and columns
        return False
    return labels.shape == prediction.shape or (
        prediction.shape[1] == 1 and labels.shape == prediction.shape[:1]
    )


def are_multi_hot(prediction: Tensor, labels: Tensor) -> bool:
    """Tell whether floats cannot be those of classes: 0 and 1, with several or none in a row."""
    if not labels.is_floating_point() or labels.shape != prediction.shape or labels.ndim != 2:  # noqa: PLR2004
        return False
    only = bool(((labels == 0) | (labels == 1)).all())
    return only and bool((labels.sum(dim=1) != 1).any())


def binary_metrics(output: Tensor, labels: Tensor) -> dict[str, float]:
    """Return the metrics of binary labels; those without a true label among them are not defined.

    `accuracy`, of a single label, and `label_accuracy`, of several: the fraction of labels that are
    predicted right (1 − the Hamming loss), not of examples that are right in all labels. `f1`, or
    `f1_micro` over all labels together and `f1_macro`, the mean over the labels. And
    `average_precision`, the mean over the labels of the area under the steps of precision over
    recall, which needs no threshold (mAP). The means leave out labels without a true example, for
    which neither is defined; wrong predictions of these count in `f1_micro` only.

    Args:
        output: Logits, `[examples, labels]`.
        labels: As for `tutelage.objectives.binary_labels`.

    Raises:
        DataError: The labels have the wrong dtype, shape or range.
        ModelError: The logits are not `[examples, labels]`.

    >>> found = binary_metrics(torch.tensor([[2.0], [-1.0], [1.0]]), torch.tensor([1, 0, 0]))
    >>> {name: round(value, 3) for name, value in found.items()}
    {'accuracy': 0.667, 'f1': 0.667, 'average_precision': 1.0}
    """
    target, known = known_labels(output, labels)
    logits, single = output.double(), output.shape[1] == 1
    if bool(logits[known].isnan().any()):
        return dict.fromkeys(ONE_LABEL if single else SEVERAL_LABELS, torch.nan)
    true, predicted = (target > _THRESHOLD) & known, (logits > 0) & known
    right = (predicted == true)[known].double().mean().item()
    found = {"accuracy" if single else "label_accuracy": right}
    if not bool(true.any()):
        return found
    both = (true & predicted).sum(dim=0).double()
    f1 = 2 * both / (true.sum(dim=0) + predicted.sum(dim=0))
    if single:
        found["f1"] = f1.item()
    else:
        found["f1_micro"] = (2 * both.sum() / (true.sum() + predicted.sum())).item()
        found["f1_macro"] = f1[true.any(dim=0)].mean().item()
    precisions = by_label(output, labels).values()
    return found | {"average_precision": sum(precisions) / len(precisions)}


def by_label(output: Tensor, labels: Tensor) -> dict[int, float]:
    """Return each label's average precision, by its index; labels that are never true are left out.

    Arguments and errors as for `binary_metrics`; logits of known labels are not NaN.

    >>> by_label(torch.tensor([[2.0, 0.0], [-1.0, 1.0]]), torch.tensor([[1, 0], [0, 0]]))
    {0: 1.0}
    """
    from sklearn.metrics import average_precision_score  # noqa: PLC0415 - slow to import

    target, known = known_labels(output, labels)
    true = (target > _THRESHOLD) & known
    scores = output.double().nan_to_num()  # infinite logits as the largest finite ones
    return {
        label: float(
            average_precision_score(true[rows, label].numpy(), scores[rows, label].numpy())
        )
        for label, rows in enumerate(known.T)
        if bool(true[:, label].any())
    }


def binary_agreement(student: Tensor, teacher: Tensor) -> float:
    """Fraction of labels that student and teacher predict alike, in [0, 1].

    Shape:
        Logits of both, `[examples, labels]`.

    Raises:
        DataError: They are not of one shape.
    """
    check_same_examples(student, teacher)
    same = ((student > 0) == (teacher > 0)).double()
    return same.masked_fill(student.isnan() | teacher.isnan(), torch.nan).mean().item()


def mean_binary_kl(student: Tensor, teacher: Tensor) -> float:
    """Mean over examples and labels of KL(σ(v) ‖ σ(z)), in nats; computed in float64.

    Shape:
        Logits of both, `[examples, labels]`.
    """
    return binary_targets(student.double(), teacher.double(), 1.0).mean().item()


def right_labels(output: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the fraction of an example's labels that are right, and which are known.

    Shape:
        `[examples]` in float64, NaN where none is known; and `[examples, labels]` of bool.
    """
    target, known = known_labels(output, labels)
    right = ((output > 0) == (target > _THRESHOLD)).double().masked_fill(~known, 0)
    return right.sum(dim=1) / known.sum(dim=1), known
