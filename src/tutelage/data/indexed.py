"""Examples with their index, for loaders that shuffle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch.utils.data import Dataset

from tutelage.data.as_dataset import as_map_style
from tutelage.data.views import views_in
from tutelage.signals import IndexedExample


class Indexed(Dataset[Any]):
    """A data set whose examples carry their index and their view.

    It is for a shuffling `DataLoader`, whose batches otherwise have no indices; a data set given to
    `distill` without a loader does not need it. Each item is an
    `IndexedExample(example, index, view)`. A `collate_fn` of your own gets a list of these and must
    return `IndexedExample(your_batch, indices, view)`, as torch's collation does.

    Args:
        dataset: A map-style data set, such as `Views`.

    Raises:
        DataError: It is not map-style.

    >>> import torch
    >>> from torch.utils.data import DataLoader, TensorDataset
    >>> from tutelage.signals import Batch
    >>> loader = DataLoader(Indexed(TensorDataset(torch.zeros(4, 2))), batch_size=4, shuffle=True)
    >>> sorted(Batch.of(next(iter(loader))).index.tolist())
    [0, 1, 2, 3]
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = as_map_style("Indexed", dataset)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> IndexedExample:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[IndexedExample]:
        """Return several examples, as loaders of batches do."""
        several: Any = getattr(self.dataset, "__getitems__", None)
        positions = [range(len(self))[index] for index in indices]
        examples = several(positions) if several else [self.dataset[at] for at in positions]
        views = views_in(self.dataset)
        view = views[0].view if views else 0
        pairs = zip(examples, positions, strict=True)
        return [IndexedExample(example, position, view) for example, position in pairs]
