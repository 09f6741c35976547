"""Examples that are in two of the training, validation and test data, found by their inputs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from tutelage.data import OnPolicy
from tutelage.errors import DataError
from tutelage.results.record import Overlap
from tutelage.studies.describe import seeded
from tutelage.studies.examples import Examples, evaluated, is_random, train_examples, unaugmented
from tutelage.studies.outputs import Truth
from tutelage.studies.plan import StudyPlan, train_of

ACCEPTED = 0.01
"""The fraction of the smaller data set that may be in the other."""
_SHOWN = 2


def check_overlaps(
    plan: StudyPlan, val: Truth | None, test: Truth, allowed: bool
) -> tuple[Overlap, ...]:
    """Return what each two of the study's data sets have in common; a leak must be `allowed`."""
    judged = [] if val is None else [evaluated("val", plan.val, val)]
    judged.append(evaluated("test", plan.test, test))
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
        first, second = unaugmented(first), unaugmented(second)
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


def checked(found: Overlap, allowed: bool) -> Overlap:
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
    found = [("", data)]
    if seeded(data) is not None:
        found = [(f" (seed {seed})", train_of(data, seed)) for seed in plan.seeds]
    for seed, each in found:
        parts = (each.prompts, each.texts) if isinstance(each, OnPolicy) else (each,)
        for part in parts:
            if part is not None and (part is each or part is not plan.train):
                yield name, seed, part


def _keys(examples: Examples, domains: bool) -> Sequence[Any]:
    if not domains or examples.domains is None:
        return examples.keys
    return list(zip(examples.keys, examples.domains, strict=True))


def _other_kind(first: Examples, second: Examples) -> str:
    if first.kinds & second.kinds or not (first.kinds and second.kinds):
        return ""
    differing = [each.name for each in (first, second) if any(map(is_random, each.kinds))]
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


def _partly(examples: Examples) -> str:
    return (
        f"{len(examples.keys):,} of the {examples.total:,} examples of {examples.name}, evenly "
        "spread, were compared"
    )
