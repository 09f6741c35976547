"""Logits of very many classes, not yet computed: hidden states and the layer that makes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.errors import ModelError

_LOGITS_AT_ONCE = {"cpu": 2**22}
"""Logits that exist at one time, 16 MB in float32: the more rows, the faster a matrix product."""
_LOSSES_AT_ONCE = {"cpu": 2**18}
"""Logits of which a loss is computed at one time: 1 MB, so that its tensors stay in the caches."""
_ON_A_DEVICE = 2**26
"""Both elsewhere, 256 MB in float32 for each tensor of a loss: each chunk reads the weight."""


@dataclass(frozen=True, slots=True)
class HeadLogits:
    """Logits `finish(hidden · weightᵀ + bias)` that are not computed yet.

    Used where logits are large, as those of a language model over its vocabulary: objectives are
    computed for some rows at a time, whose logits are then dropped.

    finish(x) is x · scale, then soft_cap · tanh(x / soft_cap) where there is a cap.

    Args:
        hidden: The head's inputs, `[rows, width]`, or `[batch, positions…, width]`.
        weight: The head's weight, `[classes, width]`.
        bias: `[classes]`, or None.
        scale: A factor of the logits.
        soft_cap: The largest magnitude of a logit; None for no limit.

    Raises:
        ModelError: The shapes do not match.

    >>> head = HeadLogits(torch.ones(2, 3), torch.ones(5, 3), scale=0.5)
    >>> head.shape, head.logits()[0, 0]
    (torch.Size([2, 5]), tensor(1.5000))
    """

    hidden: Tensor
    weight: Tensor
    bias: Tensor | None = None
    scale: float = 1.0
    soft_cap: float | None = None

    def __post_init__(self) -> None:
        bias = None if self.bias is None else list(self.bias.shape)
        table = self.weight.ndim == 2 and self.hidden.shape[-1:] == self.weight.shape[1:]  # noqa: PLR2004
        if not table or bias not in (None, [len(self.weight)]):
            raise ModelError(
                "HeadLogits must be hidden states [rows, width], a weight [classes, width] and a "
                f"bias [classes] or None, got {list(self.hidden.shape)}, "
                f"{list(self.weight.shape)} and {bias}; give the inputs of the layer and its weight"
            )

    @property
    def shape(self) -> torch.Size:
        """The shape of the logits."""
        return torch.Size((*self.hidden.shape[:-1], len(self.weight)))

    @property
    def ndim(self) -> int:
        """The number of dimensions of the logits."""
        return self.hidden.ndim

    @property
    def device(self) -> torch.device:
        """The device of the hidden states."""
        return self.hidden.device

    @property
    def requires_grad(self) -> bool:
        """Whether the logits depend on something that is trained."""
        parts = (self.hidden, self.weight, self.bias)
        return any(each is not None and each.requires_grad for each in parts)

    def __len__(self) -> int:
        return len(self.hidden)

    def __getitem__(self, rows: slice | Tensor) -> HeadLogits:
        return self.changed(lambda hidden: hidden[rows])

    def changed(self, change: Callable[[Tensor], Tensor]) -> HeadLogits:
        """Apply a function, such as one that chooses rows, to the hidden states."""
        return replace(self, hidden=change(self.hidden))

    def to(self, device: torch.device) -> HeadLogits:
        """Return the same on `device`."""
        bias = None if self.bias is None else self.bias.to(device)
        return replace(
            self, hidden=self.hidden.to(device), weight=self.weight.to(device), bias=bias
        )

    def detached(self) -> HeadLogits:
        """Return the same without a gradient."""
        bias = None if self.bias is None else self.bias.detach()
        return replace(self, hidden=self.hidden.detach(), weight=self.weight.detach(), bias=bias)

    def as_computed(self) -> HeadLogits:
        """Return the same in the precision in which the layer computes: under autocast, in its."""
        kind = self.hidden.device.type
        if not torch.is_autocast_enabled(kind):
            return self
        dtype = torch.get_autocast_dtype(kind)
        bias = None if self.bias is None else self.bias.to(dtype)
        return replace(self, hidden=self.hidden.to(dtype), weight=self.weight.to(dtype), bias=bias)

    def raw(self) -> Tensor:
        """Return `hidden · weightᵀ + bias`."""
        return F.linear(self.hidden, self.weight, self.bias)

    def finish(self, raw: Tensor) -> Tensor:
        """Return the logits of what the layer returns."""
        if self.scale != 1:
            raw = raw * self.scale
        return raw if self.soft_cap is None else self.soft_cap * torch.tanh(raw / self.soft_cap)

    def logits(self) -> Tensor:
        """Return the logits of all rows at once."""
        return self.finish(self.raw())


def chunks_of_rows(shape: Sequence[int], device: torch.device) -> Iterator[slice]:
    """Return slices of rows `[rows, classes]` of which all logits may exist at one time."""
    return _slices(shape, _LOGITS_AT_ONCE.get(device.type, _ON_A_DEVICE))


def pieces_of_rows(shape: Sequence[int], device: torch.device) -> Iterator[slice]:
    """Return slices of the rows of a chunk of which a loss may be computed at one time."""
    return _slices(shape, _LOSSES_AT_ONCE.get(device.type, _ON_A_DEVICE))


def _slices(shape: Sequence[int], at_once: int) -> Iterator[slice]:
    rows, classes = shape
    size = max(at_once // max(classes, 1), 1)
    return (slice(first, min(first + size, rows)) for first in range(0, rows, size))
