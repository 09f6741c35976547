"""Self-attention relations (MiniLMv2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from tutelage._checks import integer
from tutelage.errors import ArgumentError, ModelError
from tutelage.layers.resolution import fitting
from tutelage.objectives._layers import LayerObjective, checked_map, mean_of_positions
from tutelage.objectives._tensors import at_least_float32, full_precision, kl_divergence
from tutelage.signals import Batch

_PARTS = ("query", "key", "value")


def minilmv2(
    student: Tensor, teacher: Tensor, relation_heads: int = 12, mask: Tensor | None = None
) -> Tensor:
    """Mean over heads and tokens of KL(R_t ‖ R_s), where R = softmax(A Aᵀ/√d_r).

    A is the part of an example's queries, keys or values that belongs to one of `relation_heads`
    heads, `[tokens, d_r]`. The heads split the width regardless of the model's own number of heads,
    so neither widths nor numbers of heads need be equal.

    Args:
        student: Queries, keys or values of the student, `[batch, tokens, d]`, before they are
            split into heads.
        teacher: The same of the teacher, `[batch, tokens, d']`.
        relation_heads: Into how many equal parts both widths are split; at least 1.
        mask: The token mask, `[batch, tokens]`; padded tokens are neither compared nor related to.

    Returns:
        `[batch]`, in nats, zero or more.

    Raises:
        ModelError: The tokens are not the same, or the heads do not divide a width.

    >>> import torch
    >>> teacher = torch.tensor([[[2.0, 0.0], [0.0, 2.0]]])
    >>> minilmv2(torch.ones(1, 2, 1), teacher, relation_heads=1)
    tensor([0.4779])
    """
    if not student.ndim == teacher.ndim == 3 or student.shape[:2] != teacher.shape[:2]:  # noqa: PLR2004
        raise ModelError(
            "queries, keys or values of student and teacher must be [batch, tokens, d] of the same "
            f"tokens, got {list(student.shape)} (student) and {list(teacher.shape)} (teacher); "
            "choose the linear layers that make them"
        )
    widths = student.shape[2], teacher.shape[2]
    if any(each % relation_heads for each in widths):
        raise ModelError(
            f"`relation_heads` must divide the widths of both sides, got {relation_heads} for "
            f"{widths[0]} (student) and {widths[1]} (teacher); pass a common divisor"
        )
    mask = fitting(mask, student)
    with full_precision(student):
        log_q = _log_relations(student, relation_heads, mask)
        log_p = _log_relations(teacher, relation_heads, mask)
    divergence = kl_divergence(log_q, log_p).mean(dim=1)  # over the heads
    return mean_of_positions(divergence.unsqueeze(1), mask)


class MiniLMv2(LayerObjective):
    """MiniLMv2: relations between tokens in the queries, keys and values of self-attention.

    Wang, Bao, Huang, Dong and Wei 2021, "MiniLMv2: Multi-Head Self-Attention Relation Distillation
    for Compressing Pretrained Transformers", https://arxiv.org/abs/2012.15828. Formula:
    `tutelage.objectives.minilmv2`, averaged over queries, keys and values. Usually one layer is
    enough: the student's last, distilled from the teacher's last or, in a large teacher, from one
    some layers before.

    >>> MiniLMv2(
    ...     {"transformer.layer.5.attention": "encoder.layer.11.attention.self"},
    ...     student_parts=("q_lin", "k_lin", "v_lin"),
    ... ).layer_map["transformer.layer.5.attention.k_lin"]
    'encoder.layer.11.attention.self.key'

    Args:
        layer_map: Which attention module of the student learns from which of the teacher.
        relation_heads: Into how many heads the widths of both sides are split to be compared, a
            divisor of both. The authors take 48 for a teacher of width 768, 64 for one of 1024.
        student_parts: Names of the linear layers inside the student's attention modules that make
            queries, keys and values, without `:input` or `[…]`.
        teacher_parts: The same inside the teacher's, in the same order. If one layer computes all
            three, name only this layer on both sides and triple `relation_heads`.

    Shape:
        What these layers give: `[batch, tokens, d]`, d a multiple of `relation_heads`; widths may
        differ, and so may numbers of heads. Padded tokens (`attention_mask` of the inputs) are
        ignored.

    Raises:
        ArgumentError: The map is empty or has invalid layer paths, the sides have different numbers
            of parts, or `relation_heads` is no positive integer.
    """

    def __init__(
        self,
        layer_map: Mapping[str, str],
        relation_heads: int = 12,
        student_parts: Sequence[str] = _PARTS,
        teacher_parts: Sequence[str] = _PARTS,
    ) -> None:
        parts = len(student_parts), len(teacher_parts)
        if parts[0] != parts[1]:
            raise ArgumentError(
                "`student_parts` and `teacher_parts` must name as many layers, which learn from "
                f"each other in this order, got {parts[0]} and {parts[1]}; name both"
            )
        super().__init__(
            {
                f"{student}.{ours}": f"{teacher}.{theirs}"
                for student, teacher in checked_map(layer_map).items()
                for ours, theirs in zip(student_parts, teacher_parts, strict=True)
            }
        )
        advice = "it must divide the widths of both sides"
        self.relation_heads = integer("relation_heads", relation_heads, 1, advice)

    def compare(self, pair: int, student: Tensor, teacher: Tensor, batch: Batch) -> Tensor:
        """Return the divergences, `[batch]`."""
        return minilmv2(student, teacher, self.relation_heads, batch.token_mask())


def _log_relations(feature: Tensor, heads: int, mask: Tensor | None) -> Tensor:
    """Return the logarithms of R, `[batch, heads, tokens, tokens]`."""
    parts = at_least_float32(feature).unflatten(2, (heads, -1)).transpose(1, 2)
    scores = parts @ parts.mT / parts.shape[3] ** 0.5
    if mask is not None:
        # Not −∞: the difference of two would be NaN, and a text may be padding only.
        scores = scores.masked_fill(~mask[:, None, None, :], torch.finfo(scores.dtype).min)
    return scores.log_softmax(dim=3)
