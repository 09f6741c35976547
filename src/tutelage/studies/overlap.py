"""Examples that are in two of the training, validation and test data, found by their inputs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, IterableDataset, Subset, default_collate

from tutelage.data import LoaderSource, Shard, Source, as_dataset, as_source, randomness, views_in
from tutelage.data.as_dataset import held_datasets, is_map_style
from tutelage.data.data_fingerprint import undisturbed
from tutelage.data.domains import Domains
from tutelage.data.fingerprint import content
from tutelage.data.tensor_table import table_of
from tutelage.errors import DataError
from tutelage.nested import label_key, split_dict
from tutelage.reports.conduct import Overlap
from tutelage.studies.describe import seeded
from tutelage.studies.example_keys import domains_of, example_keys, kind_of
from tutelage.studies.outputs import BATCH, Truth, truth
from tutelage.studies.plan import StudyPlan, train_of

MOST = 20_000
"""How many training examples are loaded, of data that is no tensors."""
ACCEPTED = 0.01
"""The fraction of the smaller data set that may be in the other."""
_SHOWN, _RANDOM = 2, "random "


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


def check_overlaps(
    plan: StudyPlan, val: Truth | None, test: Truth, allowed: bool
) -> tuple[Overlap, ...]:
    """Return what each two of the study's data sets have in common.

    Args:
        plan: The study.
        val: What is known of the validation data, if there is any.
        test: Of the test data.
        allowed: Whether examples in two of them are only reported.

    Raises:
        DataError: Two have more examples in common than duplicates within the data explain.
    """
    judged = [] if val is None else [_evaluated("val", plan.val, val)]
    judged.append(_evaluated("test", plan.test, test))
    found = [checked(compare(*judged), allowed)] if val is not None else []
    for sources in _train_data(plan):
        worst: dict[str, Overlap] = {}
        for name, seed, data in sources:
            train = train_examples(name + seed, data)
            for other in judged:
                each = checked(compare(train, other), allowed)
                if not each.examples:  # true of all seeds if it is the worst
                    names = each.data.removesuffix(seed), each.other.removesuffix(seed)
                    each = replace(each, data=names[0], other=names[1])
                worst[other.name] = max(each, worst.get(other.name, each), key=_severity)
        found += worst.values()
    return tuple(found)


def compare(first: Examples, second: Examples) -> Overlap:
    """Return how many examples of the smaller of two data sets are in the other one too.

    Duplicates occur innocently: as often as examples of the larger set have a twin within it. It is
    a leak where more than `ACCEPTED` of the smaller set, and more than chance, comes on top.
    """
    if first.augmented or second.augmented:
        first, second = _unaugmented(first), _unaugmented(second)
    larger, smaller = sorted((first, second), key=lambda each: -each.total)
    unread = first.unread or second.unread or _other_kind(first, second)
    if unread:
        return Overlap(smaller.name, larger.name, 0, 0, unchecked=unread)
    domains = first.domains is not None and second.domains is not None
    ours, theirs = _keys(smaller, domains), Counter(_keys(larger, domains))
    shared = [place for place, key in enumerate(ours) if key in theirs]
    twins = sum(each for each in theirs.values() if each > 1) / max(1, theirs.total())
    expected = twins * len(ours)
    chance = min(2.0, len(ours) / 2) + 3 * math.sqrt(2 * expected * (1 - twins))
    excess, scale = len(shared) - expected, larger.total / max(1, len(larger.keys))
    parts = [_partly(each) for each in (first, second) if len(each.keys) < each.total]
    return Overlap(
        smaller.name,
        larger.name,
        len(shared),
        len(ours),
        expected=expected,
        indices=tuple(shared[:_SHOWN]),
        is_leak=excess > chance and excess * scale > ACCEPTED * len(ours),
        unchecked="; ".join(parts),
    )


def examples_of(name: str, data: object) -> Examples:
    """Return the examples of validation or test data."""
    return _evaluated(name, data, truth(name, data))


def train_examples(name: str, data: Any) -> Examples:
    """Return the examples of training data; of data that is no tensors at most `MOST`.

    Random states, also those of the data, do not change.
    """
    dataset: Any = data.dataset if isinstance(data, DataLoader) else as_dataset("train", data)
    if isinstance(dataset, IterableDataset) or not is_map_style(dataset):
        return Examples(name, unread=f"{name} has no length, so its examples were not compared")
    with randomness.preserved(), undisturbed(dataset):
        rows = _rows(data, len(dataset))
        table = table_of(dataset) is not None
        few = rows if table else rows[:: math.ceil(len(rows) / MOST)]
        source = _source(data, dataset, few)
        augmented = bool(views_in(dataset)) or (not table and _differs(source))
        found = Examples(name, total=len(rows), data=data, augmented=augmented)
        if augmented:
            return found
        batches = [(example_keys(each), domains_of(each), kind_of(each)) for each in _read(source)]
        keys = [key for each, _, _ in batches for key in each]
        tagged = [each for _, each, _ in batches if each is not None]
        domains = [each for batch in tagged for each in batch]
    kinds = frozenset(kind for _, _, kind in batches)
    total = round(len(rows) * len(keys) / max(1, len(few)))  # batches that a data set yields whole
    domains = domains if len(domains) == len(keys) else None
    return replace(found, keys=keys, domains=domains, kinds=kinds, total=total)


def _evaluated(name: str, data: object, known: Truth) -> Examples:
    kinds = frozenset({known.kind})
    return Examples(name, known.keys, known.domains, kinds, len(known.keys), data)


def checked(found: Overlap, allowed: bool) -> Overlap:
    """Refuse an overlap that is a leak, unless it is allowed.

    Raises:
        DataError: It is.
    """
    if found.is_leak and not allowed:
        which = " and ".join(map(str, found.indices))
        raise DataError(
            f"`{found.other}` and `{found.data}` must have no examples in common, got "
            f"{found.examples:,} of the {found.of:,} examples of `{found.data}` in both (such as "
            f"{which}); divide the data anew, or pass allow_overlap=True, and the report states it"
        )
    return found


def _severity(found: Overlap) -> tuple[bool, float, str]:
    return found.is_leak, found.examples / max(1, found.of), found.unchecked


def _train_data(plan: StudyPlan) -> Iterator[Iterator[tuple[str, str, Any]]]:
    """Yield each training data set of the study, for each seed, with its name and the seed's."""
    seen: set[int] = set()
    for name, arm in sorted(plan.arms.items(), key=lambda pair: pair[0] in plan.controls):
        for given in (arm.train, *arm.sweep.get("train", ())):
            own = given is not None and given is not plan.train
            data = given if own else plan.train
            if id(data) not in seen:
                seen.add(id(data))
                yield _for_seeds(plan, f"train of arm {name!r}" if own else "train", data)


