"""Examples that are in two of the training, validation and test data, found by their inputs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, IterableDataset, Subset, default_collate

from tutelage.data import (
    LoaderSource,
    OnPolicy,
    Shard,
    as_dataset,
    as_source,
    randomness,
    views_in,
)
from tutelage.data.fingerprint import content
from tutelage.data.loader_source import used_rows
from tutelage.data.sets import Domains, Extended, evenly, held_datasets, is_map_style
from tutelage.data.tensor_table import table_of
from tutelage.errors import DataError
from tutelage.nested import label_key, split_dict
from tutelage.results.record import Overlap
from tutelage.signals import Batch
from tutelage.studies.eval_data import EvalData, domains_of, example_keys, in_order, kind_of
from tutelage.studies.plan import StudyPlan, seeded, train_of

ACCEPTED = 0.01
"""The fraction of the smaller data set that may be in the other."""
MOST = 20_000
"""How many training examples are loaded, of data not held in tensors."""
_SHOWN, _BATCH = 2, 256
# Begins the kind of examples that differ each time: one is equal only to itself.
_RANDOM = "random "


@dataclass(frozen=True)
class Examples:
    """The examples of a data set, as they are compared with those of another.

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


def check_overlaps(plan: StudyPlan, allowed: bool) -> tuple[Overlap, ...]:
    """Return what each two of the study's data sets have in common; a leak must be `allowed`."""
    judged = [eval_examples(each) for each in (plan.val, plan.test) if each is not None]
    found = [_checked(compare(*judged), allowed)] if len(judged) > 1 else []
    seen: set[int] = set()
    for name, arm in sorted(plan.arms.items(), key=lambda pair: pair[0] in plan.controls):
        for given in (arm.train, *arm.sweep.get("train", ())):
            own = given is not None and given is not plan.train
            data = given if own else plan.train
            if id(data) in seen:
                continue
            seen.add(id(data))
            worst: dict[str, Overlap] = {}
            for seed, each in _for_seeds(plan, data):
                train = f"train of arm {name!r}" if own else "train"
                examples = train_examples(train + seed, each)
                for other in judged:
                    one = _checked(compare(examples, other), allowed)
                    if not one.examples:  # true of all seeds if it is the worst
                        names = one.data.removesuffix(seed), one.other.removesuffix(seed)
                        one = replace(one, data=names[0], other=names[1])
                    worst[other.name] = max(one, worst.get(other.name, one), key=_severity)
            found += worst.values()
    return tuple(found)


def refuse_overlaps(train: object, judged: Sequence[EvalData], allowed: bool) -> None:
    """Refuse examples that two of the training data and the data that judges have in common."""
    every = [train_examples("train", train), *map(eval_examples, judged)]
    for one, other in combinations(every, 2):
        _checked(compare(one, other), allowed)


def _for_seeds(plan: StudyPlan, data: Any) -> Iterator[tuple[str, Any]]:
    """Yield what training data are for each seed, with words for the seed."""
    found = [("", data)]
    if seeded(data) is not None:
        found = [(f" (seed {seed})", train_of(data, seed)) for seed in plan.seeds]
    for seed, each in found:
        parts = (each.prompts, each.texts) if isinstance(each, OnPolicy) else (each,)
        for part in parts:
            if part is not None and (part is each or part is not plan.train):
                yield seed, part


def compare(first: Examples, second: Examples) -> Overlap:
    """Return how many examples of the smaller of two data sets are in the other one too.

    Duplicates occur innocently: as often as examples of the larger set have a twin within it. It is
    a leak where more than `ACCEPTED` of the smaller set, and more than chance, comes on top.
    """
    if first.augmented or second.augmented:
        first, second = _unaugmented(first), _unaugmented(second)
    larger, smaller = sorted((first, second), key=lambda each: -each.total)
    unread = first.unread or second.unread
    if not unread and first.kinds and second.kinds and not first.kinds & second.kinds:
        unread = _why_not_compared(first, second)
    if unread:
        return Overlap(smaller.name, larger.name, 0, 0, unchecked=unread)
    ours, theirs = smaller.keys, larger.keys
    if smaller.domains is not None and larger.domains is not None:  # one input in two domains
        ours = list(zip(ours, smaller.domains, strict=True))
        theirs = list(zip(theirs, larger.domains, strict=True))
    counts = Counter[Any](theirs)
    shared = [place for place, key in enumerate(ours) if key in counts]
    twins = sum(each for each in counts.values() if each > 1) / max(1, len(theirs))
    expected = twins * len(ours)
    chance = min(2.0, len(ours) / 2) + 3 * math.sqrt(2 * expected * (1 - twins))
    excess, scale = len(shared) - expected, larger.total / max(1, len(larger.keys))
    parts = [
        f"{len(each.keys):,} of the {each.total:,} examples of {each.name}, evenly spread, were "
        "compared"
        for each in (first, second)
        if len(each.keys) < each.total
    ]
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


