"""Common parts of transforms that mix two examples: partners, inputs and labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tutelage.errors import DataError
from tutelage.nested import describe, is_column
from tutelage.signals import Batch, Mixture


def as_columns(fraction: Tensor, like: Tensor) -> Tensor:
    """Return `[batch]` in the dtype and with as many dimensions as `[batch, …]`."""
    return fraction.to(like).reshape(-1, *[1] * (like.ndim - 1))


def refuse_integers(tensor: Tensor, transform: str) -> None:
    """Refuse inputs that cannot be interpolated: integers and booleans."""
    if not tensor.is_floating_point():
        raise DataError(
            f"{transform} must have inputs of floats, got {describe(tensor)}; ids cannot be mixed: "
            "convert images to floats, or mix embeddings in a transform of your own"
        )


def with_mixed_labels(batch: Batch, inputs: Any, partner: Tensor, fraction: Tensor) -> Batch:
    """Return a batch of mixed inputs, with both labels and the fraction of each.

    The partner's class label is in `Batch.mixture`. Values, and binary labels as floats, are mixed
    directly; NaN in either gives NaN. The index is dropped, since it does not identify mixed
    inputs.

    `partner`, `[batch]`, are the rows of the partners; `fraction`, `[batch]` in [0, 1], is how much
    of each example is its own.

    Raises:
        DataError: The examples are mixed already, or have several labels each that are integers.
    """
    refuse_mixed(batch)
    labels = batch.labels
    if labels is None:
        return replace(batch, inputs=inputs, index=None)
    if not isinstance(labels, Tensor):
        raise DataError(
            "a transform that mixes labels must have a tensor of them, got "
            f"{describe(labels)}; leave it out, or change images and boxes in the data set"
        )
    fraction = fraction.to(labels.device)
    other = labels[partner.to(labels.device)]
    if not labels.is_floating_point():
        if labels.ndim > 1:
            raise DataError(
                "labels must be one for each example, or floats, to be mixed, got "
                f"{describe(labels)}; give binary labels as floats, with NaN for a missing one"
            )
        return replace(batch, inputs=inputs, index=None, mixture=Mixture(other, fraction))
    own = as_columns(fraction, labels)
    # At 0 and 1 the result is one of the labels, even if the other is NaN.
    mixed = torch.where(
        own == 1, labels, torch.where(own == 0, other, own * labels + (1 - own) * other)
    )
    return replace(batch, inputs=inputs, labels=mixed, index=None)


def refuse_mixed(batch: Batch) -> None:
    """Refuse examples that are mixed already."""
    if batch.mixture is not None:
        raise DataError(
            "a transform that mixes labels must have examples of one label each, got mixed ones; "
            "use only one such transform in a chain"
        )


def partners(batch: Batch, within_domain: bool = True) -> Tensor:
    """Return for each example the row of its partner, `[batch]`: a random permutation.

    An example may be its own partner. `within_domain`, partners are of the same domain, if known.
    """
    domains = _numbers(batch, within_domain)
    rows, others = domains.argsort(stable=True), _shuffled(domains)
    return torch.empty_like(rows).index_copy_(0, rows, others)


def pairs(batch: Batch, within_domain: bool = True) -> Tensor:
    """Pair examples at random, and return for each the row of the other, `[batch]`.

    In a domain with an odd number of examples, one is paired with itself.
    """
    domains = _numbers(batch, within_domain)
    rows = _shuffled(domains)
    grouped, positions = domains[rows], torch.arange(len(rows))
    start = torch.searchsorted(grouped, grouped)
    end = torch.searchsorted(grouped, grouped, right=True)
    neighbour = start + ((positions - start) ^ 1)
    mate = rows[torch.where(neighbour < end, neighbour, positions)]
    return torch.empty_like(rows).index_copy_(0, rows, mate)


def _shuffled(domains: Tensor) -> Tensor:
    """Return all rows, domain by domain, in random order within each."""
    order = torch.randperm(len(domains))
    return order[domains[order].argsort(stable=True)]


def _numbers(batch: Batch, within_domain: bool) -> Tensor:
    """Return each example's domain as a number, on the CPU; zeros where domains are not used."""
    if _has_lists(batch.inputs, len(batch)):
        raise DataError(
            "a transform that exchanges or mixes examples must have inputs in tensors [batch, …], "
            f"got {describe(batch.inputs)}, a list with one item per example; leave it out, or "
            "change the examples in the data set"
        )
    domain = batch.domain if within_domain else None
    if domain is None:
        return torch.zeros(len(batch), dtype=torch.int64)
    if isinstance(domain, Tensor):
        return domain.cpu()
    numbers = {name: number for number, name in enumerate(dict.fromkeys(domain))}
    return torch.tensor([numbers[name] for name in domain])


def _has_lists(inputs: Any, length: int) -> bool:
    """Tell whether some inputs are no tensors and have one item per example, such as texts."""
    if is_column(inputs) or isinstance(inputs, np.ndarray):
        return len(inputs) == length
    items = inputs.values() if isinstance(inputs, Mapping) else inputs
    nested = isinstance(inputs, (Mapping, tuple, list))
    return nested and any(_has_lists(each, length) for each in items)
