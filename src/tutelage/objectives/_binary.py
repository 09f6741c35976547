"""Objectives on logits of binary labels: cross-entropy, and the teacher's probabilities."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage._checks import fraction, positive
from tutelage.errors import DataError, ModelError
from tutelage.labels import UNLABELLED
from tutelage.nested import describe
from tutelage.objectives._formula import OutputObjective, Tempered
from tutelage.objectives._tensors import (
    at_least_float32,
    kl_terms,
    mean_of_rows,
    same_shape,
    value_check,
)
from tutelage.schedules import Schedule


def binary_labels(
    student: Tensor,
    labels: Tensor,
    smoothing: float = 0.0,
    positive_weight: float | Sequence[float] | Tensor | None = None,
) -> Tensor:
    """Mean over an example's known labels of −w·y log σ(z) − (1 − y) log(1 − σ(z)).

    With smoothing s, y becomes (1 − s)·y + s/2. Without weights a label's value is that of
    `hard_labels` for the logits (0, z).

    Args:
        student: Student logits z, `[batch, labels]`; `[batch, 1]` for a single label.
        labels: y, `[batch, labels]`, or `[batch]` for a single label: integers or booleans, 0 or 1,
            with −100 for a missing one; or floats from 0 to 1 (soft labels), with NaN for a missing
            one.
        smoothing: s in [0, 1].
        positive_weight: w > 0, one for each label or a single number; None for 1.

    Returns:
        `[batch]`, in nats; 0 where no label is known.

    Raises:
        DataError: The labels have the wrong dtype, shape or range (on the CPU; on other devices the
            value is NaN where the range is wrong).
        ModelError: The logits are not `[batch, labels]`, or there are not as many weights.

    >>> logits = torch.zeros(2, 3)
    >>> binary_labels(logits, torch.tensor([[1, 0, -100], [-100, -100, -100]]))
    tensor([0.6931, 0.0000])
    """
    target, known = known_labels(student, labels)
    logits = at_least_float32(student)
    target = target.to(logits.dtype)
    if smoothing:
        target = target * (1 - smoothing) + smoothing / 2
    weight = None
    if positive_weight is not None:
        weight = torch.as_tensor(positive_weight, dtype=logits.dtype, device=logits.device)
        if weight.ndim and len(weight) not in (1, logits.shape[1]):
            raise ModelError(
                f"`positive_weight` must have one weight for each of {logits.shape[1]} labels, got "
                f"{len(weight)}; give a number, or as many as the model has outputs"
            )
    losses = F.binary_cross_entropy_with_logits(logits, target, reduction="none", pos_weight=weight)
    return losses.masked_fill(~known, 0).sum(dim=1) / known.sum(dim=1).clamp(min=1)


class BinaryLabels(OutputObjective):
    """Cross-entropy with binary labels, averaged over the examples that have a known one.

    For outputs that are one logit for each of several labels (multi-label classification) or a
    single logit (binary classification). An example's value is the mean over its known labels; of
    a mixed example with one label (`Batch.mixture`) it is that of both labels, weighted as in
    `HardLabels`. Formula: `tutelage.objectives.binary_labels`.

    Args:
        smoothing: s in [0, 1]: labels 0 and 1 become s/2 and 1 − s/2.
        positive_weight: By how much to multiply the loss of a positive label, above 0: a number, or
            one for each label, such as negatives/positives where positives are rare. Probabilities
            are then too high, by design: recalibrate them before use. None for 1.

    Raises:
        ArgumentError: An argument is outside its range.
    """

    output_kind = "binary"
    formula = staticmethod(binary_labels)
    reads_mixtures = True

    def __init__(
        self, smoothing: float = 0.0, positive_weight: float | Sequence[float] | None = None
    ) -> None:
        super().__init__()
        self.smoothing = fraction("smoothing", smoothing, "0 leaves the labels as they are")
        self.positive_weight = None if positive_weight is None else _weights(positive_weight)


def known_labels(output: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Check binary labels; return them, 0 where missing, and which are known, `[batch, labels]`."""
    if output.ndim != 2:  # noqa: PLR2004 - rows and columns
        raise ModelError(
            f"logits of binary labels must be [batch, labels], got {describe(output)}; let the "
            "model return that shape, [batch, 1] for a single label"
        )
    if labels.ndim == 1 and output.shape[1] == 1:
        labels = labels.unsqueeze(1)
    if labels.shape != output.shape or labels.is_complex():  # never broadcast
        raise DataError(
            f"binary labels must be of shape {list(output.shape)}, one for each logit, got "
            f"{describe(labels)}; give 0 or 1 for each label of an example, and for class ids use "
            "HardLabels"
        )
    if not labels.is_floating_point():
        labels = labels.long()  # unsigned bytes know no −100
    labels = _in_unit_range(labels)
    known = ~labels.isnan() if labels.is_floating_point() else labels != UNLABELLED
    target = labels.masked_fill(~known, 0)
    return (target if target.device.type == "cpu" else or_nan(target)), known


