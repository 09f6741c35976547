"""Embeddings of texts: the hidden states of an encoder, pooled over its tokens."""

from __future__ import annotations

from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.layers.wrapper import Wrapper

Pooling = Literal["mean", "first"]


class Pooled(Wrapper):
    """An encoder of transformers whose output is one vector for each text, `[batch, d]`.

    Args:
        model: It takes keywords, with `attention_mask`, and returns `last_hidden_state`.
        pool: `"mean"` over the tokens that are no padding, or the `"first"` token.
        normalise: Whether vectors have length 1.
    """

    def __init__(self, model: nn.Module, pool: Pooling, normalise: bool = False) -> None:
        super().__init__(model)
        self.pool: Pooling = pool
        self.normalise = normalise

    def forward(self, **inputs: Any) -> Tensor:
        """Return the vectors."""
        states: Tensor = self.wrapped(**inputs).last_hidden_state
        found = states[:, 0]
        if self.pool == "mean":
            mask = inputs["attention_mask"][..., None].to(states.dtype)
            found = (states * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1e-9)
        return F.normalize(found, dim=1) if self.normalise else found

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"pool={self.pool!r}, normalise={self.normalise}"


class PooledClassifier(nn.Module):
    """A linear layer over the embeddings of an encoder.

    Args:
        encoder: Returns `[batch, width]`.
        width: Of its vectors.
        classes: The number of outputs.
    """

    def __init__(self, encoder: Pooled, width: int, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(width, classes)

    def forward(self, **inputs: Any) -> Tensor:
        """Return logits `[batch, classes]`."""
        return self.head(self.encoder(**inputs))
