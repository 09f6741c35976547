"""Whether a loader gives the same examples in the same order each time."""

from __future__ import annotations

from typing import Any

from torch.utils.data import BatchSampler, DataLoader, IterableDataset, SequentialSampler

from tutelage.data import randomness


def what_draws(loader: DataLoader[Any]) -> str | None:
    """Return the class of the sampler by which the order of a loader may change; None for none.

    A batch sampler of the user's own is read twice, under two seeds, without loading examples. Of
    an iterable data set the loader does not tell.
    """
    if isinstance(loader.dataset, IterableDataset):
        return None
    own: Any = loader.batch_sampler
    if own is not None and type(own) is not BatchSampler:
        return None if _order(own, 0) == _order(own, 1) else type(own).__name__
    sampler = loader.sampler if own is None else own.sampler
    return None if type(sampler) is SequentialSampler else type(sampler).__name__


def _order(sampler: Any, seed: int) -> list[list[str]]:
    """Return the indices that a batch sampler gives, as texts."""
    if callable(set_epoch := getattr(sampler, "set_epoch", None)):
        set_epoch(0)
    with randomness.preserved():
        randomness.seed_everything(seed)
        return [list(map(str, batch)) for batch in sampler]
