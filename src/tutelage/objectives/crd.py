"""Find an example again among many others, by what the teacher says of it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from tutelage._checks import positive, whole_number
from tutelage.layers.projector import width
from tutelage.losses import crd
from tutelage.losses._features import pooled
from tutelage.losses._looks import may_look
from tutelage.losses._tensors import full_precision
from tutelage.losses.crd import unit
from tutelage.objectives._layers import LayerObjective
from tutelage.objectives._memory import Memory
from tutelage.signals import Batch, Signals


class CRD(LayerObjective):
    """Cross-entropy of telling an example's own embedding by the teacher from those of others.

    Each side has a linear head, made from the shapes of one dry run, trained with the student and
    thrown away with the objective. Both heads learn; the teacher itself does not. The others are
    the rest of the batch, with a gradient to the teacher's head, and a memory of the teacher's last
    embeddings, without one; in evaluation the memory is read and not changed. Where the data tell
    the index of each example (tutelage's own sources do), no example is told from itself, so the
    memory may be larger than the data set.

    Formula: `tutelage.losses.crd`. A usual weight is 0.8. CRD has the same critic,
    cosine over τ, and the same aim, a lower bound of the mutual information of the two embeddings;
    it differs in the estimator: a binary noise-contrastive loss on negatives drawn at random from
    two banks, with one row of each side per example of the training set. That needs a data set of
    known size, a constant Z fixed by the first batch, and random numbers; here none of these is
    needed, what is remembered is never older than `memory` examples, and log(K + 1) less the loss
    is itself the bound, for K others. Source: Tian et al. 2020, https://arxiv.org/abs/1910.10699;
    the queue is from He et al. 2020 (MoCo), https://arxiv.org/abs/1911.05722.

    Args:
        layer_map: As in `LayerObjective`.
        dim: Width of the embeddings, at least 1.
        memory: How many of the teacher's embeddings are kept, at least 1. In several processes,
            they are those of the first.
        temperature: τ > 0; the smaller, the more the nearest others count.

    Shape:
        Features or outputs `[batch, d]`; or `[batch, tokens, d]` and `[batch, channels, height,
        width]`, of which the mean over the positions is taken. Padded tokens (`attention_mask` of
        the inputs) do not count. Kinds and widths may differ.

    Raises:
        ArgumentError: `dim`, `memory` or `temperature` is not positive; the map is empty, or names
            no places.
    """

    def __init__(
        self,
        layer_map: Mapping[str, str] | None = None,
        dim: int = 128,
        memory: int = 16384,
        temperature: float = 0.07,
    ) -> None:
        super().__init__(layer_map)
        self.dim = whole_number("dim", dim, 1, "the authors embed in 128 dimensions")
        self.memory = whole_number("memory", memory, 1, "the authors take 16384 negatives")
        self.temperature = positive("temperature", temperature, "the authors take 0.07")
        self.embeddings: nn.ModuleList | None = None

    @property
    def built(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride] - computed
        """Whether heads and memories have been made."""
        return self.embeddings is not None

    def build(self, student: Signals, teacher: Signals) -> None:
        """Make heads and memories for features of these shapes."""
        both = self.pairs(student, teacher)
        self.embeddings = nn.ModuleList(_Embeddings(*pair, self.dim, self.memory) for pair in both)

    def compare(self, pair: int, student: Tensor, teacher: Tensor, batch: Batch) -> Tensor:
        """Return the cross-entropies, `[batch]`, and remember what the teacher says."""
        assert self.embeddings is not None  # noqa: S101 - the distiller refuses what is not built
        return self.embeddings[pair](student, teacher, batch, self.temperature)

    def extra_repr(self) -> str:
        """Show the map and the settings."""
        settings = f"dim={self.dim}, memory={self.memory}, temperature={self.temperature:g}"
        return self.with_map(settings)


class _Embeddings(nn.Module):
    """The heads of the two sides, and what the teacher's has said."""

    def __init__(self, student: Tensor, teacher: Tensor, dim: int, memory: int) -> None:
        super().__init__()
        self.student, self.teacher = _head(student, dim), _head(teacher, dim)
        self.memory = Memory(memory, like=self.teacher.weight.T)

    def forward(self, student: Tensor, teacher: Tensor, batch: Batch, temperature: float) -> Tensor:
        mask, memory = batch.token_mask(), self.memory
        with full_precision(student):
            ours = self.student(pooled(student, mask))
            theirs = unit(self.teacher(pooled(teacher, mask)))
        rows, negatives = memory.copied(), _negatives(batch, memory)
        values = crd(ours, theirs, rows, negatives, temperature)
        if self.training:
            memory.add(theirs.detach(), _index(batch, memory.index))
        return values


def _head(feature: Tensor, dim: int) -> nn.Linear:
    example = pooled(feature[:1], None)
    return nn.Linear(width(example), dim, device=example.device, dtype=example.dtype)


def _negatives(batch: Batch, memory: Memory) -> Tensor | None:
    """Return from which of the batch and the memory each example is told; None for all."""
    filled = memory.filled()
    full = may_look(filled) and bool(filled.all())
    if batch.index is None:
        every = filled.new_ones(len(batch))
        return None if full else torch.cat([every, filled]).repeat(len(batch), 1)
    index = batch.index.to(memory.index)
    negatives = index.unsqueeze(1) != torch.cat([index, memory.index])
    if not full:
        negatives[:, len(index) :] &= filled
    return negatives


def _index(batch: Batch, like: Tensor) -> Tensor:
    """Return which examples of the data set these are, `[batch]`; −1 for unknown."""
    if batch.index is None:
        return like.new_full((len(batch),), -1)
    return batch.index.to(like)
