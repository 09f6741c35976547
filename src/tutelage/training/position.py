"""Where a run stands."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any


@dataclass
class Position:
    """Where a run stands, between two steps.

    Args:
        epoch: Epochs finished.
        batch: Batches of the present epoch that are done.
        step: Optimiser steps done.
        seconds: Time spent training, over all processes that carried the run in turn.
        history: The records of the finished epochs.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint must hold."""
        return asdict(self)

    def load(self, state: dict[str, Any]) -> None:
        """Take up a state."""
        for each in fields(self):
            setattr(self, each.name, state[each.name])
