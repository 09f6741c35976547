"""Which source serves the data that a user gives."""

from torch.utils.data import DataLoader, IterableDataset

from tutelage._checks import whole_number
from tutelage.data.loader_source import LoaderSource
from tutelage.data.set_source import SetSource
from tutelage.data.source import Order, Share, Source
from tutelage.data.table import table_of
from tutelage.data.tensor_source import TensorSource
from tutelage.errors import DataError


def as_source(
    name: str,
    data: object,
    batch_size: int,
    *,
    shuffle: bool,
    seed: int = 0,
    share: Share | None = None,
    views: int | None = None,
) -> Source:
    """Return the source for what a user gives.

    Args:
        name: The argument's name, for messages.
        data: A `DataLoader` (its order is kept exactly and `batch_size`, `shuffle` and `seed` do
            not matter) or a data set. A set that holds tensors is indexed by whole batches.
        batch_size: Examples in a batch, over all processes.
        shuffle: Whether each epoch has an order of its own, drawn from `seed` and its number.
        seed: Where the orders come from.
        share: Which part of each batch is ours; None for all of it.
        views: How many views of the data (see `Views`) take turns, epoch by epoch; None for as
            many as it has.

    Raises:
        DataError: The data is empty, or neither a data set nor a `DataLoader`.
    """
    share = share or Share()
    if isinstance(data, DataLoader):
        return LoaderSource(name, data, share, views)
    size = whole_number("batch_size", batch_size, 1, "it is the number of examples in a batch")
    if isinstance(data, IterableDataset):
        return LoaderSource(name, DataLoader(data, size), share)
    order = Order(_length(name, data), size, seed if shuffle else None)
    table = table_of(data)
    if table is not None:
        return TensorSource(table, order, share)
    return SetSource(name, data, order, share, views)  # pyright: ignore[reportArgumentType]


def _length(name: str, data: object) -> int:
    if not (hasattr(data, "__getitem__") and hasattr(data, "__len__")):
        raise DataError(
            f"`{name}` must be a torch Dataset (with __len__ and __getitem__) or a DataLoader, got "
            f"{type(data).__name__}; wrap tensors in torch.utils.data.TensorDataset"
        )
    length = len(data)  # pyright: ignore[reportArgumentType]
    if length == 0:
        raise DataError(f"`{name}` must have at least one example, got an empty data set")
    return length
