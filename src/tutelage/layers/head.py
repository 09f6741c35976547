"""Find the output layer of a language model, and observe its input in place of its logits."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from tutelage.data import randomness
from tutelage.errors import TutelageError, in_short
from tutelage.heads import HeadLogits
from tutelage.layers.paths import COMPILED
from tutelage.layers.wrapper import Wrapper

_PROBED = 4  # positions
_TOKENS = 3  # dimensions of [batch, tokens, width]
_LARGER = 50.0
"""By what the probe's hidden states are multiplied too, so that a bound of the logits shows."""


@dataclass(frozen=True)
class Head:
    """A model's output layer, and what the model does with its output.

    Args:
        path: Its layer path.
        layer: The layer itself.
        bias: What is added to its output, besides its own bias.
        scale: See `HeadLogits`.
        soft_cap: See `HeadLogits`.
    """

    path: str
    layer: nn.Linear
    bias: Tensor | None = None
    scale: float = 1.0
    soft_cap: float | None = None

    def of(self, hidden: Tensor) -> HeadLogits:
        """Return the logits of hidden states, not yet computed."""
        bias = self.layer.bias
        if self.bias is not None:
            own = self.bias.flatten()
            bias = own if bias is None else bias + own
        return HeadLogits(hidden, self.layer.weight, bias, self.scale, self.soft_cap)


_EXACT: WeakKeyDictionary[nn.Module, tuple[Any, bool]] = WeakKeyDictionary()
"""Of which settings a model was probed, and whether its head was exact, so that it is done once."""


def head_of(model: nn.Module, least: int) -> Head | None:
    """Return the output layer of a model of transformers; None if there is none of use.

    It is one that `get_output_embeddings` names, is an `nn.Linear` (not one that LoRA or a
    parametrization has changed) without hooks, of at least `least` classes, holds its whole weight
    (under FSDP and ZeRO it is a part), and is neither in a wrapper nor compiled.
    """
    find = getattr(model, "get_output_embeddings", None)
    if isinstance(model, Wrapper) or not callable(find):
        return None
    layer = find()
    if type(layer) is not nn.Linear or layer.out_features < least:
        return None
    weight = layer._parameters.get("weight")  # noqa: SLF001
    whole = type(weight) in (nn.Parameter, Tensor)
    whole = whole and getattr(weight, "shape", None) == (layer.out_features, layer.in_features)
    hooks = (layer._forward_hooks, layer._forward_pre_hooks, getattr(layer, "_hf_hook", None))  # noqa: SLF001
    compiled = any(
        each._compiled_call_impl or COMPILED in each._modules  # noqa: SLF001
        for each in model.modules()
    )
    path = next((name for name, each in model.named_modules() if each is layer), None)
    if not whole or any(hooks) or compiled or path is None:
        return None
    config: Any = getattr(model, "config", None)
    with suppress(AttributeError):
        config = config.get_text_config()
    scale = float(getattr(config, "logit_scale", None) or 1)  # Cohere
    scale /= float(getattr(config, "logits_scaling", None) or 1)  # Granite
    cap = getattr(config, "final_logit_softcapping", None)  # Gemma
    bias = getattr(model, "final_logits_bias", None)  # Bart
    own = bias if isinstance(bias, Tensor) and bias.numel() == layer.out_features else None
    return Head(path, layer, own, scale, float(cap) if cap else None)


def is_exact(model: nn.Module, head: Head, run: Callable[[], Tensor]) -> bool:
    """Tell whether the model's logits are those of its head, by a few positions of a batch.

    The model runs once, with these positions in place of the head's input, as they are and
    multiplied by 50. Where its logits are others, they are computed whole, and a warning says so.
    That depends on its code and not on the batch, so it is found out once; only positions whose
    hidden states are NaN or infinite tell nothing, and the next batch is probed.

    Args:
        model: The model.
        head: What its head seems to be.
        run: Calls the model for some example and returns its logits.
    """
    settings = (head.path, head.scale, head.soft_cap)
    known = _EXACT.get(model)
    if known is not None and known[0] == settings:
        return known[1]
    given: list[Tensor] = []

    def exchange(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if len(args) != 1 or args[0].ndim != _TOKENS:
            return None
        few = args[0][:1, :_PROBED]
        given.append(torch.cat([few, _LARGER * few], dim=1))
        return (given[-1],)

    found, different = None, "it is called several times, not at all, or in a way of its own"
    hook = head.layer.register_forward_pre_hook(exchange)
    try:
        with hook, randomness.preserved(), torch.no_grad():
            found = run()
            if len(given) == 1:
                different = _difference(found, head.of(given[0]).logits())
    except TutelageError as error:
        different = f"it cannot be called for a few positions ({in_short(error)})"
    if found is not None and len(given) == 1 and not bool(given[0].isfinite().all()):
        return False  # of this batch, such as one whose first text is empty
    if different:
        logging.getLogger("tutelage").warning(
            "The logits of %s are computed whole, since they are not those of its output layer "
            "%r: %s on the first batch. Its loss is right, and takes more memory.",
            type(model).__name__, head.path, different,
        )  # fmt: skip
    _EXACT[model] = settings, not different
    return not different


def _difference(found: Tensor, expected: Tensor) -> str:
    """Return how two tensors differ; empty if they are equal up to rounding."""
    if found.shape != expected.shape:
        return f"{list(found.shape)} instead of {list(expected.shape)}"
    rounding = 4 if expected.dtype in (torch.float16, torch.bfloat16) else 256
    rounding *= torch.finfo(expected.dtype).eps
    both = (each.to(expected.dtype).float().chunk(2, dim=1) for each in (found, expected))
    for ours, theirs in zip(*both, strict=True):  # as they are, and multiplied
        largest, apart = theirs.abs().max(), (ours - theirs).abs().max()
        if not bool(apart <= rounding * largest):
            return f"they differ by up to {float(apart):.3g} of {float(largest):.3g}"
    return ""
