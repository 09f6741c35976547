"""Tell which of many embeddings of the teacher is of the same example."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.losses._tensors import at_least_float32, full_precision, same_shape, shrunk


def crd(
    student: Tensor,
    teacher: Tensor,
    memory: Tensor | None = None,
    negatives: Tensor | None = None,
    temperature: float = 0.07,
) -> Tensor:
    """−log(exp(c_ii/τ) / (exp(c_ii/τ) + Σ_k exp(c_ik/τ))), c the cosine of embeddings.

    i is an example's embedding on both sides, k the K embeddings of other examples by the teacher:
    of the batch, and of a memory. log(K + 1) less the mean of the loss is a lower bound of the
    mutual information of the two sides' embeddings, in nats.

    Source: van den Oord et al. 2018 (InfoNCE), https://arxiv.org/abs/1807.03748; for a student and
    its teacher Tian et al. 2020 (CRD), https://arxiv.org/abs/1910.10699.

    Args:
        student: Embeddings by the student, `[batch, d]`, of any length.
        teacher: Embeddings by the teacher, `[batch, d]`.
        memory: More of those by the teacher, `[n, d]`, of length 1; None for none.
        negatives: Which embeddings an example is told from, `[batch, batch + n]` of bool, first
            the batch's, then the memory's; None for all. Its own never counts as one.
        temperature: τ > 0; the smaller, the more the nearest other examples count.

    Returns:
        `[batch]`, in nats, zero or more; computed in float32 at least.

    Raises:
        ModelError: The two sides have different shapes.

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
        counted = negatives.clone()
        counted.diagonal().fill_(value=True)
        scores = torch.where(counted, scores, -torch.inf)
    return F.cross_entropy(scores, torch.arange(len(ours), device=ours.device), reduction="none")


def unit(vectors: Tensor) -> Tensor:
    """Return vectors of length 1, in float32 at least; 0 stays 0."""
    vectors = shrunk(at_least_float32(vectors), dim=1)
    length = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    return vectors / torch.where(length > 0, length, 1)
