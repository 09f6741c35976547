"""Examples that say which they are, for loaders whose order nobody else knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch.utils.data import Dataset

from tutelage.data.turns import views_in
from tutelage.errors import DataError
from tutelage.signals import Placed


class Indexed(Dataset[Any]):
    """A data set whose examples carry their place, and the view they are seen under.

    A shuffling `DataLoader` does not tell which examples a batch is made of. Over this set it
    does: each item is `Placed(example, index, view)`, which torch's collation turns into a `Placed`
    batch and the library into a `Batch` with `index` and `view`. A data set that is given to
    `distill` without a loader needs none of this. A `collate_fn` of your own is called with a list
    of `Placed` and must return `Placed(your_batch, indices, view)`.

    Args:
        dataset: A map-style data set, such as `Views`.

    Raises:
        DataError: It is none.

    >>> import torch
    >>> from torch.utils.data import DataLoader, TensorDataset
    >>> from tutelage.signals import Batch
    >>> loader = DataLoader(Indexed(TensorDataset(torch.zeros(4, 2))), batch_size=4, shuffle=True)
    >>> sorted(Batch.of(next(iter(loader))).index.tolist())
    [0, 1, 2, 3]
    """

    def __init__(self, dataset: Any) -> None:
        if not (hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")):
            raise DataError(
                "`Indexed` must be given a map-style data set (with __len__ and __getitem__), got "
                f"{type(dataset).__name__}; give the data set and put the loader around it"
            )
        self.dataset = dataset

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.dataset)

    def __getitem__(self, index: int) -> Placed:
        """Return an example with its place."""
        place = range(len(self))[index]
        return Placed(self.dataset[place], place, self._view())

    def __getitems__(self, indices: Sequence[int]) -> list[Placed]:
        """Return the examples of a batch, which a loader asks for at once."""
        several: Any = getattr(self.dataset, "__getitems__", None)
        places = [range(len(self))[index] for index in indices]
        examples: Any = several(places) if several else [self.dataset[at] for at in places]
        view = self._view()
        return [Placed(each, at, view) for each, at in zip(examples, places, strict=True)]

    def _view(self) -> int:
        seen = views_in(self.dataset)
        return seen[0].view if seen else 0
