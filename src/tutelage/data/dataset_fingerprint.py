"""Fingerprints of data sets by their examples, and a test for random augmentation."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch.utils.data import ConcatDataset, DataLoader, IterableDataset, Subset

from tutelage.data import randomness
from tutelage.data.fingerprint import content
from tutelage.data.sets import Domains, Labelled, Unlabelled, as_dataset, is_map_style
from tutelage.data.tensor_table import table_of
from tutelage.data.views import Indexed, Views
from tutelage.errors import DataError

_SAMPLED, _FEW = 64, 8
_LEAST, _MOST = 8, 256


def dataset_fingerprint(dataset: Any) -> str:
    """Return a hash of a data set's content, the same in every process.

    It includes all content of a data set of tensors (see `tensor_table`), and of one with a method
    `whole_content` that returns what decides all of its examples: tensors, arrays, numbers and
    texts, also in lists; or None if they cannot be read in a short time. For others it includes the
    length and the first, the last and 64 more examples, at fixed positions and under fixed seeds.
    The global random states are restored. Order and collation of a `DataLoader` do not matter.

    Raises:
        DataError: It has no length, is empty, cannot be loaded, or its examples cannot be hashed.
    """
    return examples_fingerprint(dataset)[0]


def examples_fingerprint(dataset: Any) -> tuple[str, bool]:
    """Return a data set's fingerprint, and whether it leaves out some of the examples."""
    dataset = _map_style(dataset)
    return _fingerprint(dataset.dataset if isinstance(dataset, Indexed) else dataset)


def draws_at_random(dataset: Any) -> bool:
    """Tell whether examples differ each time they are loaded, because of random augmentation.

    A few examples are loaded twice, under two seeds. If they are equal although random numbers were
    used, up to 256 are loaded, since an augmentation may be rare. Data sets, errors and random
    states as for `dataset_fingerprint`.
    """
    dataset = _map_style(dataset)
    if table_of(dataset) is not None:
        return False
    length = len(dataset)
    with randomness.preserved():
        for turn in range(_MOST):
            spread = turn * max(1, length // _LEAST) if turn < _LEAST else turn
            first, is_random = _loaded_under(2 * turn, dataset, spread % length)
            second, _ = _loaded_under(2 * turn + 1, dataset, spread % length)
            if first != second:
                return True
            if turn >= _LEAST - 1 and not is_random:
                return False
    return False


def whole_content(dataset: Any) -> Any:
    """Return data that decides all examples of a data set; None where it offers none.

    The class that loads the examples must offer it: a subclass that loads others, or a wrapper that
    passes attributes on, would have the content of what is inside.
    """
    loads = next((each for each in type(dataset).__mro__ if "__getitem__" in vars(each)), None)
    offers = loads is not None and "whole_content" in vars(loads)
    return dataset.whole_content() if offers else None


def load(dataset: Any, index: int) -> Any:
    """Return an example; its error is turned into a `DataError`."""
    try:
        return dataset[index]
    except Exception as error:
        raise DataError(
            f"the data set ({type(dataset).__name__}, of {len(dataset)} examples) must load its "
            f"example {index}, got {type(error).__name__}: {error}; correct its __getitem__"
        ) from error


def _loaded_under(seed: int, dataset: Any, index: int) -> tuple[str, bool]:
    """Return the hash of an example under a seed, and whether loading it used random numbers."""
    randomness.seed_everything(seed)
    before = content(list(randomness.capture().values()))
    found = content(load(dataset, index))
    return found, content(list(randomness.capture().values())) != before


def _map_style(dataset: Any) -> Any:
    """Return the data set, also from inside a loader; refuse one that is not map-style."""
    loaded = isinstance(dataset, DataLoader)
    inner: Any = dataset.dataset if loaded else as_dataset("dataset", dataset)
    if not is_map_style(inner) or isinstance(inner, IterableDataset):
        raise DataError(
            "a data set whose examples are identified by index must have __len__ and __getitem__, "
            f"got {type(inner).__name__}; wrap tensors in torch.utils.data.TensorDataset, and load "
            "an iterable data set into one"
        )
    if len(inner) == 0:
        raise DataError("a data set must have at least one example, got an empty one; fill it")
    return inner


def _fingerprint(dataset: Any) -> tuple[str, bool]:
    """Return the fingerprint of a data set, and whether it leaves out some examples."""
    sampled, inside = False, []
    table, wrapper = table_of(dataset), _wrapper(dataset)
    if table is not None:
        parts = ["tensors", *table.names, *map(content, table.pieces())]
    elif (whole := whole_content(dataset)) is not None:
        parts = ["whole", len(dataset), content(whole)]
    elif isinstance(dataset, Indexed):
        raise DataError(
            "`Indexed` must be the outermost wrapper, since it gives the positions, got one inside "
            "another; write Indexed(Subset(dataset, indices))"
        )
    elif wrapper is not None:
        parts, inside = wrapper
    else:
        sampled = len(dataset) > _SAMPLED + 2
        parts = ["examples", len(dataset), *_sampled(dataset)]
    prints = list(map(_fingerprint, inside))
    digest = hashlib.blake2b(digest_size=16)
    for part in [*parts, *(each for each, _ in prints)]:
        digest.update(f"{part};".encode())
    return digest.hexdigest(), sampled or any(each for _, each in prints)


def _wrapper(dataset: Any) -> tuple[list[object], list[Any]] | None:  # noqa: PLR0911
    """Return the description of a known wrapper, and the data sets inside; None for others."""
    if isinstance(dataset, Views):
        # A few examples, since the text of a transform may not show what it does.
        few = sorted({number * len(dataset) // _FEW for number in range(_FEW)})
        examples = [content(dataset.example(index, 0)) for index in few]
        return ["views", dataset.description, *examples], [dataset.dataset]
    if type(dataset) is Subset:
        indices = torch.as_tensor(dataset.indices, dtype=torch.int64)
        return ["subset", content(indices)], [dataset.dataset]
    if type(dataset) is ConcatDataset:
        return ["joined"], dataset.datasets
    if type(dataset) is Domains:
        return ["domains", *dataset.sets], list(dataset.sets.values())
    if type(dataset) is Labelled:
        return ["labelled", repr(dataset.labels), repr(dataset.inputs)], [dataset.dataset]
    if type(dataset) is Unlabelled:
        return ["unlabelled", content(dataset.label)], [dataset.inputs]
    return None


def _sampled(dataset: Any) -> list[str]:
    """Return the content of the examples at some positions, each loaded under a seed of its own."""
    length = len(dataset)
    generator = torch.Generator().manual_seed(length)
    chosen = torch.randint(length, (_SAMPLED,), generator=generator).tolist()
    found = []
    with randomness.preserved():
        for index in sorted({0, length - 1, *chosen}):
            randomness.seed_everything(index)
            found.append(content(load(dataset, index)))
    return found