def _why_not_compared(first: Examples, second: Examples) -> str:
    random = [
        each.name
        for each in (first, second)
        if any(kind.startswith(_RANDOM) for kind in each.kinds)
    ]
    if random:
        return (
            f"the examples of {' and '.join(random)} differ each time they are loaded, so those of "
            f"{first.name} and {second.name} were not compared"
        )
    ours, theirs = ("; ".join(sorted(each.kinds)) for each in (first, second))
    return (
        f"the inputs of {first.name} are of another kind than those of {second.name} ({ours} "
        f"against {theirs}), so they were not compared"
    )


def _checked(found: Overlap, allowed: bool) -> Overlap:
    """Return an overlap; refuse one that is a leak, unless it is allowed."""
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


def eval_examples(known: EvalData) -> Examples:
    """Return the examples of validation or test data, which are read already."""
    kinds, total = frozenset({known.kind}), len(known.keys)
    return Examples(known.name, known.keys, known.domains, kinds, total, known.data)


def train_examples(name: str, data: Any) -> Examples:
    """Return the examples of training data; of data not held in tensors at most `MOST`.

    Random states, also those of the data, do not change.
    """
    if isinstance(data, Extended):  # what is made of training data is as like test data as they are
        data = data.given
    dataset: Any = data.dataset if isinstance(data, DataLoader) else as_dataset("train", data)
    if isinstance(dataset, IterableDataset) or not is_map_style(dataset):
        return Examples(name, unread=_no_length(name))

    def batches(seed: int) -> Iterator[Batch]:
        randomness.seed_everything(seed)
        return source.epoch(0)

    with randomness.undisturbed(dataset):
        rows = used_rows(data, len(dataset))
        table = table_of(dataset) is not None
        few = rows if table else rows[evenly(len(rows), MOST).numpy()]
        part = dataset if len(few) == len(dataset) else Subset(dataset, few.tolist())
        if isinstance(data, DataLoader) and data.collate_fn is not default_collate:
            source = LoaderSource("train", in_order(data, part), Shard())
        else:
            source = as_source("train", part, _BATCH)
        first, again = (example_keys(next(batches(seed))) for seed in (0, 0 if table else 1))
        augmented = bool(views_in(dataset)) or first != again
        found = Examples(name, total=len(rows), data=data, augmented=augmented)
        if augmented:
            return found
        keys, domains, kinds = [], [], set()
        for batch in batches(0):
            keys += example_keys(batch)
            domains += domains_of(batch) or ()
            kinds.add(kind_of(batch))
    total = round(len(rows) * len(keys) / max(1, len(few)))  # batches that a data set yields whole
    tags = domains if len(domains) == len(keys) else None
    return replace(found, keys=keys, domains=tags, kinds=frozenset(kinds), total=total)


def _unaugmented(examples: Examples) -> Examples:
    """Return the examples as they are inside of all wrappers, before any augmentation.

    Those of a data set that is itself random are known by their position only.
    """
    data: Any = examples.data
    if examples.unread or data is None:
        return examples
    dataset: Any = data.dataset if isinstance(data, DataLoader) else as_dataset("data", data)
    if isinstance(dataset, IterableDataset) or not is_map_style(dataset):
        return replace(examples, unread=_no_length(examples.name))
    keys, kinds, tags = [], set(), []
    with randomness.undisturbed(dataset):
        rows = used_rows(data, len(dataset))
        few = rows[evenly(len(rows), MOST).numpy()]
        for leaf, inside, domain in _leaves(dataset, few):
            kind, found = _contents(leaf, inside)
            keys += found or [f"{id(leaf)} {row}".encode() for row in inside]
            kinds.add(kind if found else f"{_RANDOM}{id(leaf)}")
            tags += [domain] * len(inside)
    domains = None if None in tags else tags
    kinds = frozenset(kinds)
    return replace(examples, keys=keys, kinds=kinds, domains=domains, total=len(rows))


def _no_length(name: str) -> str:
    return f"{name} has no length, so its examples were not compared"


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


def _contents(leaf: Any, rows: np.ndarray) -> tuple[str, list[bytes]]:
    """Return the type of inputs and a hash of those of each example.

    None of these if they differ each time, or cannot be had.
    """

    def inputs(row: Any) -> Any:
        example = leaf[int(row)]
        if isinstance(example, dict):
            return split_dict(example)[0]
        return example if label_key(example) is None else example[0]

    try:
        first, again = ([content(inputs(row)).encode() for row in rows[:_BATCH]] for _ in range(2))
        if first != again:
            return "", []
        one = inputs(rows[0])
        kind = f"{type(one).__name__} {getattr(one, 'dtype', '')}".strip()
        return kind, first + [content(inputs(row)).encode() for row in rows[_BATCH:]]
    except Exception:  # noqa: BLE001 - examples may be anything before a wrapper converts them
        return "", []