def or_nan(target: Tensor) -> Tensor:
    """Replace what is not in [0, 1] by NaN, as the loss is then: devices check no values."""
    return torch.where((target >= 0) & (target <= 1), target, torch.nan)


def _check_values(labels: Tensor) -> None:
    """Refuse integers other than 0, 1 and −100, and floats outside [0, 1] that are not NaN."""
    if labels.is_floating_point():
        wrong = labels[(labels < 0) | (labels > 1)]
        expected = "floats from 0 to 1 (NaN: not known), or integers"
    else:
        wrong = labels[(labels != 0) & (labels != 1) & (labels != UNLABELLED)]
        expected = f"0 or 1 ({UNLABELLED}: not known)"
    if len(wrong):
        raise DataError(
            f"binary labels must be {expected}, got {sorted(set(wrong.tolist()))[:5]}; correct "
            "them, and for class ids use HardLabels with an output for each class"
        )


_in_unit_range = value_check("binary_labels_in_range", _check_values, "(Tensor labels) -> Tensor")


def _weights(given: float | Sequence[float]) -> float | tuple[float, ...]:
    advice = "it multiplies the loss of positive labels; None for 1"
    numbers = given.tolist() if isinstance(given, (Tensor, np.ndarray)) else given
    if isinstance(numbers, Sequence) and not isinstance(numbers, str) and len(numbers):
        return tuple(positive("positive_weight", each, advice) for each in numbers)
    return positive("positive_weight", numbers, advice)


def binary_targets(student: Tensor, teacher: Tensor, temperature: float = 2.0) -> Tensor:
    """T² · mean over the labels of KL(Bernoulli(σ(v/T)) ‖ Bernoulli(σ(z/T))).

    Each label is a question of its own with the answers yes and no, and the sigmoid σ is the
    softmax over these: a label's value is that of `soft_targets` for the logits (0, z) and (0, v).
    Before T² its gradient is (q − p)/T with p, q the softened probabilities of teacher and student;
    for T → ∞ the value tends to (z − v)²/8.

    The mean over the labels, and not their sum, keeps the scale whatever their number, and beside
    `binary_labels`, which is a mean too. Yang et al. 2023 sum over the labels at T = 1: multiply
    the weight by the number of labels for their loss.

    Args:
        student: Student logits z, `[batch, labels]`; `[batch, 1]` for a single label.
        teacher: Teacher logits v, `[batch, labels]`.
        temperature: T > 0.

    Returns:
        `[batch]`, in nats (times T²), zero or more.

    >>> import torch
    >>> binary_targets(torch.tensor([[0.0]]), torch.tensor([[2.0]]), temperature=2.0)
    tensor([0.4438])
    """
    same_shape(student, teacher, "labels")
    z, v = at_least_float32(student) / temperature, at_least_float32(teacher) / temperature
    # By the logarithms of both probabilities: 1 − σ would round to 0 for a confident model.
    yes = kl_terms(F.logsigmoid(z), F.logsigmoid(v))
    no = kl_terms(F.logsigmoid(-z), F.logsigmoid(-v))
    return mean_of_rows(yes + no) * temperature**2


class BinaryTargets(Tempered):
    """T² · KL between the teacher's and the student's probabilities of each binary label.

    For outputs that are one logit for each of several labels (multi-label classification) or a
    single logit (binary classification). An example's value is the mean over its labels; the
    teacher's answers are learned for all of them, also where the true label is missing.

    Yang, Xie, Zong, Feng, Niu, Sugiyama and Huang 2023, "Multi-Label Knowledge Distillation",
    https://arxiv.org/abs/2308.06453 (their multi-label logits distillation: T = 1, and a sum over
    the labels). Formula: `tutelage.objectives.binary_targets`.

    Args:
        temperature: T > 0, a number or a schedule over training.
    """

    formula = staticmethod(binary_targets)
    output_kind = "binary"

    def __init__(self, temperature: float | Schedule = 2.0) -> None:
        super().__init__(temperature)
