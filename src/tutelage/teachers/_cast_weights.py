"""The weights of a frozen module in autocast's precision, cast once and not at every call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tutelage.layers.paths import COMPILED

_LAYERS = (
    nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d,
    nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
)  # fmt: skip
"""Exactly these classes use their weights only in operations that autocast gives its precision."""


class _Weight(NamedTuple):
    parameters: dict[str, nn.Parameter | None]
    name: str
    original: nn.Parameter
    version: int
    cast: Tensor


def autocast_dtype(module: nn.Module) -> torch.dtype | None:
    """Return the dtype to which autocast now casts a module's weights; None without autocast."""
    first = next(module.parameters(), None)
    if first is None or not torch.is_autocast_enabled(first.device.type):
        return None
    return torch.get_autocast_dtype(first.device.type)


class CastWeights:
    """Copies of the float32 weights of a module's linear and convolution layers.

    Parameters that another kind of layer uses too (an embedding tied to the output layer) are left
    out, and so is all of a compiled module, which would be compiled again.

    Args:
        module: Whose weights.
        dtype: Autocast's.
    """

    def __init__(self, module: nn.Module, dtype: torch.dtype) -> None:
        self.dtype = dtype
        layers = list(module.modules())
        uses = Counter(id(each) for layer in layers for each in _parameters(layer).values())
        ours = [layer for layer in layers if type(layer) in _LAYERS]
        by_us = Counter(id(each) for layer in ours for each in _parameters(layer).values())
        compiled = any(
            layer._compiled_call_impl or COMPILED in layer._modules  # noqa: SLF001
            for layer in layers
        )
        self._weights = [
            _Weight(_parameters(layer), name, each, each._version, each.detach().to(dtype))  # noqa: SLF001
            for layer in ([] if compiled else ours)
            for name, each in _parameters(layer).items()
            if each is not None
            and each.dtype == torch.float32
            and not each.is_inference()
            and uses[id(each)] == by_us[id(each)]
        ]

    def is_current(self, dtype: torch.dtype) -> bool:
        """Tell whether the copies are those of the weights as they are now, in this dtype."""
        return dtype == self.dtype and all(
            each.parameters.get(each.name) is each.original
            and each.original._version == each.version  # noqa: SLF001
            for each in self._weights
        )

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Put the copies in the place of the weights; afterwards the weights are back."""
        for each in self._weights:
            each.parameters[each.name] = each.cast  # pyright: ignore[reportArgumentType]
        try:
            yield
        finally:
            for each in self._weights:
                each.parameters[each.name] = each.original


def _parameters(layer: nn.Module) -> dict[str, nn.Parameter | None]:
    return layer._parameters  # noqa: SLF001
