"""Examples that are in two of the training, validation and test data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations

from tutelage.datasets.content import Inputs, keys_of


def overlaps(parts: Mapping[str, Inputs]) -> tuple[str, ...]:
    """Return a sentence for each two parts that have examples in common, found by their inputs."""
    return tuple(_sentences(parts))


def _sentences(parts: Mapping[str, Inputs]) -> Iterator[str]:
    keys = {
        name: keys_of(each, [other for key, other in parts.items() if key != name])
        for name, each in parts.items()
    }
    order = sorted(parts, key=("train", "unlabelled", "val", "test").index)
    for first, second in combinations(order, 2):
        if second == "unlabelled":  # a copy of a labelled example does no harm
            continue
        known = set(keys[first]) - {None}
        shared = [at for at, key in enumerate(keys[second]) if key in known]
        if shared:
            yield (
                f"{len(shared):,} of the {len(keys[second]):,} examples of {second} (such as "
                f"number {shared[0]:,}) have the same input as one of {first}; leave them out of "
                "either, since a model is judged too well on what it has seen"
            )
