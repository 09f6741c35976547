"""Contrastive representation distillation (CRD)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage._checks import integer, positive
from tutelage.layers.resolution import width
from tutelage.objectives._layers import (
    LayerObjective,
    pooled,
    position_mask,
)
from tutelage.objectives._tensors import full_precision, same_shape, unit
from tutelage.signals import Batch, Signals


def crd(
    student: Tensor,
    teacher: Tensor,
    memory: Tensor | None = None,
    negatives: Tensor | None = None,
    temperature: float = 0.07,
) -> Tensor:
    """−log(exp(c_ii/τ) / (exp(c_ii/τ) + Σ_k exp(c_ik/τ))), c the cosine of embeddings.

    i is an example's embedding on both sides, k the K embeddings of other examples by the teacher:
    of the batch, and of a memory. log(K + 1) minus the mean of the loss is a lower bound of
    the mutual information of the two sides' embeddings, in nats.

    This is InfoNCE: van den Oord, Li and Vinyals 2018, "Representation Learning with Contrastive
    Predictive Coding", https://arxiv.org/abs/1807.03748.

    Args:
        student: Embeddings by the student, `[batch, d]`, of any length.
        teacher: Embeddings by the teacher, `[batch, d]`.
        memory: More of those by the teacher, `[n, d]`, of length 1; None for none.
        negatives: Mask of each example's negatives, `[batch, batch + n]` of bool: first those in
            the batch, then in the memory; None for all. Its own embedding is never one.
        temperature: τ > 0; the smaller, the more the nearest other examples count.

    Returns:
        `[batch]`, in nats, zero or more.

    >>> import torch
    >>> both = torch.tensor([[3.0, 0.0], [0.0, 5.0]])
    >>> crd(both, both, temperature=1.0)
    tensor([0.3133, 0.3133])
    >>> crd(both, both, memory=torch.tensor([[1.0, 0.0]]), temperature=1.0)
    tensor([0.8620, 0.5514])
    """
    same_shape(student, teacher, "dimensions")
    ours, theirs = unit(student) / temperature, unit(teacher)
    with full_precision(ours):
        scores = ours @ theirs.T
        if memory is not None:  # apart, as it has no gradient to be computed
            scores = torch.cat([scores, ours @ memory.T], dim=1)
    if negatives is not None:
        valid = negatives.clone()
        valid.diagonal().fill_(value=True)
        scores = torch.where(valid, scores, -torch.inf)
    return F.cross_entropy(scores, torch.arange(len(ours), device=ours.device), reduction="none")


class CRD(LayerObjective):
    """Contrastive representation distillation: match an example to the teacher's embedding of it.

    Tian, Krishnan and Isola 2020, "Contrastive Representation Distillation",
    https://arxiv.org/abs/1910.10699. Formula: `tutelage.objectives.crd`. A usual weight is 0.8.

    Each side has a linear head, built from the shapes of one dry run and trained with the student.
    An example's negatives are the other examples of the batch, with a gradient to the teacher's
    head, and a memory of the teacher's latest embeddings, without one. In evaluation the memory is
    not changed. If the data give the index of each example (tutelage's own sources do), no example
    is its own negative, so the memory may be larger than the data set.

    The critic (cosine over τ) is the authors'; the estimator differs. Theirs is a binary
    noise-contrastive loss on random negatives from two banks with one row per training example; it
    needs a data set of known size, a constant Z fixed by the first batch, and random numbers. Here
    the negatives are a queue, as in MoCo (He, Fan, Wu, Xie and Girshick 2020, "Momentum Contrast
    for Unsupervised Visual Representation Learning", https://arxiv.org/abs/1911.05722), which needs
    none of these.

    Args:
        layer_map: As in `LayerObjective`.
        dim: Width of the embeddings, at least 1.
        memory: How many of the teacher's embeddings are kept, at least 1. In several processes,
            they are those of the first.
        temperature: τ > 0; the smaller, the more the nearest others count.

    Shape:
        Features or outputs `[batch, d]`; or `[batch, tokens, d]` and `[batch, channels, height,
        width]`, of which the mean over the positions is taken. Kinds and
        widths may differ.
    """

    def __init__(
        self,
        layer_map: Mapping[str, str] | None = None,
        dim: int = 128,
        memory: int = 16384,
        temperature: float = 0.07,
    ) -> None:
        super().__init__(layer_map)
        self.dim = integer("dim", dim, 1, "the authors embed in 128 dimensions")
        self.memory = integer("memory", memory, 1, "the authors take 16384 negatives")
        self.temperature = positive("temperature", temperature, "the authors take 0.07")
        self.embeddings = nn.ModuleList()
        self.built = False

    def build(self, student: Signals, teacher: Signals) -> None:
        """Make heads and memories for features of these shapes."""
        both = self.pairs(student, teacher)
        self.embeddings = nn.ModuleList(_Embeddings(*pair, self.dim, self.memory) for pair in both)
        self.built = True

    def compare(self, pair: int, student: Tensor, teacher: Tensor, batch: Batch) -> Tensor:
        """Return the cross-entropies, `[batch]`, and add the teacher's embeddings to the memory."""
        return self.embeddings[pair](student, teacher, batch, self.temperature)


class Memory(nn.Module):
    """A queue of the latest embeddings and the indices of their examples, in the `state_dict`.

    Its buffers are changed in place, because DistributedDataParallel keeps references to buffers:
    before each step it copies those of the first process to all others.
    """

    rows: Tensor
    index: Tensor
    added: Tensor

    def __init__(self, size: int, like: Tensor) -> None:
        super().__init__()
        self.register_buffer("rows", like.new_zeros(size, like.shape[1]))
        self.register_buffer("index", like.new_full((size,), -1, dtype=torch.int64))
        self.register_buffer("added", like.new_zeros((), dtype=torch.int64))

    def copied(self) -> Tensor:
        """Return the rows as they are now, whatever is added before the backward pass."""
        return _copy(self.rows) if torch.compiler.is_compiling() else self.rows.clone()

    def negatives(self, index: Tensor) -> Tensor:
        """Return each example's negatives in the batch and the memory, `[batch, batch + size]`."""
        own = index.unsqueeze(1)
        others = (own != torch.cat([index, self.index])) | (own < 0)
        return others & torch.cat([torch.ones_like(index, dtype=torch.bool), self.filled()])

    def filled(self) -> Tensor:
        """Return which rows hold an embedding, `[size]` of bool."""
        return torch.arange(len(self.rows), device=self.rows.device) < self.added

    @torch.no_grad()
    def add(self, embeddings: Tensor, index: Tensor) -> None:
        """Replace the oldest embeddings; the index of an example is −1 where it is not known."""
        size = len(self.rows)
        new = embeddings[-size:]
        slots = (self.added + torch.arange(len(new), device=self.rows.device)) % size
        self.rows.index_copy_(0, slots, new.to(self.rows.dtype))
        self.index.index_copy_(0, slots, index[-size:])
        self.added.add_(len(new))


class _Embeddings(nn.Module):
    """The heads of the two sides, and the memory of the teacher's."""

    def __init__(self, student: Tensor, teacher: Tensor, dim: int, memory: int) -> None:
        super().__init__()
        self.student, self.teacher = _head(student, dim), _head(teacher, dim)
        self.memory = Memory(memory, like=self.teacher.weight.T)

    def forward(self, student: Tensor, teacher: Tensor, batch: Batch, temperature: float) -> Tensor:
        memory = self.memory
        with full_precision(student):
            ours = self.student(pooled(student, position_mask(batch, student)))
            theirs = unit(self.teacher(pooled(teacher, position_mask(batch, teacher))))
        if batch.index is None:
            index = memory.index.new_full((len(ours),), -1)
        else:
            index = batch.index if batch.rows is None else batch.index[batch.rows.examples]
            index = index.to(memory.index)
        values = crd(ours, theirs, memory.copied(), memory.negatives(index), temperature)
        if self.training:
            memory.add(theirs.detach(), index)
        return values


def _head(feature: Tensor, dim: int) -> nn.Linear:
    example = pooled(feature[:1], None)
    return nn.Linear(width(example), dim, device=example.device, dtype=example.dtype)


# Compiled code may repeat a copy for the gradient, after the rows have changed (PyTorch 2.13,
# https://github.com/pytorch/pytorch/pull/197039); a custom operator is not repeated.
@torch.library.custom_op("tutelage::copy", mutates_args=(), schema="(Tensor rows) -> Tensor")
def _copy(rows: Tensor) -> Tensor:
    return rows.clone()


@_copy.register_fake
def _(rows: Tensor) -> Tensor:
    return torch.empty_like(rows)
