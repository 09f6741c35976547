"""Note which tokens are padding where a model makes its tokens itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from tutelage.layers.wrapper import Wrapper, unwrapped

_TOKENS = 2


@contextmanager
def token_masks(model: nn.Module) -> Iterator[list[Tensor]]:
    """Note the `attention_mask` that a wrapper gives its model in this context, as bool."""
    found: list[Tensor] = []
    if not isinstance(model, Wrapper):
        yield found
        return

    def note(_: nn.Module, __: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        mask = named.get("attention_mask")
        if isinstance(mask, Tensor) and mask.ndim == _TOKENS:
            found.append(mask.bool())

    handle = unwrapped(model).register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield found
    finally:
        handle.remove()
