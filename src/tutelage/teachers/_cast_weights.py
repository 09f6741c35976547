"""The weights of a frozen module in autocast's precision, cast once instead of at every call."""

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
"""Classes (not their subclasses) whose weights are used in low precision under autocast."""


class _Weight(NamedTuple):
    parameters: dict[str, nn.Parameter | None]
    name: str
    original: nn.Parameter
    version: int
    cast: Tensor


class CastWeights:
    """Copies, in autocast's dtype, of the float32 weights of linear and convolution layers.

    Parameters that another kind of layer shares (an embedding tied to the output layer) are left
    out. A compiled module is left out as a whole, since it would be recompiled.
    """

    def __init__(self, module: nn.Module, dtype: torch.dtype) -> None:
        self.dtype = dtype
        layers = list(module.modules())
        castable = [layer for layer in layers if type(layer) in _LAYERS]
        uses, castable_uses = (
            Counter(id(each) for layer in several for each in _parameters(layer).values())
            for several in (layers, castable)
        )
        compiled = any(
            layer._compiled_call_impl or COMPILED in layer._modules  # noqa: SLF001
            for layer in layers
        )
        self.weights = [
            _Weight(_parameters(layer), name, each, each._version, each.detach().to(dtype))  # noqa: SLF001
            for layer in ([] if compiled else castable)
            for name, each in _parameters(layer).items()
            if each is not None
            and each.dtype == torch.float32
            and not each.is_inference()
            and uses[id(each)] == castable_uses[id(each)]
        ]

    def is_current(self, dtype: torch.dtype) -> bool:
        """Tell whether the copies are up to date and of this dtype."""
        return dtype == self.dtype and all(
            each.parameters.get(each.name) is each.original
            and each.original._version == each.version  # noqa: SLF001
            for each in self.weights
        )

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Use the copies instead of the weights inside this context."""
        for each in self.weights:
            each.parameters[each.name] = each.cast  # pyright: ignore[reportArgumentType]
        try:
            yield
        finally:
            for each in self.weights:
                each.parameters[each.name] = each.original


def _parameters(layer: nn.Module) -> dict[str, nn.Parameter | None]:
    return layer._parameters  # noqa: SLF001
