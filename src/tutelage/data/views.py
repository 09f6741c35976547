"""Reproducible augmented views of a data set, and examples that carry their index."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.utils.data import Dataset

from tutelage._checks import integer
from tutelage.data.fingerprint import content
from tutelage.data.randomness import mixed_seed, preserved, seed_augmentation
from tutelage.data.sets import as_map_style, held_datasets
from tutelage.errors import ArgumentError, DataError
from tutelage.nested import describe, split_dict, with_parts
from tutelage.signals import IndexedExample

_CHECKED = 8
_DEPTH = 8


class _SharedNumber:
    """The number of the current view, in memory shared with (persistent) worker processes."""

    def __init__(self) -> None:
        self.value = torch.zeros((), dtype=torch.int64).share_memory_()

    def __setstate__(self, state: dict[str, torch.Tensor]) -> None:
        self.value = state["value"].share_memory_()  # in a worker it is shared already

    def __repr__(self) -> str:
        return "view"  # always the same, since the current view is not a setting of the data set


class Views(Dataset[Any]):
    """A data set whose random augmentations are seeded by (seed, view, example).

    Example `i` in view `v` is `transform(dataset[i])`, with torch's, numpy's and Python's global
    generators (and CUDA's, if in use) seeded from (`seed`, `v`, `i`); this includes the data set's
    own augmentation. So its pixels are the same in another process, in workers, in another order
    and after a restart, and a teacher's stored outputs for view `v` belong to exactly the pixels
    that the student is given. The global generators are restored.

    Epoch `e`, counted from 0, uses view `e mod count`. `distill`, `fit` and `label` set it, also
    for a `DataLoader` over the set, with workers; in a loop of your own call `set_epoch(e)` before
    each epoch. `Views` inside of others follow them, each modulo its own `count`.

    Args:
        dataset: A map-style data set, which may augment its examples itself, or `(inputs, labels)`
            as tensors or arrays.
        transform: The augmentation of an example: a transform of torchvision (v2), or any callable;
            None if the data set itself augments.
        count: The number of views; None for a new one in each epoch.
        seed: Seeds all views.
        whole: Whether `transform` is given the whole example, with labels; otherwise the inputs
            only: the first item of a tuple, or a dict without labels and `domain`.

    Raises:
        ArgumentError: An argument is outside its range.
        DataError: `dataset` is empty or not map-style, an example cannot be loaded, or an example
            differs when it is loaded twice in one view, because of a generator of its own.

    >>> import torch
    >>> from torch.utils.data import TensorDataset
    >>> noisy = Views(TensorDataset(torch.zeros(5, 2)), lambda x: x + torch.randn(2), count=3)
    >>> torch.equal(noisy.example(4, view=1)[0], noisy.example(4, view=1)[0])
    True
    >>> torch.equal(noisy.example(4, view=1)[0], noisy.example(4, view=2)[0])
    False
    """

    def __init__(
        self,
        dataset: Any,
        transform: Callable[[Any], Any] | None = None,
        *,
        count: int | None = None,
        seed: int = 0,
        whole: bool = False,
    ) -> None:
        dataset = as_map_style("Views", dataset)
        if len(dataset) == 0:
            raise DataError("`Views` must be given at least one example, got an empty data set")
        if transform is not None and not callable(transform):
            raise ArgumentError(
                f"`transform` must be a callable or None, got {transform!r}; for instance "
                "torchvision.transforms.v2.RandomHorizontalFlip()"
            )
        if count is not None:
            count = integer("count", count, 1, "it is the number of views")
        self.seed = integer("seed", seed, 0, "it seeds all views")
        self.dataset, self.transform, self.count, self.whole = dataset, transform, count, whole
        self._current = _SharedNumber()
        self.set_view(0)
        self._check_reproducible()

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        """Return an example in the current view."""
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """Return several examples, as loaders of batches do."""
        return self._examples(indices, self.view)

    def example(self, index: int, view: int) -> Any:
        """Return an example in any view."""
        view, inside = self._checked(view), views_in(self.dataset)
        shown = [each.view for each in inside]
        try:
            for each in inside:
                each.set_epoch(view)
            return self._examples([index], view)[0]
        finally:
            for each, before in zip(inside, shown, strict=True):
                each.set_view(before)

    @property
    def view(self) -> int:
        """The current view; 0 at first."""
        return int(self._current.value)

    def set_view(self, view: int) -> None:
        """Use another view from now on, also in running worker processes.

        Raises:
            ArgumentError: There is no such view.
        """
        self._current.value.fill_(self._checked(view))
        for each in views_in(self.dataset):
            each.set_epoch(view)

    def set_epoch(self, epoch: int) -> None:
        """Use the view of an epoch, counted from 0: `epoch mod count`."""
        epoch = integer("epoch", epoch, 0, "epochs are counted from 0")
        self.set_view(epoch if self.count is None else epoch % self.count)

    @property
    def description(self) -> str:
        """Seed and transform as text, without the data set and the number of views."""
        return f"seed={self.seed}, whole={self.whole}, transform={_named(self.transform)}"

    def _checked(self, view: int) -> int:
        view = integer("view", view, 0, "views are counted from 0")
        if self.count is not None and view >= self.count:
            raise ArgumentError(
                f"`view` must be below `count`, which is {self.count}, got {view}; make Views of a "
                "larger count"
            )
        return view

    def _examples(self, indices: Sequence[int], view: int) -> list[Any]:
        positions, view_seed, found = range(len(self)), mixed_seed(self.seed, view), []
        with preserved():
            for index in indices:
                seed_augmentation(mixed_seed(view_seed, positions[index]))
                found.append(self._augmented(positions[index]))
        return found

    def _augmented(self, position: int) -> Any:
        example = self.dataset[position]
        if self.transform is None:
            return example
        if self.whole:
            return self.transform(example)
        if isinstance(example, Mapping):
            inputs, rest = split_dict(example)
            made = self.transform(inputs)
            if not isinstance(made, Mapping):
                raise DataError(
                    "the transform of examples that are dicts is called with a dict of their "
                    f"inputs and must return a dict, got {describe(made)}; return the changed dict"
                )
            return {**made, **rest}
        if isinstance(example, (tuple, list)):
            return with_parts(example, self.transform(example[0]))
        return self.transform(example)

    def _check_reproducible(self) -> None:
        """Load a few examples twice and refuse them if they differ."""
        length = len(self)
        for position in sorted({number * length // _CHECKED for number in range(_CHECKED)}):
            first, second = (content(self.example(position, 0)) for _ in range(2))
            if first != second:
                raise DataError(
                    f"an example must be the same each time it is loaded in one view, got two that "
                    f"differ (example {position}); it depends on a generator of its own, such as "
                    "numpy.random.default_rng, or on a counter: use torch's, numpy's or Python's "
                    "global generator instead (torch.rand, numpy.random.rand, random.random)"
                )


def _named(transform: object) -> str:
    """Return a text for a transform that is the same in every process."""
    name = getattr(transform, "__qualname__", type(transform).__qualname__)
    module = getattr(transform, "__module__", "") or ""
    text = re.sub(r" at 0x[0-9a-fA-F]+", "", repr(transform))
    return f"{module}.{name} {text}"


def views_in(dataset: object, depth: int = _DEPTH) -> list[Views]:
    """Return the `Views` in a data set, also inside subsets and other wrappers."""
    if isinstance(dataset, Views):
        return [dataset]
    inner = held_datasets(dataset).values() if depth else ()
    return [found for each in inner for found in views_in(each, depth - 1)]


def describe_views(dataset: object, views: int | None) -> dict[str, Any]:
    """Return the number of views in use and their settings; empty without views."""
    found = views_in(dataset)
    in_use = found[0].count if found and views is None else views
    return {"views": in_use, "view": [each.description for each in found]} if found else {}


def show_epoch(dataset: object, epoch: int, views: int | None = None) -> int:
    """Set the view of an epoch, `epoch mod views`, and return it; 0 where there are no views.

    `views` is the number to cycle through; None for as many as the data set has.
    """
    found = views_in(dataset)
    if not found:
        return 0
    counts = {each.count for each in found}
    if len(counts) > 1:
        raise DataError(
            "the parts of a data set must have the same number of views, got Views of count "
            f"{' and '.join(map(str, counts))}; give all the same `count`"
        )
    (count,) = counts
    if views is not None and count is not None and count < views:
        raise DataError(
            f"the data set must have the {views} views that are requested, got Views of count "
            f"{count}; make Views of a larger count"
        )
    in_use = count if views is None else views
    view = epoch if in_use is None else epoch % in_use
    for each in found:
        each.set_view(view)
    return view


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
