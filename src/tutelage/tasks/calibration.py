"""Whether a model's probabilities match how often they are right, and the temperature that helps.

Of classes the probability is that of the predicted class, which is right or not. Of binary labels
(`binary=True`) all known labels of all examples are taken together: each is an entry with the
probability σ(z) of being true.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage._checks import integer
from tutelage.errors import DataError, NonFiniteError
from tutelage.labels import UNLABELLED, is_known
from tutelage.nested import describe
from tutelage.objectives._binary import known_labels
from tutelage.tasks.metrics import check_class_ids

BINS = 15
"""How many bins calibration errors have by default."""
_WIDEST = 100.0
_MOST_EXAMPLES = 200_000  # more change T by less than a percent, and images have millions of pixels


@dataclass(frozen=True, slots=True)
class Reliability:
    """The bins of a reliability diagram that have examples.

    Args:
        confidence: Mean probability of the predicted class in each bin, ascending; of binary labels
            the mean probability of a label.
        accuracy: Fraction of correct predictions in each bin; of binary labels of true labels.
        fraction: Fraction of all examples, or labels, in each bin; the sum is 1.
    """

    confidence: tuple[float, ...]
    accuracy: tuple[float, ...]
    fraction: tuple[float, ...]

    @property
    def error(self) -> float:
        """The expected calibration error: Σ_b fraction_b · |accuracy_b − confidence_b|, in [0, 1].

        With few examples it is above zero even for a perfectly calibrated model, because of the
        random variation of each bin's accuracy. Compare errors only for equal numbers of examples
        and bins. Of rare binary labels most lie in the lowest bin, so that it is small where the
        model is poor.

        Source: Guo et al. 2017, https://arxiv.org/abs/1706.04599.
        """
        rows = zip(self.fraction, self.accuracy, self.confidence, strict=True)
        return sum(fraction * abs(accuracy - confidence) for fraction, accuracy, confidence in rows)


@dataclass(frozen=True, slots=True)
class Calibration:
    """How well a model's probabilities are calibrated, also with a fitted temperature.

    Args:
        nll: Mean negative log-likelihood of the true class, −log softmax(z)_y, in nats.
        ece: Expected calibration error, `Reliability.error`, of 15 bins.
        temperature: T fitted on held-out data; None without them, as are the next two.
        scaled_nll: As `nll`, with logits divided by T.
        scaled_ece: As `ece`, with logits divided by T.
    """

    nll: float
    ece: float
    temperature: float | None = None
    scaled_nll: float | None = None
    scaled_ece: float | None = None


def reliability(
    output: Tensor, labels: Tensor, bins: int = BINS, *, binary: bool = False
) -> Reliability:
    """Group examples by the predicted class's probability p into the bins ((b − 1)/B, b/B].

    Args:
        output: Logits, `[examples, classes]`, or of binary labels `[examples, labels]`, finite.
        labels: Class ids, `[examples]`; −100 is left out. Or binary labels, 0 or 1, as for
            `tutelage.objectives.binary_labels`.
        bins: B ≥ 1, the number of bins, of equal width.
        binary: Whether labels are binary; labels are then grouped by their probability of being
            true, σ(z).

    Raises:
        TutelageError: `bins` is not one or more, the labels do not match the output or none is
            known, or a logit is not finite.

    >>> logits = torch.tensor([[0.8, 0.2], [0.8, 0.2], [0.5, 0.5]]).log()
    >>> reliability(logits, torch.tensor([0, 1, 0])).accuracy
    (1.0, 0.5)
    >>> logits = torch.tensor([[0.8], [0.8], [0.1]]).logit()
    >>> reliability(logits, torch.tensor([0, 1, 0]), binary=True).accuracy
    (0.0, 0.5)
    """
    integer("bins", bins, 1, "15 is usual")
    return binned(*confidences(output, labels, binary=binary), bins)


def calibration(
    output: Tensor,
    labels: Tensor,
    held_out: tuple[Tensor, Tensor] | None = None,
    *,
    binary: bool = False,
) -> Calibration:
    """Return likelihood and calibration error, with held-out data also at the fitted temperature.

    Computed in float64. Of binary labels the likelihood is the mean over all known labels, and the
    temperature is one number for all of them. `held_out` are logits and labels of other examples,
    such as the validation set, to fit T on. Other arguments and errors as for `reliability`.

    >>> round(calibration(torch.zeros(1, 2), torch.tensor([0])).nll, 4)  # log 2
    0.6931
    """
    logits, ids = _entries(output, labels) if binary else labelled(output, labels)

    def measured(logits: Tensor) -> tuple[float, float]:
        return F.cross_entropy(logits, ids).item(), binned(*_right(logits, ids, binary)).error

    if held_out is None:
        return Calibration(*measured(logits))
    temperature = fit_temperature(*(_entries(*held_out) if binary else held_out))
    return Calibration(*measured(logits), temperature, *measured(logits / temperature))


def fit_temperature(output: Tensor, labels: Tensor) -> float:
    """Return the T that minimizes the mean of −log softmax(z/T)_y (temperature scaling).

    Dividing logits by T changes no prediction, only the confidence: T > 1 for an overconfident
    model, T < 1 for an underconfident one. Fit it on data that is used neither for training nor for
    testing.

    The loss is convex in β = 1/T, and the root of its derivative E_{softmax(βz)}[z] − z_y is found
    between bounds: s/100 and 100·s, where s is the root mean square of the logits around each
    example's mean; for the lower bound half the median distance of the two largest logits where
    that is less, as with classes that are ruled out by −1e4. The bounds are widened to include 1,
    so that the fit is never worse than no fit. The result is the lower bound if all predictions are
    correct (the best T would be 0), the upper bound if the model is worse than chance, and 1 if all
    logits of each example are equal.

    Of more than 200,000 labelled examples, such as pixels, it is fitted on as many of them, always
    the same.

    Source: Guo et al. 2017, https://arxiv.org/abs/1706.04599.

    Args:
        output: Logits z of held-out examples, `[examples, classes]`, finite.
        labels: Class ids y, `[examples]`; −100 is left out.

    Raises:
        DataError: The shapes do not match, no example has a label, or a class id is out of range.
        NonFiniteError: A logit is NaN or infinite.

    >>> logits = torch.tensor([[4.0, 0.0]] * 4)  # 98 % confident, 75 % correct
    >>> round(fit_temperature(logits, torch.tensor([0, 0, 0, 1])), 3)
    3.641
    """
    from scipy.optimize import root_scalar  # noqa: PLC0415 - slow to import

    logits, ids = labelled(*_some(output, labels))
    scale = (logits - logits.mean(dim=1, keepdim=True)).square().mean().sqrt().item()
    if scale == 0:
        return 1.0
    # As differences to the true class, so that its own term is 0 and not a rounding error.
    gaps = logits - logits.gather(1, ids[:, None])

    def slope(log_inverse: float) -> float:
        inverse = math.exp(log_inverse)
        return ((inverse * gaps).softmax(dim=1) * gaps).sum(dim=1).mean().item() / scale

    largest = logits.topk(2, dim=1).values
    near = (largest[:, 0] - largest[:, 1]).median().item() / 2 or scale
    low, high = min(1.0, near / _WIDEST, scale / _WIDEST), max(1.0, scale * _WIDEST)
    if slope(-math.log(low)) <= 0:
        return low
    if slope(-math.log(high)) >= 0:
        return high
    found = root_scalar(slope, bracket=(-math.log(high), -math.log(low)), method="brentq")
    return math.exp(-found.root)


def labelled(output: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits in float64 and class ids of the labelled examples, on the CPU, checked.

    >>> labelled(torch.tensor([[2.0, 1.0], [0.0, 1.0]]), torch.tensor([0, -100]))
    (tensor([[2., 1.]], dtype=torch.float64), tensor([0]))
    """
    table = output.ndim == 2 and labels.shape == output.shape[:1]  # noqa: PLR2004
    if not table or labels.is_floating_point():
        raise DataError(
            "logits must be [examples, classes] and labels integers [examples], got "
            f"{describe(output)} and {describe(labels)}; give one class id for each example"
        )
    check_several_logits(output)
    ids = labels.detach().cpu().long()
    valid = ids != UNLABELLED
    logits, ids = output.detach().cpu()[valid].double(), ids[valid]
    _check_known(ids)
    check_class_ids(ids, output.shape[1])
    _check_finite(logits)
    return logits, ids


