"""The examples of a data set, as they are compared with those of another: by their inputs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, IterableDataset, Subset, default_collate

from tutelage.data import LoaderSource, Shard, Source, as_dataset, as_source, randomness, views_in
from tutelage.data.fingerprint import content, undisturbed
from tutelage.data.sets import Domains, held_datasets, is_map_style
from tutelage.data.tensor_table import table_of
from tutelage.nested import label_key, split_dict
from tutelage.studies.example_keys import domains_of, example_keys, kind_of
from tutelage.studies.outputs import BATCH, Truth, truth
from tutelage.studies.trial import in_order

MOST = 20_000
"""How many training examples are loaded, of data that is no tensors."""
_RANDOM = "random "


@dataclass(frozen=True)
class Examples:
    """The examples of a data set, as they are compared.

    Args:
        name: Of the data, for messages.
        keys: A hash of the inputs of each.
        domains: Of each; None where not known.
        kinds: The types of the inputs; data of other types cannot be compared.
        total: How many examples there are; more than `keys` if only some are compared.
        data: The data set; None where it is not needed.
        augmented: Whether its examples differ each time they are loaded.
        unread: Why it was not read; "" if it was.
    """

    name: str
    keys: Sequence[bytes] = ()
    domains: Sequence[str] | None = None
    kinds: frozenset[str] = frozenset()
    total: int = 0
    data: Any = None
    augmented: bool = False
    unread: str = ""


def examples_of(name: str, data: object) -> Examples:
    """Return the examples of validation or test data."""
    return evaluated(name, data, truth(name, data))


def evaluated(name: str, data: object, known: Truth) -> Examples:
    """Return the examples of validation or test data, of which all is known."""
    kinds = frozenset({known.kind})
    return Examples(name, known.keys, known.domains, kinds, len(known.keys), data)


def train_examples(name: str, data: Any) -> Examples:
    """Return the examples of training data; of data that is no tensors at most `MOST`.

    Random states, also those of the data, do not change.
    """
    dataset: Any = data.dataset if isinstance(data, DataLoader) else as_dataset("train", data)
    if isinstance(dataset, IterableDataset) or not is_map_style(dataset):
        return Examples(name, unread=_no_length(name))
    with randomness.preserved(), undisturbed(dataset):
        rows = _rows(data, len(dataset))
        table = table_of(dataset) is not None
        few = rows if table else _few(rows)
        source = _source(data, dataset, few)
        augmented = bool(views_in(dataset)) or (not table and _differs(source))
        found = Examples(name, total=len(rows), data=data, augmented=augmented)
        if augmented:
            return found
        randomness.seed_everything(0)
        batches = [
            (example_keys(each), domains_of(each), kind_of(each)) for each in source.epoch(0)
        ]
        keys = [key for each, _, _ in batches for key in each]
        tagged = [each for _, each, _ in batches if each is not None]
        domains = [each for batch in tagged for each in batch]
    kinds = frozenset(kind for _, _, kind in batches)
    total = round(len(rows) * len(keys) / max(1, len(few)))  # batches that a data set yields whole
    domains = domains if len(domains) == len(keys) else None
    return replace(found, keys=keys, domains=domains, kinds=kinds, total=total)


def unaugmented(examples: Examples) -> Examples:
    """Return the examples as they are inside of all wrappers, before any augmentation.

    Those of a data set that is itself random are known by their position only.
    """
    data: Any = examples.data
    keys, kinds, tags = [], [], []
    if examples.unread or data is None:
        return examples
    dataset: Any = data.dataset if isinstance(data, DataLoader) else as_dataset("data", data)
    if isinstance(dataset, IterableDataset) or not is_map_style(dataset):
        return replace(examples, unread=_no_length(examples.name))
    with randomness.preserved(), undisturbed(dataset):
        rows = _rows(data, len(dataset))
        for leaf, inside, domain in _leaves(dataset, _few(rows)):
            found = _contents(leaf, inside)
            keys += found or [f"{id(leaf)} {row}".encode() for row in inside]
            kinds.append(_kind(leaf, inside[0]) if found else f"{_RANDOM}{id(leaf)}")
            tags += [domain] * len(inside)
    return replace(
        examples,
        keys=keys,
        kinds=frozenset(kinds),
        domains=None if None in tags else tags,
        total=len(rows),
    )


def _no_length(name: str) -> str:
    return f"{name} has no length, so its examples were not compared"


def _few(rows: np.ndarray) -> np.ndarray:
    """Return at most `MOST` of the indices, evenly spread."""
    return rows[:: max(1, math.ceil(len(rows) / MOST))]


def _source(data: Any, dataset: Any, rows: np.ndarray) -> Source:
    """Return batches of some examples in their order."""
    part = dataset if len(rows) == len(dataset) else Subset(dataset, rows.tolist())
    if isinstance(data, DataLoader) and data.collate_fn is not default_collate:
        return LoaderSource("train", in_order(data, part), Shard())
    return as_source("train", part, BATCH)


def _differs(source: Source) -> bool:
    """Return whether examples differ each time they are loaded."""
    found = []
    for seed in (0, 1):
        randomness.seed_everything(seed)
        found.append(example_keys(next(source.epoch(0))))
    return found[0] != found[1]


def _rows(data: Any, length: int) -> np.ndarray:
    """Return the indices of the examples that are used, without duplicates: all, or a sampler's."""
    if not isinstance(data, DataLoader):
        return np.arange(length)
    source = LoaderSource("train", data, Shard())
    state = source.state()
    sampled: Any = data.sampler if data.batch_sampler is None else data.batch_sampler
    drawn = [np.asarray(each) for each in sampled]
    source.load(state)
    if any(each.dtype.kind not in "iu" or each.ndim > 1 for each in drawn):
        return np.arange(length)  # not indices alone
    return np.unique(np.hstack(drawn))