def _for_seeds(plan: StudyPlan, name: str, data: Any) -> Iterator[tuple[str, str, Any]]:
    if seeded(data) is None:
        yield name, "", data
        return
    for seed in plan.seeds:
        yield name, f" (seed {seed})", train_of(data, seed)


def _keys(examples: Examples, domains: bool) -> Sequence[Any]:
    if not domains or examples.domains is None:
        return examples.keys
    return list(zip(examples.keys, examples.domains, strict=True))


def _other_kind(first: Examples, second: Examples) -> str:
    if first.kinds & second.kinds or not (first.kinds and second.kinds):
        return ""
    differing = [each.name for each in (first, second) if any(map(_is_random, each.kinds))]
    if differing:
        return (
            f"the examples of {' and '.join(differing)} differ each time they are loaded, so those "
            f"of {first.name} and {second.name} were not compared"
        )
    ours, theirs = ("; ".join(sorted(each.kinds)) for each in (first, second))
    return (
        f"the inputs of {first.name} are of another kind than those of {second.name} ({ours} "
        f"against {theirs}), so they were not compared"
    )


def _is_random(kind: str) -> bool:
    return kind.startswith(_RANDOM)


def _partly(examples: Examples) -> str:
    return (
        f"{len(examples.keys):,} of the {examples.total:,} examples of {examples.name}, evenly "
        "spread, were compared"
    )


def _source(data: Any, dataset: Any, rows: np.ndarray) -> Source:
    """Return batches of some examples in their order."""
    part = dataset if len(rows) == len(dataset) else Subset(dataset, rows.tolist())
    if isinstance(data, DataLoader) and data.collate_fn is not default_collate:
        return LoaderSource("train", DataLoader(part, data.batch_size, collate_fn=data.collate_fn),
                            Shard())  # fmt: skip
    return as_source("train", part, BATCH, shuffle=False)


def _read(source: Source) -> Iterator[Any]:
    randomness.seed_everything(0)
    return source.epoch(0)


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
    rows = np.unique(np.hstack([np.asarray(each).reshape(-1) for each in sampled]))
    source.load(state)
    return rows


# Below a random augmentation: data sets inside of wrappers.


def _unaugmented(examples: Examples) -> Examples:
    """Return the examples as they are inside of all wrappers, before any augmentation.

    Those of a data set that is itself random are known by their position only.
    """
    data: Any = examples.data
    keys, kinds, tags = [], [], []
    if examples.unread or data is None:
        return examples
    dataset: Any = data.dataset if isinstance(data, DataLoader) else as_dataset("data", data)
    with randomness.preserved(), undisturbed(dataset):
        rows = _rows(data, len(dataset))
        for leaf, inside, domain in _leaves(dataset, rows[:: math.ceil(len(rows) / MOST)]):
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
    at = label_key(example)
    return example if at is None else example[0] if at == 1 else tuple(example[:at])


def _kind(leaf: Any, row: Any) -> str:
    inputs = _inputs(leaf[int(row)])
    return f"{type(inputs).__name__} {getattr(inputs, 'dtype', '')}".strip()