def check_several_logits(logits: Tensor) -> None:
    """Refuse a single logit for each example as class logits."""
    if logits.ndim > 1 and logits.shape[1] == 1:
        raise DataError(
            f"class logits must be of at least two classes, got {describe(logits)}; for the logit "
            "of a binary label use binary_metrics, binary_agreement and calibration(binary=True)"
        )


def confidences(output: Tensor, labels: Tensor, *, binary: bool = False) -> tuple[Tensor, Tensor]:
    """Return the probability of the prediction, and 1 where it is right, of what has a label."""
    return _right(*(_entries(output, labels) if binary else labelled(output, labels)), binary)


def binned(confidence: Tensor, correct: Tensor, bins: int = BINS) -> Reliability:
    """Return the means of confidence and correctness, both `[examples]`, in each bin."""
    bin_of = (confidence * bins).ceil().long().clamp(1, bins) - 1
    count = bin_of.bincount(minlength=bins)
    used = count > 0

    def means(values: Tensor) -> tuple[float, ...]:
        return tuple((bin_of.bincount(values, minlength=bins) / count)[used].tolist())

    fraction = tuple((count[used].double() / len(confidence)).tolist())
    return Reliability(means(confidence), means(correct), fraction)


def _right(logits: Tensor, ids: Tensor, binary: bool) -> tuple[Tensor, Tensor]:
    if binary:
        return logits[:, 1].sigmoid(), ids.double()
    # Not by argmax of the probabilities, which may tie where the logits do not.
    return logits.softmax(dim=1).amax(dim=1), (logits.argmax(dim=1) == ids).double()


def _entries(output: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return each known binary label as an example of two classes: logits (0, z), class 0 or 1."""
    target, valid = known_labels(output.detach().cpu(), labels.detach().cpu())
    logits, target = output.detach().cpu()[valid].double(), target[valid]
    _check_known(target)
    if bool((target != target.round()).any()):
        raise DataError(
            "calibration needs labels that are 0 or 1, got soft labels; round them, or leave these "
            "examples out"
        )
    _check_finite(logits)
    return torch.stack([torch.zeros_like(logits), logits], dim=1), target.long()


def _check_known(labels: Tensor) -> None:
    if not len(labels):
        raise DataError(
            "at least one label must be known, got only missing ones; give labelled data"
        )


def _check_finite(logits: Tensor) -> None:
    if not bool(logits.isfinite().all()):
        raise NonFiniteError(
            f"logits must be finite, got {int((~logits.isfinite()).sum())} that are not; find out "
            "why the model diverged, and rule out a class by −1e4 instead of −∞"
        )


def _some(output: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return outputs and labels, of many the same random sample of the labelled ones."""
    positions = is_known(labels).nonzero()
    if labels.shape != output.shape[:1] or len(positions) <= _MOST_EXAMPLES:
        return output, labels
    drawn = torch.randperm(len(positions), generator=torch.Generator().manual_seed(0))
    rows = positions.ravel()[drawn[:_MOST_EXAMPLES].to(positions.device)]
    return output[rows], labels[rows]