def _leaves(dataset: Any, rows: np.ndarray, domain: str | None = None) -> Iterator[Any]:
    """Yield the innermost data sets, which rows of them are used, and their domains."""
    if type(dataset) is Subset:
        yield from _leaves(dataset.dataset, np.asarray(dataset.indices)[rows], domain)
        return
    inner = held_datasets(dataset)
    ends = np.cumsum([len(each) for each in inner.values() if is_map_style(each)])  # pyright: ignore[reportArgumentType]
    if not len(ends) or len(ends) < len(inner) or ends[-1] != len(dataset):
        yield dataset, rows % len(dataset), domain
        return
    for (name, each), end in zip(inner.items(), ends, strict=True):
        start = end - len(each)  # pyright: ignore[reportArgumentType]
        own = rows[(rows >= start) & (rows < end)] - start
        tag = name.removeprefix("sets.") if type(dataset) is Domains else domain
        if len(own):
            yield from _leaves(each, own, tag)


def _contents(leaf: Any, rows: np.ndarray) -> list[bytes]:
    """Return a hash of the inputs of each example; none if they differ each time, or cannot be."""
    try:
        first, second = ([_content(leaf, row) for row in rows[:BATCH]] for _ in range(2))
        return [] if first != second else first + [_content(leaf, row) for row in rows[BATCH:]]
    except Exception:  # noqa: BLE001 - examples may be anything before a wrapper converts them
        return []


def _content(leaf: Any, row: Any) -> bytes:
    return content(_inputs(leaf[int(row)])).encode()


def _inputs(example: Any) -> Any:
    if isinstance(example, dict):
        return split_dict(example)[0]
    return example if label_key(example) is None else example[0]


def _kind(leaf: Any, row: Any) -> str:
    inputs = _inputs(leaf[int(row)])
    return f"{type(inputs).__name__} {getattr(inputs, 'dtype', '')}".strip()


def is_random(kind: str) -> bool:
    """Tell whether a kind is that of examples known by their positions only."""
    return kind.startswith(_RANDOM)
