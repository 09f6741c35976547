"""Batches of tokens as language models of transformers are asked: which token is next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.errors import DataError
from tutelage.labels import UNLABELLED
from tutelage.layers.packing import MASKS, of_tokens, within_texts
from tutelage.layers.wrapper import unwrapped
from tutelage.nested import describe
from tutelage.signals import Batch

_TABLE = 2  # dimensions of [batch, tokens]


def shift_labels_for(batch: Batch, model: object, output: bool = True) -> Batch:
    """Return a batch with the labels and rows of a language model of transformers.

    Of a causal model the output at a position is about the next token: labels, which are aligned
    with `input_ids` as is usual, are shifted by one, once. See `next_tokens`. An encoder-decoder
    is given `decoder_input_ids` made from its labels, where the data has none; then only what has a
    label is a row. Other models, other data and batches that are shifted already do not change.

    Args:
        batch: Inputs in a dict, of a causal model with `input_ids`, `[batch, tokens]`.
        model: A module; anything else leaves the batch as it is.
        output: Whether the model's output is used; layers alone of a causal model need no labels.

    Raises:
        DataError: Labels, `row_mask` or position ids are not those of the tokens, or a causal model
            has labels of no tokens.
    """
    if not isinstance(batch, Batch):  # the caller says what it must be
        return batch
    inputs = batch.inputs
    if batch.next_tokens or not isinstance(inputs, Mapping):
        return batch
    model = unwrapped(model) if isinstance(model, nn.Module) else model
    if not generates(model) or (not output and is_causal(model)):
        return batch
    if is_causal(model):
        if "inputs_embeds" in inputs and "input_ids" not in inputs and batch.labels is not None:
            raise DataError(
                "texts of a causal language model must have `input_ids`, with whose labels those "
                f"of the next token are found, got {describe(inputs)}; give ids, or leave the "
                "labels out"
            )
        return next_tokens(batch) if "input_ids" in inputs else batch
    prepare = getattr(model, "prepare_decoder_input_ids_from_labels", None)
    labels = batch.labels
    due = isinstance(labels, Tensor) and labels.ndim == _TABLE
    given = {"decoder_input_ids", "decoder_inputs_embeds"} & inputs.keys()
    if not due or given or not callable(prepare):
        return batch
    # The decoder has no text where there are no labels, also of an example without any.
    mask = labels != UNLABELLED if batch.row_mask is None else batch.row_mask
    inputs = {**inputs, "decoder_input_ids": prepare(labels)}
    return replace(batch, inputs=inputs, row_mask=mask)


def is_causal(model: object) -> bool:
    """Tell whether a model is a causal language model, whose output is about the next token."""
    encodes = getattr(getattr(model, "config", None), "is_encoder_decoder", False)
    return generates(model) and not encodes


def generates(model: object) -> bool:
    """Tell whether a model is a language model that generates: causal, or encoder-decoder."""
    model = unwrapped(model) if isinstance(model, nn.Module) else model
    can = getattr(model, "can_generate", None)
    return callable(can) and bool(can())


def next_tokens(batch: Batch) -> Batch:
    """Return a batch whose labels and rows are those of the next token at each position.

    A position is a row if it and the next one belong to one text: neither is padding (by
    `attention_mask`; its values may also number the texts of a packed row: 1, 1, 2, 2), and
    `position_ids`, where given, rise from the one to the other. Of these, `row_mask` says which
    tokens are learned; without it those with a label (a prompt has −100), in an example without
    any label all. Data without labels has its own tokens as labels, so that an end-of-text token
    counts even if padding has the same id.

    Raises:
        DataError: Labels, `row_mask` or position ids are not those of the tokens, or these are no
            `[batch, tokens]`.

    >>> ids = torch.tensor([[5, 6, 7, 0]])
    >>> inputs = {"input_ids": ids, "attention_mask": torch.tensor([[1, 1, 1, 0]])}
    >>> next_tokens(Batch(inputs)).labels
    tensor([[   6,    7, -100, -100]])
    """
    inputs = batch.inputs
    tokens: Tensor = inputs["input_ids"]
    if getattr(tokens, "ndim", None) != _TABLE:
        raise DataError(
            "`input_ids` of a causal language model must be [batch, tokens], got "
            f"{describe(tokens)}; give the tokens of each text as a list or a tensor"
        )
    labels = tokens if batch.labels is None else batch.labels
    given = {
        "labels": labels,
        "row_mask": batch.row_mask,
        **{name: of_tokens(inputs, name) for name in MASKS},
    }
    for name, each in given.items():
        if each is not None and getattr(each, "shape", None) != tokens.shape:
            raise DataError(
                f"`{name}` of a causal language model must be that of its tokens, "
                f"{list(tokens.shape)}, got {describe(each)}; align it with `input_ids`: it is "
                "shifted to the next token here"
            )
    valid = within_texts(inputs, tokens)
    targets = labels[:, 1:]
    if not targets.is_floating_point():
        targets = targets.long()  # unsigned integers cannot hold −100
    if batch.row_mask is not None:
        valid = valid & batch.row_mask[:, 1:]
    else:
        known = valid & (targets != UNLABELLED)
        valid = torch.where(known.any(dim=1, keepdim=True), known, valid)
    return replace(
        batch,
        labels=F.pad(targets.where(valid, UNLABELLED), (0, 1), value=UNLABELLED),
        row_mask=F.pad(valid, (0, 1), value=False),
        next_tokens=True,
        aligned_labels=batch.labels,
    )
