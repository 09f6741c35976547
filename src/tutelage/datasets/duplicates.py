"""Examples or groups that are in two of the parts of the data, or examples with two labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from torch import Tensor

from tutelage.datasets.content import Inputs, keys_of
from tutelage.errors import DataError
from tutelage.signals import UNLABELLED

_LONGEST = 60
_ORDER = ("train", "unlabelled", "val", "test")


def overlaps(parts: Mapping[str, Inputs]) -> tuple[str, ...]:
    """Return a sentence for each two parts that have examples in common, found by their inputs."""
    found = []
    keys = {
        name: keys_of(each, [other for key, other in parts.items() if key != name])
        for name, each in parts.items()
    }
    for first, second in _pairs(parts):
        known = set(keys[first])
        shared = [at for at, key in enumerate(keys[second]) if key in known]
        if shared:
            found.append(
                f"{len(shared):,} of the {len(keys[second]):,} examples of {second} (such as "
                f"number {shared[0]:,}) have the same input as one of {first}; leave them out of "
                "either, since a model is judged too well on what it has seen"
            )
    return tuple(found)


def shared_groups(option: str, groups: Mapping[str, Sequence[str]], allowed: bool) -> list[str]:
    """Return a sentence for each two parts that have groups in common.

    Args:
        option: The name of the groups' column, for messages.
        groups: By part of the data, the group of each example.
        allowed: Whether they may.

    Raises:
        DataError: They may not.
    """
    found = []
    for first, second in _pairs(groups):
        both = set(groups[first]) & set(groups[second])
        if not both:
            continue
        examples = [at for at, key in enumerate(groups[second]) if key in both]
        first_one = groups[second][examples[0]]
        which = (
            f"{len(both):,} of the {len(set(groups[second])):,} groups of {second} by {option!r} "
            f"in {first} too, such as {first_one!r}, with {len(examples):,} of the "
            f"{len(groups[second]):,} examples of {second}"
        )
        if not allowed:
            raise DataError(
                f"each group of `split.group` must be in one part of the data only, got {which}; "
                "leave them out of either, since a model is judged too well on whom it has seen, "
                "or write allow_overlap: true in `split`"
            )
        found.append(f"{which}: a model is judged too well on whom it has seen")
    return found


def _pairs(parts: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield each two parts of which the second is not to have examples of the first."""
    for first, second in combinations(sorted(parts, key=_ORDER.index), 2):
        if second != "unlabelled":  # a copy of a labelled example does no harm
            yield first, second


def contradictions(name: str, inputs: Inputs, labels: Tensor) -> tuple[str, ...]:
    """Return a sentence if equal texts or images have different class ids.

    Rows of a table are left out, since few columns cannot tell all examples apart.

    Args:
        name: What the data is called.
        inputs: Its inputs.
        labels: Class ids `[examples]`.
    """
    if isinstance(inputs, Tensor):
        return ()
    first: dict[Any, int] = {}
    pairs = [
        (first.setdefault(key, at), at)
        for at, key in enumerate(keys_of(inputs))
        if int(labels[at]) != UNLABELLED
    ]
    found = [(one, other) for one, other in pairs if labels[one] != labels[other]]
    if not found:
        return ()
    one, other = (_shown(inputs, at) for at in found[0])
    both = one if one == other else f"{one} and {other}"
    return (
        f"equal inputs of {name} with different labels: {len(found):,}, such as {both}; keep the "
        "right label",
    )


def _shown(inputs: Any, at: int) -> str:
    """Return a text, or the name of an image."""
    found = repr(inputs[at]) if isinstance(inputs, list) else inputs.names[at]
    return found if len(found) <= _LONGEST else f"{found[:_LONGEST]}…"
