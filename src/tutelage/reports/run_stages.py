"""Several runs that followed each other, told as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def joined_history(histories: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Return the records of all stages, with epochs, steps and seconds counted on.

    >>> first, last = {"epoch": 1, "step": 5, "seconds": 2.0}, {"epoch": 1, "step": 3, "seconds": 1}
    >>> joined_history({"hint": [first], "answer": [last]})[1]
    {'epoch': 2, 'step': 8, 'seconds': 3.0, 'stage': 'answer'}
    """
    joined: list[dict[str, Any]] = []
    for name, history in histories.items():
        before = joined[-1] if joined else {}
        for record in history:
            counted = {
                key: record[key] + before.get(key, 0) for key in ("epoch", "step", "seconds")
            }
            joined.append({**record, **counted, "stage": name})
    return joined


def joined_settings(
    stages: Mapping[str, Mapping[str, Any]], planned: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the settings of all stages: the last one's, what all are to do, and what differs.

    Args:
        stages: The settings of those that have begun, by name, in order.
        planned: `epochs`, `objective` and `seed` of the whole.
    """
    last = list(stages.values())[-1]
    differing = {
        key: {name: settings.get(key) for name, settings in stages.items()}
        for key in {key for settings in stages.values() for key in settings}
        if any(settings.get(key) != last.get(key) for settings in stages.values())
    }
    return {**last, **planned, "stages": {key: differing[key] for key in sorted(differing)}}
