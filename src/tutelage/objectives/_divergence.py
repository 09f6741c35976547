"""Logarithms of the teacher's and the student's probabilities, and KL between them."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.coarse import CoarseLogits
from tutelage.errors import ModelError
from tutelage.objectives._coarse_soft_targets import coarsened
from tutelage.objectives._tensors import at_least_float32, same_classes

Targets = Tensor | CoarseLogits
"""A teacher's logits: of all classes, or of some."""

_LEAST = -1e30  # of a logarithm: exp is 0, and 0 · _LEAST is 0, where 0 · (−∞) is NaN
_RULED_OUT = -100.0


def log_probabilities(
    student: Tensor, teacher: Targets, temperature: float
) -> tuple[Tensor, Tensor]:
    """Return log q and log p at temperature T over the same classes, in float32 at least.

    Raises:
        ModelError: The two sides do not fit, or the teacher's classes were sampled.
    """
    if isinstance(teacher, CoarseLogits):
        if teacher.sampled_at is not None:
            raise ModelError(
                "this divergence needs the probabilities of the teacher's classes, got classes "
                "sampled from them, which give an unbiased gradient for SoftTargets alone; use "
                "that, or label with top_k"
            )
        return coarsened(student, teacher, temperature)
    same_classes(student, teacher)
    log_q, log_p = (
        F.log_softmax(at_least_float32(each) / temperature, dim=1) for each in (student, teacher)
    )
    return log_q, log_p


def divergence(log_a: Tensor, log_b: Tensor) -> Tensor:
    """Return KL(a ‖ b) = Σ a (log a − log b), `[batch]`, with finite gradients.

    A class adds 0 where a is 0. Where b alone is 0 the divergence is infinite: log b counts as −100
    at the least, so that the loss is large and its gradient drives a to 0.
    """
    log_b = log_b.clamp(min=_RULED_OUT)
    log_a = log_a.clamp(min=_LEAST)
    return (log_a.exp() * (log_a - log_b)).sum(dim=1)


def log_mixture(log_a: Tensor, log_b: Tensor, weight: float) -> Tensor:
    """Return log(w·a + (1 − w)·b) for 0 < w < 1, with finite gradients where one or both are 0."""
    first, second = (each.clamp(min=_LEAST) for each in (log_a, log_b))
    return torch.logaddexp(first + math.log(weight), second + math.log1p(-weight))
