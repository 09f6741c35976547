"""The source of batches for what a user passes as data."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from tutelage._checks import integer
from tutelage.data.collate import collate
from tutelage.data.loader_source import LoaderSource
from tutelage.data.on_policy import OnPolicy, OnPolicySource
from tutelage.data.sets import as_dataset, is_map_style
from tutelage.data.source import (
    Order,
    SetSource,
    Shard,
    Source,
    TensorSource,
    lengths_of,
    lengths_of_texts,
)
from tutelage.data.tensor_table import table_of
from tutelage.errors import ArgumentError, DataError
from tutelage.signals import Batch


def as_source(
    name: str,
    data: object,
    batch_size: int,
    *,
    seed: int | None = None,
    shard: Shard | None = None,
    views: int | None = None,
    group_by_length: bool | None = False,
) -> Source:
    """Return the source of batches for a loader, a data set, tensors or arrays.

    A `DataLoader` keeps its own order and batches, and so does any other iterable that is no data
    set, and a list of `Batch`. `batch_size` is over all processes. `seed` is of
    the order; None is for that of the data. `views` is the number of views (see `Views`) to cycle
    through, one per epoch; None for all. `group_by_length` is for a drawn order (see `Order`); None
    for that of texts.
    """
    shard = shard or Shard()
    if group_by_length and isinstance(data, (DataLoader, IterableDataset, OnPolicy)):
        raise ArgumentError(
            f"`group_by_length` makes batches of a data set, got {type(data).__name__} as "
            f"`{name}`, which has its own; leave it out, or give a map-style data set"
        )
    if isinstance(data, DataLoader):
        return LoaderSource(name, data, shard, views)
    size = integer("batch_size", batch_size, 1, "it is the number of examples in a batch")
    if isinstance(data, OnPolicy):  # of which nothing is written here
        return OnPolicySource(name, data, size, seed, shard)
    if isinstance(data, IterableDataset):
        return LoaderSource(name, DataLoader(data, size, collate_fn=collate), shard)
    dataset: Any = as_dataset(name, data)
    of_batches = isinstance(data, list) and data and isinstance(data[0], Batch)
    if of_batches or (isinstance(dataset, Iterable) and not is_map_style(dataset)):
        return LoaderSource(name, dataset, shard, views)
    sized: Any = dataset
    if not is_map_style(sized):
        raise DataError(
            f"`{name}` must be a torch Dataset (with __len__ and __getitem__), a DataLoader or "
            f"another iterable of batches, got {type(data).__name__}; wrap tensors in "
            "torch.utils.data.TensorDataset, or give them as (inputs, labels)"
        )
    if len(sized) == 0:
        raise DataError(f"`{name}` must have at least one example, got an empty data set")
    order = Order(len(sized), size, seed, _lengths(name, sized, views, group_by_length))
    table = table_of(sized)
    if table is not None:
        return TensorSource(table, order, shard)
    return SetSource(name, sized, order, shard, views)


def _lengths(name: str, data: Any, views: int | None, grouped: bool | None) -> Tensor | None:
    """Return the lengths of examples that are to be grouped by them."""
    if grouped is None:
        return lengths_of_texts(name, data)
    return lengths_of(name, data, views) if grouped else None
