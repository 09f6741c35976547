"""Augmented views of a data set that come out the same whenever and wherever they are made."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from torch.utils.data import Dataset

from tutelage._checks import whole_number
from tutelage.data.current_view import CurrentView
from tutelage.data.draws import Draws, mixed
from tutelage.data.fingerprint import content
from tutelage.errors import ArgumentError, DataError
from tutelage.nested import describe
from tutelage.signals import set_apart

_LOOKS = 8


class Views(Dataset[Any]):
    """A data set under augmentations that are drawn from (seed, view, example).

    Example `i` under view `v` is `transform(dataset[i])` with all draws, the data set's own too,
    from torch's, numpy's and Python's global generators (and CUDA's, where it is in use) begun
    from a seed of (`seed`, `v`, `i`). So its pixels are the same in another process, in workers,
    in another order, after a kill; and the global generators are left as they were. A teacher that
    was asked about view `v` once has answered for the very pixels that a student sees later.

    Epoch `e` of a training, from 0 on, shows view `e mod count`. `distill`, `fit` and `label` see
    to that, also for a `DataLoader` over the set, with workers; a loop of your own calls
    `set_epoch(e)` before each epoch.

    Args:
        dataset: A map-style data set; it may augment its examples itself.
        transform: What makes a view of an example: a transform of torchvision (v2), or any
            callable; None where the data set's own augmentation is all.
        count: How many views there are; None for a new one in each epoch.
        seed: Where all draws come from.
        whole: Whether `transform` is given the whole example, with labels; else the inputs alone:
            the first item of a tuple, or a dict without `labels`, `label`, `index` and `domain`.

    Raises:
        ArgumentError: An argument is outside its range.
        DataError: `dataset` is empty or has no places, an example cannot be loaded, or two looks
            at one example and view differ, since something draws from a generator of its own.

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
        _check_dataset(dataset)
        if transform is not None and not callable(transform):
            raise ArgumentError(
                f"`transform` must be a callable or None, got {transform!r}; for instance "
                "torchvision.transforms.v2.RandomHorizontalFlip()"
            )
        if count is not None:
            count = whole_number("count", count, 1, "it is the number of views")
        self.seed = whole_number("seed", seed, 0, "all draws come from it")
        self.dataset, self.transform, self.count, self.whole = dataset, transform, count, whole
        self._current, self._draws = CurrentView(), Draws()
        self._refuse_draws_of_its_own()

    def __len__(self) -> int:
        """Return the number of examples, of each view."""
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        """Return an example under the present view."""
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """Return the examples of a batch, which a loader asks for at once."""
        return self._examples(indices, self.view)

    def example(self, index: int, view: int) -> Any:
        """Return an example under any view."""
        return self._examples([index], self._checked(view))[0]

    @property
    def view(self) -> int:
        """The present view; 0 at first."""
        return self._current.get()

    def set_view(self, view: int) -> None:
        """Show another view from now on, in running worker processes too.

        Raises:
            ArgumentError: There is no such view.
        """
        self._current.set(self._checked(view))

    def set_epoch(self, epoch: int) -> None:
        """Show the view of an epoch, counted from 0: `epoch mod count`."""
        epoch = whole_number("epoch", epoch, 0, "epochs are counted from 0")
        self.set_view(epoch if self.count is None else epoch % self.count)

    @property
    def description(self) -> str:
        """What makes a view, as text; the data set and the number of views are left out."""
        return f"seed={self.seed}, whole={self.whole}, transform={_named(self.transform)}"

    def _checked(self, view: int) -> int:
        view = whole_number("view", view, 0, "views are counted from 0")
        if self.count is not None and view >= self.count:
            raise ArgumentError(
                f"`view` must be below `count`, which is {self.count}, got {view}; make Views of a "
                "larger count"
            )
        return view

    def _examples(self, indices: Sequence[int], view: int) -> list[Any]:
        places = range(len(self.dataset))
        of_view = mixed(self.seed, view)
        with self._draws.apart() as call:
            return [
                call(mixed(of_view, place), partial(self._made, place))
                for place in (places[index] for index in indices)
            ]

    def _made(self, place: int) -> Any:
        """Return an example, with whatever is drawn for it drawn now."""
        example = self.dataset[place]
        if self.transform is None:
            return example
        if self.whole:
            return self.transform(example)
        if isinstance(example, Mapping):
            inputs, rest = set_apart(example)
            return {**_dict(self.transform(inputs)), **rest}
        if isinstance(example, (tuple, list)):
            return (self.transform(example[0]), *example[1:])
        return self.transform(example)

    def _refuse_draws_of_its_own(self) -> None:
        """Look at a few examples twice: both must be alike."""
        length = len(self)
        for place in sorted({look * length // _LOOKS for look in range(_LOOKS)}):
            first, second = (content(self.example(place, 0)) for _ in range(2))
            if first != second:
                raise DataError(
                    f"a view of an example must come out the same each time, got two that differ "
                    f"(example {place}); something in it draws from a generator of its own, such "
                    "as numpy.random.default_rng, or keeps a count: draw from torch's, numpy's or "
                    "Python's global generator instead (torch.rand, numpy.random.rand, "
                    "random.random)"
                )


def _dict(made: Any) -> Mapping[str, Any]:
    if isinstance(made, Mapping):
        return made
    raise DataError(
        "the transform of examples that are dicts is called with a dict of their inputs and must "
        f"return a dict, got {describe(made)}; return the changed dict"
    )


def _check_dataset(dataset: Any) -> None:
    if not (hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")):
        raise DataError(
            "`Views` must be given a map-style data set (with __len__ and __getitem__), got "
            f"{type(dataset).__name__}; give the data set and put the loader around the Views"
        )
    if len(dataset) == 0:
        raise DataError("`Views` must be given at least one example, got an empty data set")


def _named(transform: object) -> str:
    """Return a text for a transform that is the same in every process."""
    name = getattr(transform, "__qualname__", type(transform).__qualname__)
    module = getattr(transform, "__module__", "") or ""
    text = re.sub(r" at 0x[0-9a-fA-F]+", "", repr(transform))
    return f"{module}.{name} {text}"
