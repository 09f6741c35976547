"""Binary labels: one logit for each of several labels, or a single logit.

A label is predicted if its logit is positive (a probability above ½). Missing labels (−100, or NaN
in floats) are left out, entry by entry; a soft label, a float between 0 and 1, counts as true
above ½.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from tutelage.labels import is_known
from tutelage.objectives import BinaryLabels, Objective, binary_targets
from tutelage.objectives._binary import known_labels
from tutelage.tasks.calibration import reliability
from tutelage.tasks.metrics import check_same_examples
from tutelage.tasks.outputs import Outputs
from tutelage.tasks.task import MOST_CLASSES, NO_SUMMARY, Summary, Task, Wording, means_of

ONE_LABEL = ("accuracy", "f1", "average_precision")
"""The metrics of a single logit."""
SEVERAL_LABELS = ("label_accuracy", "f1_micro", "f1_macro", "average_precision")
"""The metrics of several labels."""
_THRESHOLD = 0.5


class Binary(Task):
    """Labels that are true or not: a logit for each, `[examples, labels]`, and labels 0 or 1."""

    name = "binary"
    label_metrics = tuple(dict.fromkeys((*ONE_LABEL, *SEVERAL_LABELS)))
    teacher_metrics = ("agreement", "kl")
    means = ("accuracy", "label_accuracy", "agreement")
    companions: ClassVar = {"accuracy": ONE_LABEL, "label_accuracy": SEVERAL_LABELS}
    smooths = True
    is_classified = True
    words = Wording(
        part="label",
        measure="average precision",
        calibration=(
            "ECE, the expected calibration error, is the mean distance of the probability that a "
            "label is true and the fraction of true ones over 15 bins, all labels together; with "
            "few examples chance alone makes it larger than 0, and rare labels keep it small. NLL "
            "is the mean negative log-likelihood of a label. Lower is better for both."
        ),
        diagram=(
            "True labels by probability",
            "On the dashed line labels are true as often as the model says; below it they are true "
            "less often. Larger marks stand for more labels.",
        ),
        axes=("probability of a label", "fraction of true labels"),
        lesson=(
            "A label is yes or no. A teacher also tells how probable it is, from which a student "
            "can learn more than from the label."
        ),
        fidelity=(
            "Agreement is the fraction of labels that student and teacher predict alike; KL is the "
            "divergence of the student's probability of a label from the teacher's at T = 1, the "
            "mean over labels."
        ),
    )

    def default_objective(self, smoothing: float = 0.0) -> Objective:
        """Return the binary cross-entropy with the labels."""
        return BinaryLabels(smoothing)

    def metrics(self, outputs: Outputs) -> dict[str, float]:
        """Return those of `binary_metrics`, and `agreement` with a teacher."""
        found = dict[str, float]()
        if outputs.student is None:
            return found
        if outputs.known is not None and bool(outputs.known.any()):
            found = binary_metrics(outputs.student, outputs.labels)
        if outputs.comparable_teacher is not None:
            found["agreement"] = binary_agreement(outputs.student, outputs.comparable_teacher)
        return found

    def fidelity(self, outputs: Outputs) -> dict[str, float]:
        """Return `kl`, the mean over all labels."""
        student, teacher = outputs.student, outputs.comparable_teacher
        if student is None or teacher is None or student.ndim != 2:  # noqa: PLR2004
            return {}
        found = binary_targets(student.double(), teacher.double(), 1.0).mean().item()
        return {"kl": found} if math.isfinite(found) else {}

    def summarize(self, seeds: Sequence[Outputs]) -> Summary:
        """Return the reliability; of not too many labels their average precisions too."""
        if not all(map(self.has_probabilities, seeds)):
            return NO_SUMMARY
        pairs = [(each.student, each.labels) for each in seeds if each.student is not None]
        logits, labels = (torch.cat(each) for each in zip(*pairs, strict=True))
        found = NO_SUMMARY.copy()
        found["reliability"] = reliability(logits, labels, binary=True)
        if 1 < logits.shape[1] <= MOST_CLASSES:
            found["by_class"] = means_of([by_label(*each) for each in pairs])
        return found

    def expected_metrics(self, labels: Tensor | None) -> tuple[str, ...]:
        """Return those of several labels, where there are several of each example."""
        several = labels is not None and labels.ndim == 2 and labels.shape[1] > 1  # noqa: PLR2004
        return SEVERAL_LABELS if several else ONE_LABEL

    def note_on(self, metrics: Collection[str]) -> str:
        """Return what those of several labels count."""
        if SEVERAL_LABELS[0] not in metrics:
            return ""
        return (
            "Label accuracy is the fraction of labels, not of examples, that are predicted right; "
            "average precision and macro F1 are means over the labels that are true at least once."
        )

    def note_on_labels(self, outputs: Outputs) -> str:
        """Return which of several labels are never true."""
        labels = outputs.labels
        if outputs.rows is not None or not isinstance(labels, Tensor) or labels.ndim < 2:  # noqa: PLR2004
            return ""
        never = (~(labels > _THRESHOLD).any(dim=0)).nonzero().ravel().tolist()
        if not never or labels.shape[1] == 1:
            return ""
        return (
            f"Of {labels.shape[1]} labels, these are never true in the test examples: "
            f"{', '.join(map(str, never))}. Average precision and macro F1 leave them out."
        )

    def row_values(self, name: str, outputs: Outputs) -> tuple[Tensor, Tensor] | None:
        """Return the fraction of an example's labels that are right, or as the teacher's."""
        student, teacher, labels = outputs.student, outputs.comparable_teacher, outputs.labels
        if student is None:
            return None
        if name == "agreement" and teacher is not None:
            same = ((student > 0) == (teacher > 0)).double().mean(dim=1)
            return torch.arange(len(student)), same
        several = student.ndim == 2 and student.shape[1] > 1  # noqa: PLR2004 - rows and columns
        if name != ("label_accuracy" if several else "accuracy") or not isinstance(labels, Tensor):
            return None
        right, known = right_labels(student, labels)
        if bool((known.any(dim=1) != known.all(dim=1)).any()):
            return None  # an example with some of its labels: the mean is over labels
        rows = known.any(dim=1)
        return (rows.nonzero().ravel(), right[rows]) if bool(rows.any()) else None

    def extremes(
        self, outputs: Outputs, among: Sequence[int] | None = None
    ) -> Iterator[tuple[list[int], Tensor, Tensor]]:
        """Yield true labels, and others, with a logit above, and below, those of all examples."""
        logits, labels = outputs.student, outputs.labels
        if (
            logits is None
            or logits.ndim != 2  # noqa: PLR2004
            or outputs.rows is not None
            or not isinstance(labels, Tensor)
        ):
            return
        target, known = known_labels(logits, labels)
        if among is not None:
            known &= torch.isin(torch.arange(len(logits)), torch.as_tensor(among))[:, None]
        classes = [
            (label, true, found.nonzero().ravel())
            for label in range(logits.shape[1])
            for true in (True, False)
            if bool((found := known[:, label] & ((target[:, label] > _THRESHOLD) == true)).any())
        ]
        for label, true, own in sorted(classes, key=lambda each: len(each[2])):
            high, low = logits.clone(), logits.clone()
            high[own, label] = max(logits[:, label].max().item(), 0.0) + 1
            low[own, label] = min(logits[:, label].min().item(), 0.0) - 1
            yield own.tolist(), *((high, low) if true else (low, high))

    def has_probabilities(self, outputs: Outputs) -> bool:
        """Tell whether labels are known and 0 or 1, and logits finite."""
        logits, labels = outputs.student, outputs.labels
        if logits is None or not isinstance(labels, Tensor):
            return False
        known = labels[is_known(labels)]
        answers = len(known) > 0 and bool(((known == 0) | (known == 1)).all())
        return answers and bool(logits.isfinite().all())


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


def right_labels(output: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the fraction of an example's labels that are right, and which are known.

    Shape:
        `[examples]` in float64, NaN where none is known; and `[examples, labels]` of bool.
    """
    target, known = known_labels(output, labels)
    right = ((output > 0) == (target > _THRESHOLD)).double().masked_fill(~known, 0)
    return right.sum(dim=1) / known.sum(dim=1), known


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
