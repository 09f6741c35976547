"""Which examples of a batch are joined with each other."""

from __future__ import annotations

import torch
from torch import Tensor

from tutelage.signals import Batch


def partners(batch: Batch, within_domain: bool = True) -> Tensor:
    """Return for each example the row of its partner, `[batch]`: a permutation, drawn at random.

    An example may be its own partner, as one that is alone in its domain is.

    Args:
        batch: The examples.
        within_domain: Whether partners are of one domain, where the batch carries domains.
    """
    domains = _numbers(batch, within_domain)
    rows, others = domains.argsort(stable=True), _shuffled(domains)
    return torch.empty_like(rows).index_copy_(0, rows, others)


def pairs(batch: Batch, within_domain: bool = True) -> Tensor:
    """Return for each example the row of the one it is paired with, `[batch]`, at random.

    Pairs are mutual; where a domain has an odd number of examples, one is paired with itself.

    Args:
        batch: The examples.
        within_domain: Whether pairs are of one domain, where the batch carries domains.
    """
    domains = _numbers(batch, within_domain)
    rows = _shuffled(domains)
    grouped, places = domains[rows], torch.arange(len(rows))
    start = torch.searchsorted(grouped, grouped)
    end = torch.searchsorted(grouped, grouped, right=True)
    neighbour = start + ((places - start) ^ 1)
    mate = rows[torch.where(neighbour < end, neighbour, places)]
    return torch.empty_like(rows).index_copy_(0, rows, mate)


def _shuffled(domains: Tensor) -> Tensor:
    """Return all rows, domain by domain, in an order drawn within each."""
    order = torch.randperm(len(domains))
    return order[domains[order].argsort(stable=True)]


def _numbers(batch: Batch, within_domain: bool) -> Tensor:
    """Return each example's domain as a number, on the CPU; one for all where none matters."""
    domain = batch.domain if within_domain else None
    if domain is None:
        return torch.zeros(len(batch), dtype=torch.int64)
    if isinstance(domain, Tensor):
        return domain.cpu()
    numbers = {name: number for number, name in enumerate(dict.fromkeys(domain))}
    return torch.tensor([numbers[name] for name in domain])
