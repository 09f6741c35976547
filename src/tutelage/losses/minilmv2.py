"""How the tokens of a text lie to each other in what attention is made of."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.errors import ModelError
from tutelage.losses._features import fitting, mean_per_example
from tutelage.losses._tensors import at_least_float32, full_precision

_TOKENS = 3


def minilmv2(
    student: Tensor, teacher: Tensor, relation_heads: int = 12, mask: Tensor | None = None
) -> Tensor:
    """Mean over heads and tokens of KL(R_t ‖ R_s), where R = softmax(A Aᵀ/√d_r).

    A is the part of an example's queries, keys or values that belongs to one of `relation_heads`
    heads, `[tokens, d_r]`. The heads are made anew from all of the width, whatever number of heads
    the model has, so neither widths nor numbers of heads need be equal.

    Source: Wang et al. 2021 (MiniLMv2), equations 5 to 8, https://arxiv.org/abs/2012.15828.

    Args:
        student: Queries, keys or values of the student, `[batch, tokens, d]`, before they are
            split into heads.
        teacher: The same of the teacher, `[batch, tokens, d']`.
        relation_heads: Into how many equal parts both widths are split; at least 1.
        mask: Which tokens count, `[batch, tokens]`; the others are neither compared nor related
            to.

    Returns:
        `[batch]`, in nats, zero or more; computed in float32 at least.

    Raises:
        ModelError: The shapes do not fit each other, or the widths are no multiples of
            `relation_heads`.

    >>> import torch
    >>> teacher = torch.tensor([[[2.0, 0.0], [0.0, 2.0]]])
    >>> minilmv2(torch.ones(1, 2, 1), teacher, relation_heads=1)
    tensor([0.4779])
    """
    _check(student, teacher, relation_heads)
    mask = fitting(mask, student)
    with full_precision(student):
        log_q = _log_relations(student, relation_heads, mask)
        log_p = _log_relations(teacher, relation_heads, mask)
    divergence = F.kl_div(log_q, log_p, reduction="none", log_target=True)
    return mean_per_example(divergence.sum(dim=3).mean(dim=1).unsqueeze(2), mask)


def _log_relations(feature: Tensor, heads: int, mask: Tensor | None) -> Tensor:
    """Return the logarithms of R, `[batch, heads, tokens, tokens]`."""
    parts = at_least_float32(feature).unflatten(2, (heads, -1)).transpose(1, 2)
    scores = parts @ parts.mT / parts.shape[3] ** 0.5
    if mask is not None:
        # No −∞: the difference of two is no number, and a text may be padding only.
        scores = scores.masked_fill(~mask[:, None, None, :], torch.finfo(scores.dtype).min)
    return scores.log_softmax(dim=3)


def _check(student: Tensor, teacher: Tensor, heads: int) -> None:
    tokens = student.ndim == teacher.ndim == _TOKENS
    if not tokens or student.shape[:2] != teacher.shape[:2]:
        raise ModelError(
            "queries, keys or values of student and teacher must be [batch, tokens, d] of the same "
            f"tokens, got {list(student.shape)} (student) and {list(teacher.shape)} (teacher); "
            "choose the linear layers that make them"
        )
    widths = student.shape[2], teacher.shape[2]
    if any(width % heads for width in widths):
        raise ModelError(
            f"the widths of queries, keys or values must be multiples of `relation_heads`, {heads},"
            f" got {widths[0]} (student) and {widths[1]} (teacher); choose a divisor of both"
        )
