"""Schedulers of a recipe, whose length is the number of optimizer steps, and their trial."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from tutelage.schedules import Schedule

_TRIED_STEPS = 4
"""Steps for which a scheduler is tried before anything is trained."""


@dataclass(frozen=True)
class StepScheduler:
    """A scheduler of PyTorch whose length is the number of optimizer steps.

    Args:
        kind: Its class.
        arguments: By name.
        counts: The parameters that count optimizer steps.
    """

    kind: Callable[..., torch.optim.lr_scheduler.LRScheduler]
    arguments: Mapping[str, Any]
    counts: tuple[str, ...] = ()

    def __repr__(self) -> str:
        words = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
        return f"{getattr(self.kind, '__name__', self.kind)}({words})"

    def __call__(
        self, optimizer: torch.optim.Optimizer, steps: int
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """Make the scheduler."""
        return self.kind(optimizer, **self.arguments, **dict.fromkeys(self.counts, steps))


@dataclass(frozen=True)
class ScheduledRate:
    """Multiplies the learning rate by a schedule."""

    schedule: Schedule

    def __repr__(self) -> str:
        return f"learning rate * {self.schedule!r}"

    def __call__(
        self, optimizer: torch.optim.Optimizer, steps: int
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """Make a scheduler that is at progress step / steps."""
        return torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: self.schedule(step / max(1, steps))
        )


def tried(make: Any, schedule: Any) -> None:
    """Make an optimizer and a scheduler for a small parameter, and step both."""
    parameter = nn.Parameter(torch.zeros(2, 2))
    parameter.grad = torch.zeros(2, 2)
    try:
        optimizer = make([parameter])
        scheduler = None if schedule is None else schedule(optimizer, _TRIED_STEPS)
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
    except (RuntimeError, AssertionError, IndexError, KeyError, ArithmeticError) as error:
        raise ValueError(str(error) or type(error).__name__) from error
