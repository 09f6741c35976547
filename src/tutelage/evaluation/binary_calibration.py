"""Whether the probabilities of binary labels match how often the labels are true.

All known labels of all examples are taken together: each is an entry with the probability σ(z) of
being true.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tutelage._checks import integer
from tutelage.errors import DataError, NonFiniteError
from tutelage.evaluation.calibration import (
    BINS,
    Calibration,
    Reliability,
    binned,
    calibration_of,
    expected_error,
    negative_log_likelihood,
)
from tutelage.evaluation.temperature import fit_temperature
from tutelage.objectives._binary_labels import known_labels


def entries(output: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return each known label as an example of two classes: logits (0, z) and the class 0 or 1.

    Args:
        output: Logits z, `[examples, labels]`; those of known labels are finite.
        labels: As for `tutelage.objectives.binary_labels`, 0 or 1.

    Returns:
        `[entries, 2]` in float64 and `[entries]` of integers, on the CPU.

    Raises:
        DataError: The labels have the wrong dtype, shape or range, none is known, or some are soft.
        NonFiniteError: A logit of a known label is NaN or infinite.

    >>> entries(torch.tensor([[2.0, 1.0]]), torch.tensor([[1, -100]]))
    (tensor([[0., 2.]], dtype=torch.float64), tensor([1]))
    """
    target, known = known_labels(output.detach().cpu(), labels.detach().cpu())
    logits, target = output.detach().cpu()[known].double(), target[known]
    if not len(target):
        raise DataError(
            "at least one label must be known, got only missing ones; give labelled data"
        )
    if bool((target != target.round()).any()):
        raise DataError(
            "calibration needs labels that are 0 or 1, got soft labels; round them, or leave these "
            "examples out"
        )
    if not bool(logits.isfinite().all()):
        raise NonFiniteError(
            f"logits must be finite, got {int((~logits.isfinite()).sum())} that are not; find out "
            "why the model diverged"
        )
    return torch.stack([torch.zeros_like(logits), logits], dim=1), target.long()


def binary_reliability(output: Tensor, labels: Tensor, bins: int = BINS) -> Reliability:
    """Group labels by their probability of being true, σ(z), into the bins ((b − 1)/B, b/B].

    The confidence of a bin is the mean probability, its accuracy the fraction of true labels.

    Args:
        output: Logits, `[examples, labels]`, finite.
        labels: As for `entries`.
        bins: B ≥ 1, the number of bins, of equal width.

    Raises:
        TutelageError: `bins` is not one or more, or as for `entries`.

    >>> logits = torch.tensor([[0.8], [0.8], [0.1]]).logit()
    >>> binary_reliability(logits, torch.tensor([0, 1, 0])).accuracy
    (0.0, 0.5)
    """
    integer("bins", bins, 1, "15 is usual")
    logits, true = entries(output, labels)
    return binned(logits[:, 1].sigmoid(), true.double(), bins)


def binary_calibration_error(output: Tensor, labels: Tensor, bins: int = BINS) -> float:
    """Expected calibration error of the probability that a label is true, in [0, 1].

    Σ_b fraction_b · |true_b − probability_b| over all known labels. Of rare labels most lie in the
    lowest bin, so that it is small where the model is poor; compare models on the same labels only.
    Arguments and errors as for `binary_reliability`.

    >>> logits = torch.tensor([[0.8]]).logit().expand(4, 1)  # 80 % probable, 75 % true
    >>> round(binary_calibration_error(logits, torch.tensor([0, 1, 1, 1])), 6)
    0.05
    """
    return expected_error(binary_reliability(output, labels, bins))


def binary_calibration(
    output: Tensor, labels: Tensor, held_out: tuple[Tensor, Tensor] | None = None
) -> Calibration:
    """Return likelihood and calibration error, with held-out data also at the fitted temperature.

    The likelihood is the mean over all known labels of −log of the true answer's probability; the
    temperature is one number for all labels.

    Args:
        output: Logits, `[examples, labels]`, finite.
        labels: As for `entries`.
        held_out: Logits and labels of other examples, such as the validation set, to fit T on.

    Raises:
        TutelageError: As for `entries`.
    """
    logits, true = entries(output, labels)

    def measured(logits: Tensor) -> tuple[float, float]:
        found = binned(logits[:, 1].sigmoid(), true.double(), BINS)
        return negative_log_likelihood(logits, true), expected_error(found)

    temperature = None if held_out is None else fit_temperature(*entries(*held_out))
    return calibration_of(measured, logits, temperature)
