"""Whether a classifier's confidence matches its accuracy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch.nn.functional as F
from torch import Tensor

from tutelage._checks import integer
from tutelage.evaluation._labelled import labelled
from tutelage.evaluation.temperature import fit_temperature

BINS = 15
"""How many bins calibration errors have by default."""


@dataclass(frozen=True, slots=True)
class Reliability:
    """The bins of a reliability diagram that have examples.

    Args:
        confidence: Mean probability of the predicted class in each bin, ascending.
        accuracy: Fraction of correct predictions in each bin.
        fraction: Fraction of all examples in each bin; the sum is 1.
    """

    confidence: tuple[float, ...]
    accuracy: tuple[float, ...]
    fraction: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Calibration:
    """How well a model's probabilities are calibrated, also with a fitted temperature.

    Args:
        nll: Mean negative log-likelihood of the true class, in nats.
        ece: Expected calibration error, in [0, 1].
        temperature: T fitted on held-out data; None without them, as are the next two.
        scaled_nll: As `nll`, with logits divided by T.
        scaled_ece: As `ece`, with logits divided by T.
    """

    nll: float
    ece: float
    temperature: float | None = None
    scaled_nll: float | None = None
    scaled_ece: float | None = None


def negative_log_likelihood(output: Tensor, labels: Tensor) -> float:
    """Mean of −log softmax(z)_y over the labelled examples, in nats; computed in float64.

    Args:
        output: Logits z, `[examples, classes]`, finite.
        labels: Class ids y, `[examples]`; −100 is left out.

    Raises:
        DataError: The shapes do not match, no example has a label, or a class id is out of range.
        NonFiniteError: A logit is NaN or infinite.

    >>> import torch
    >>> round(negative_log_likelihood(torch.zeros(1, 2), torch.tensor([0])), 4)  # log 2
    0.6931
    """
    logits, ids = labelled(output, labels)
    return F.cross_entropy(logits, ids).item()


def reliability(output: Tensor, labels: Tensor, bins: int = BINS) -> Reliability:
    """Group examples by the predicted class's probability p into the bins ((b − 1)/B, b/B].

    Args:
        output: Logits, `[examples, classes]`, finite.
        labels: Class ids, `[examples]`; −100 is left out.
        bins: B ≥ 1, the number of bins, of equal width.

    Raises:
        TutelageError: `bins` is not one or more, or as for `negative_log_likelihood`.

    >>> import torch
    >>> logits = torch.tensor([[0.8, 0.2], [0.8, 0.2], [0.5, 0.5]]).log()
    >>> reliability(logits, torch.tensor([0, 1, 0])).accuracy
    (1.0, 0.5)
    """
    integer("bins", bins, 1, "15 is usual")
    return binned(*confidences(output, labels), bins)


def confidences(output: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the predicted class's probability, and 1 where it is right, of labelled examples."""
    logits, ids = labelled(output, labels)
    # Not by argmax of the probabilities, which may tie where the logits do not.
    return logits.softmax(dim=1).amax(dim=1), (logits.argmax(dim=1) == ids).double()


def binned(confidence: Tensor, correct: Tensor, bins: int) -> Reliability:
    """Return the means of confidence and correctness, both `[examples]`, in each bin."""
    bin_of = (confidence * bins).ceil().long().clamp(1, bins) - 1
    count = bin_of.bincount(minlength=bins)
    used = count > 0

    def means(values: Tensor) -> tuple[float, ...]:
        return tuple((bin_of.bincount(values, minlength=bins) / count)[used].tolist())

    fraction = tuple((count[used].double() / len(confidence)).tolist())
    return Reliability(means(confidence), means(correct), fraction)


def calibration_error(output: Tensor, labels: Tensor, bins: int = BINS) -> float:
    """Expected calibration error: Σ_b fraction_b · |accuracy_b − confidence_b|, in [0, 1].

    With few examples it is above zero even for a perfectly calibrated model, because of the random
    variation of each bin's accuracy. Compare errors only for equal numbers of examples and bins.

    Source: Guo et al. 2017, https://arxiv.org/abs/1706.04599.

    Arguments and errors as for `reliability`.

    >>> import torch
    >>> logits = torch.tensor([[0.8, 0.2]]).log().expand(4, 2)  # 80 % confident, 75 % correct
    >>> round(calibration_error(logits, torch.tensor([0, 0, 0, 1])), 6)
    0.05
    """
    return expected_error(reliability(output, labels, bins))


def expected_error(found: Reliability) -> float:
    """Return Σ_b fraction_b · |accuracy_b − confidence_b|."""
    rows = zip(found.fraction, found.accuracy, found.confidence, strict=True)
    return sum(fraction * abs(accuracy - confidence) for fraction, accuracy, confidence in rows)


def calibration(
    output: Tensor, labels: Tensor, held_out: tuple[Tensor, Tensor] | None = None
) -> Calibration:
    """Return likelihood and calibration error, with held-out data also at the fitted temperature.

    `held_out` are logits and labels of other examples, such as the validation set, to fit T on.
    Other arguments and errors as for `negative_log_likelihood`.
    """
    logits, ids = labelled(output, labels)
    temperature = None if held_out is None else fit_temperature(*held_out)
    return calibration_of(partial(_measured, ids=ids), logits, temperature)


def calibration_of(
    measured: Callable[[Tensor], tuple[float, float]], logits: Tensor, temperature: float | None
) -> Calibration:
    """Return both measures of logits, and of the logits divided by a temperature, if there is one.

    They are the mean negative log-likelihood and the calibration error.
    """
    if temperature is None:
        return Calibration(*measured(logits))
    return Calibration(*measured(logits), temperature, *measured(logits / temperature))


def _measured(logits: Tensor, ids: Tensor) -> tuple[float, float]:
    log_p = logits.log_softmax(dim=1)
    correct = (logits.argmax(dim=1) == ids).double()
    error = expected_error(binned(log_p.amax(dim=1).exp(), correct, BINS))
    return F.nll_loss(log_p, ids).item(), error
