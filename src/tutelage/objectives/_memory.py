"""The latest embeddings, first in, first out."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Memory(nn.Module):
    """Keeps the last embeddings that were added, and of which examples they are.

    All of it is in buffers, so in `state_dict()`. They are changed in place, because
    DistributedDataParallel holds on to the buffers it has seen: it copies those of the first
    process to all before each step, so all processes know its memory, and no other.

    Args:
        size: How many embeddings are kept.
        like: Embeddings such as come, for their width, device and dtype.
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

    def filled(self) -> Tensor:
        """Return which rows hold an embedding, `[size]` of bool."""
        return torch.arange(len(self.rows), device=self.rows.device) < self.added

    @torch.no_grad()
    def add(self, embeddings: Tensor, index: Tensor) -> None:
        """Put embeddings in place of the oldest; of more than fit, the last.

        Args:
            embeddings: `[batch, d]`.
            index: Of which examples they are, `[batch]`; −1 for unknown.
        """
        size = len(self.rows)
        new = embeddings[-size:]
        places = (self.added + torch.arange(len(new), device=self.rows.device)) % size
        self.rows.index_copy_(0, places, new.to(self.rows.dtype))
        self.index.index_copy_(0, places, index[-size:])
        self.added.add_(len(new))


# Compiled code is free to copy once more for the gradient, from rows that have changed meanwhile
# (PyTorch 2.13, https://github.com/pytorch/pytorch/pull/197039); an operator is not called again.
@torch.library.custom_op("tutelage::copy", mutates_args=(), schema="(Tensor rows) -> Tensor")
def _copy(rows: Tensor) -> Tensor:
    return rows.clone()


@_copy.register_fake
def _(rows: Tensor) -> Tensor:
    return torch.empty_like(rows)
