"""What a data set holds: a fingerprint of it, and whether its examples are drawn at random."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader, IterableDataset, Subset

from tutelage.data import randomness
from tutelage.data.domains import Domains
from tutelage.data.fingerprint import content
from tutelage.data.indexed import Indexed
from tutelage.data.tensor_source import held_tensors
from tutelage.data.unlabelled import Unlabelled
from tutelage.data.views import Views
from tutelage.errors import DataError

_SAMPLED, _FEW = 64, 8
_ROWS_AT_ONCE = 2**14
_SURELY, _PATIENTLY = 8, 256


def dataset_fingerprint(dataset: Any) -> str:
    """Return a short text that is the same in every process and changes with a data set's content.

    Over all of the content where the data set holds tensors (a `TensorDataset`, or a `Subset` of
    one); else over the length and the examples, inputs and labels, at the first, the last and 64
    more places, the same each time. Random states are left as they were, and what is drawn at
    random is drawn from a fixed seed.

    Args:
        dataset: A data set with `__len__` and `__getitem__`, or a `DataLoader` over one, whose
            order and collation do not matter.

    Raises:
        DataError: It has no length, is empty, cannot be loaded, or holds what cannot be read.

    >>> from torch.utils.data import TensorDataset
    >>> one, other = TensorDataset(torch.zeros(3, 2)), TensorDataset(torch.zeros(4, 2))
    >>> dataset_fingerprint(one) == dataset_fingerprint(other)
    False
    """
    dataset = _with_places(dataset)
    dataset = dataset.dataset if isinstance(dataset, Indexed) else dataset
    return _fingerprint(dataset)


def draws_at_random(dataset: Any) -> bool:
    """Tell whether a data set's examples change from one look to the next, as augmented ones do.

    A few examples are loaded twice, under two random states. Where they are equal though
    something was drawn, up to 256 are looked at: an augmentation may be rare. The global random
    states are left as they were.

    Args:
        dataset: As for `dataset_fingerprint`.

    Raises:
        DataError: As `dataset_fingerprint`.

    >>> from torch.utils.data import TensorDataset
    >>> draws_at_random(TensorDataset(torch.zeros(3, 2)))
    False
    """
    dataset = _with_places(dataset)
    if held_tensors(dataset) is not None:
        return False
    length = len(dataset)
    with randomness.preserved():
        for look in range(_PATIENTLY):
            place = look * max(1, length // _SURELY) % length if look < _SURELY else look % length
            first, drew = _look(dataset, place, 2 * look)
            second, _ = _look(dataset, place, 2 * look + 1)
            if first != second:
                return True
            if look >= _SURELY - 1 and not drew:
                return False
    return False


def load(dataset: Any, place: int) -> Any:
    """Return an example.

    Raises:
        DataError: The data set cannot load it.
    """
    try:
        return dataset[place]
    except Exception as error:
        raise DataError(
            f"the data set ({type(dataset).__name__}, of {len(dataset)} examples) must load its "
            f"example {place}, got {type(error).__name__}: {error}; mend its __getitem__"
        ) from error


def _look(dataset: Any, place: int, seed: int) -> tuple[str, bool]:
    """Return the content of an example under a seed, and whether anything was drawn for it."""
    randomness.seed_everything(seed)
    before = content(list(randomness.capture().values()))
    found = content(load(dataset, place))
    return found, content(list(randomness.capture().values())) != before


def _with_places(dataset: Any) -> Any:
    """Return the data set, without a loader around it, once it is known to have places."""
    inner: Any = dataset.dataset if isinstance(dataset, DataLoader) else dataset
    has_places = hasattr(inner, "__getitem__") and hasattr(inner, "__len__")
    if not has_places or isinstance(inner, IterableDataset):
        raise DataError(
            "a data set whose examples are known by their place must have __len__ and __getitem__, "
            f"got {type(inner).__name__}; wrap tensors in torch.utils.data.TensorDataset, and read "
            "a stream into such a data set"
        )
    if len(inner) == 0:
        raise DataError("a data set must have at least one example, got an empty one; fill it")
    return inner


def _fingerprint(dataset: Any) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in _described(dataset):
        digest.update(f"{part};".encode())
    return digest.hexdigest()


def _described(dataset: Any) -> list[object]:
    """Return what tells a data set from others."""
    tensors = held_tensors(dataset)
    if tensors is not None:
        return ["tensors", len(dataset), *map(content, _in_pieces(*tensors))]
    if isinstance(dataset, Views):
        # The text of a transform may hide what it does; its views do not.
        looks = [content(dataset.example(place, 0)) for place in _spread(len(dataset), _FEW)]
        return ["views", dataset.description, *looks, _fingerprint(dataset.dataset)]
    if isinstance(dataset, Indexed):
        raise DataError(
            "`Indexed` must be the outermost of a data set's wrappers, since it tells positions, "
            "got one inside another; write Indexed(Subset(dataset, places))"
        )
    parts = _parts(dataset)
    if parts is not None:
        return [*parts[0], *map(_fingerprint, parts[1])]
    return ["examples", len(dataset), *_sampled(dataset)]


def _parts(dataset: Any) -> tuple[list[object], list[Any]] | None:
    """Return what a wrapper adds to data sets, and these; None if it is no known wrapper."""
    if type(dataset) is Subset:
        places = torch.as_tensor(dataset.indices, dtype=torch.int64)
        return ["subset", content(places)], [dataset.dataset]
    if type(dataset) is ConcatDataset:
        return ["joined"], dataset.datasets
    if type(dataset) is Domains:
        return ["domains", *dataset.sets], list(dataset.sets.values())
    if type(dataset) is Unlabelled:
        return ["unlabelled", content(dataset.label)], [dataset.inputs]
    return None


def _sampled(dataset: Any) -> list[str]:
    """Return the content of the examples at some places, each drawn from a seed of its own."""
    length = len(dataset)
    generator = torch.Generator().manual_seed(length)
    chosen = torch.randint(length, (_SAMPLED,), generator=generator).tolist()
    found = []
    with randomness.preserved():
        for place in sorted({0, length - 1, *chosen}):
            randomness.seed_everything(place)
            found.append(content(load(dataset, place)))
    return found


def _spread(length: int, number: int) -> list[int]:
    """Return some places, evenly spread."""
    return sorted({turn * length // number for turn in range(number)})


def _in_pieces(tensors: Sequence[Tensor], rows: Tensor | None) -> Iterator[Tensor]:
    """Yield the rows of tensors in pieces of a bounded size."""
    for tensor in tensors:
        length = len(tensor) if rows is None else len(rows)
        for first in range(0, length, _ROWS_AT_ONCE):
            piece = slice(first, first + _ROWS_AT_ONCE)
            yield tensor[piece] if rows is None else tensor[rows[piece].to(tensor.device)]
