"""Several texts in one row: models of transformers keep them apart by their position ids."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.data import randomness
from tutelage.nested import index_inputs

_LOG = logging.getLogger("tutelage")
MASKS = ("attention_mask", "position_ids")
_TABLE = 2  # dimensions of [batch, tokens]
_KNOWN: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


def of_tokens(inputs: Mapping[str, Any], name: str) -> Tensor | None:
    """Return an input `[batch, tokens]`; None where there is none of this shape."""
    found = inputs.get(name)
    return found if isinstance(found, Tensor) and found.ndim == _TABLE else None


def within_texts(inputs: Mapping[str, Any], tokens: Tensor) -> Tensor:
    """Return which positions are followed by a token of the same text, `[batch, tokens − 1]`."""
    valid = torch.ones_like(tokens[:, 1:], dtype=torch.bool)
    mask, positions = (of_tokens(inputs, name) for name in MASKS)
    if mask is not None:
        valid = valid & (mask[:, :-1] != 0) & (mask[:, 1:] == mask[:, :-1])
    if positions is not None:
        valid = valid & (positions[:, 1:] > positions[:, :-1])
    return valid


def separated(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the inputs of packed rows as transformers keeps their texts apart; others unchanged.

    Its models attend within a text if `position_ids` restart at each and there is neither an
    attention mask nor a cache. So the mask is left out, and position ids restart where its numbers
    change, and at padding, each token of which becomes a text of its own.

    >>> ids = torch.tensor([[5, 6, 7, 8, 0]])
    >>> separated({"input_ids": ids, "attention_mask": torch.tensor([[1, 1, 2, 2, 0]])})
    {'input_ids': tensor([[5, 6, 7, 8, 0]]), 'position_ids': tensor([[0, 1, 0, 1, 0]])}
    """
    mask, positions = (of_tokens(inputs, name) for name in MASKS)
    if mask is None or mask.shape[1] != inputs["input_ids"].shape[1]:
        return inputs
    valid = within_texts(inputs, mask)
    if not bool((~valid & (mask[:, 1:] != 0) & (mask[:, :-1] != 0)).any()):
        return inputs
    if positions is None:
        at = torch.arange(mask.shape[1], device=mask.device).expand(len(mask), -1)
        starts = F.pad(~valid, (1, 0), value=True)
        positions = at - at.where(starts, 0).cummax(dim=1).values
    others = {name: each for name, each in inputs.items() if name != "attention_mask"}
    return {**others, "position_ids": positions.where(mask != 0, 0)}


def tell_if_texts_mix(
    model: nn.Module, inputs: Mapping[str, Any], run: Callable[[Mapping[str, Any]], Tensor]
) -> None:
    """Warn once of a model whose output for a text depends on another one in the same row.

    The model runs twice for a packed row, of which the tokens of the first text are exchanged.

    Args:
        model: Of transformers.
        inputs: As `separated` returns; of a batch without a packed row nothing is told.
        run: Returns the model's output `[batch, tokens, …]`.
    """
    mask, positions = (of_tokens(inputs, name) for name in MASKS)
    if model in _KNOWN or mask is not None or positions is None:
        return
    tokens, size = inputs["input_ids"], len(positions)
    rows, places = torch.nonzero(~within_texts(inputs, tokens), as_tuple=True)
    if not len(rows):
        return
    row, second = int(rows[0]), int(places[0]) + 1
    own = index_inputs(inputs, slice(row, row + 1), size)
    different, at = tokens[row].unique(return_inverse=True)
    if len(different) == 1:  # the next batch tells
        return
    other = tokens[row].clone()
    other[:second] = different[(at[:second] + 1) % len(different)]
    with randomness.preserved(), torch.no_grad():
        before = run(own)[:, second:].float()
        after = run({**own, "input_ids": other[None]})[:, second:].float()
    largest, apart = float(before.abs().max()), float((before - after).abs().max())
    _KNOWN[model] = apart > _rounding(model) * largest
    if _KNOWN[model]:
        _LOG.warning(
            "%s does not keep the texts of a packed row apart: its output for a text changes by up "
            "to %.3g (of %.3g) if the text before it is another one. Give each text a row of its "
            "own, or a model that attends within texts by `position_ids`.",
            type(model).__name__, apart, largest,
        )  # fmt: skip


def _rounding(model: nn.Module) -> float:
    kind = next((each.dtype for each in model.parameters() if each.is_floating_point()), None)
    coarse = kind in (torch.float16, torch.bfloat16)
    return 0.02 if coarse else 1e-4
