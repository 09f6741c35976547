"""What transforms that join two examples share: the inputs they can take, and the labels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from tutelage.errors import DataError
from tutelage.nested import describe
from tutelage.signals import Batch, Mixture


def as_columns(share: Tensor, like: Tensor) -> Tensor:
    """Return `[batch]` in the dtype and with as many dimensions as `[batch, …]`."""
    return share.to(like).reshape(-1, *[1] * (like.ndim - 1))


def refuse_whole_numbers(tensor: Tensor, who: str) -> None:
    """Refuse inputs between whose values there is nothing.

    Raises:
        DataError: The tensor is of integers or truth values.
    """
    if not tensor.is_floating_point():
        raise DataError(
            f"{who} must have inputs of floats, got {describe(tensor)}; there is nothing between "
            "two ids: turn images of bytes into floats, or mix embeddings in a transform of your "
            "own"
        )


def with_mixed_labels(batch: Batch, inputs: Any, partner: Tensor, share: Tensor) -> Batch:
    """Return a batch of examples that are `share` their own and the rest their partner's.

    Class labels are kept side by side (`Batch.mixture`), values are mixed at once, and NaN in
    either stays NaN. The index no longer tells what is shown and is dropped.

    Args:
        batch: As it was.
        inputs: The mixed inputs.
        partner: `[batch]`: the rows of the partners, on the batch's device.
        share: `[batch]` in [0, 1].

    Raises:
        DataError: The examples are made of two already.
    """
    refuse_mixed(batch)
    labels = batch.labels
    if labels is None:
        return replace(batch, inputs=inputs, index=None)
    share = share.to(labels.device)
    other = labels[partner.to(labels.device)]
    if not labels.is_floating_point():
        return replace(batch, inputs=inputs, index=None, mixture=Mixture(other, share))
    own = as_columns(share, labels)
    # Of a partner without a share nothing is taken, not even that it is unknown.
    mixed = torch.where(
        own == 1, labels, torch.where(own == 0, other, own * labels + (1 - own) * other)
    )
    return replace(batch, inputs=inputs, labels=mixed, index=None)


def refuse_mixed(batch: Batch) -> None:
    """Refuse examples that are made of two already.

    Raises:
        DataError: They are.
    """
    if batch.mixture is not None:
        raise DataError(
            "a transform that mixes labels must have examples of one label each, got examples made "
            "of two already; use one such transform in a chain"
        )
