"""The losses of an epoch: averaged, and refused where one is not a number."""

import math
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from tutelage.coarse import CoarseLogits
from tutelage.distiller import Losses
from tutelage.errors import NonFiniteError


class LossWatch:
    """Gathers losses on their device and reads them a few steps at a time.

    Reading a number makes the processor wait for the device, so single losses are not read; a
    non-finite one is still named with its step, before anything that follows it is kept.

    Args:
        names: The parts of the objective.
        total_over_processes: Sums a tensor over all processes.
    """

    def __init__(self, names: list[str], total_over_processes: Callable[[Tensor], Tensor]) -> None:
        self.names = names
        self._total = total_over_processes
        self._columns = 2 + len(names)
        self._values: list[Tensor] = []
        self._steps: list[tuple[int, tuple[float | Tensor, ...], int]] = []
        self._batches = 0
        self.clear()

    def add(self, losses: Losses) -> None:
        """Take in the losses of a batch.

        Where a step has several batches, or other processes have more of it, each is divided by the
        examples of the whole step, so that they add up.
        """
        self._values += (losses.total.detach(), *losses.parts.values(), _probe(losses))
        self._batches += 1

    def close_step(
        self, step: int, examples: float | Tensor, counts: tuple[int | Tensor, ...]
    ) -> None:
        """Say that the batches since the last call made up step `step`.

        Args:
            step: Its number.
            examples: How many it saw, over all processes.
            counts: How many of them each part counted.
        """
        self._steps.append((step, (examples, *counts), self._batches))
        self._batches = 0

    def read(self) -> dict[str, float]:
        """Read what was added since, and return its means.

        Raises:
            NonFiniteError: The teacher's output, a part or the total is NaN or infinite.
        """
        if not self._steps:
            return {}
        rows = iter(self._total(torch.stack(self._values).view(-1, self._columns)).tolist())
        before_sums, before_weights = self.sums, self.weights
        for step, counts, batches in self._steps:
            *values, probe = map(sum, zip(*islice(rows, batches), strict=True))
            self._check(step, values, probe)
            weights = [float(count) for count in counts]
            more = [value * weight for value, weight in zip(values, weights, strict=True)]
            self.sums, self.weights = _added(self.sums, more), _added(self.weights, weights)
        self._values, self._steps = [], []
        new = [now - old for now, old in zip(self.sums, before_sums, strict=True)]
        over = [now - old for now, old in zip(self.weights, before_weights, strict=True)]
        return self._named(new, over)

    def means(self) -> dict[str, float]:
        """Return the means of the epoch so far: a part's over the examples that it counts."""
        return self._named(self.sums, self.weights)

    def clear(self) -> None:
        """Begin a new epoch."""
        self.sums = self.weights = [0.0] * (1 + len(self.names))

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint must hold."""
        return {"sums": self.sums, "weights": self.weights}

    def load(self, state: dict[str, Any]) -> None:
        """Take up a state."""
        self.sums, self.weights = state["sums"], state["weights"]

    def _named(self, sums: list[float], weights: list[float]) -> dict[str, float]:
        rows = zip(("loss", *self.names), sums, weights, strict=True)
        return {name: total / max(weight, 1) for name, total, weight in rows}

    def _check(self, step: int, values: Sequence[float], probe: float) -> None:
        total, *parts = values
        advice = "the last checkpoint is from before; lower the learning rate, or set clip_norm"
        if not math.isfinite(probe):
            raise NonFiniteError(
                f"the teacher's output must be finite, got NaN or infinity at step {step}; check "
                "the teacher's weights and what it is fed"
            )
        for name, value in zip(self.names, parts, strict=True):
            if not math.isfinite(value):
                raise NonFiniteError(
                    f"`{name}` must be finite, got {value} at step {step}; {advice}"
                )
        if not math.isfinite(total):
            raise NonFiniteError(f"the loss must be finite, got {total} at step {step}; {advice}")


def _added(first: list[float], second: list[float]) -> list[float]:
    return [one + other for one, other in zip(first, second, strict=True)]


def _probe(losses: Losses) -> Tensor:
    """Return a number that is finite if the teacher's output is: its largest magnitude."""
    output = losses.teacher.output
    if output is None:
        return torch.zeros_like(losses.total)
    if isinstance(output, CoarseLogits):
        cells = torch.cat([output.logits.flatten(), output.rest])
        output = cells.masked_fill(cells == -torch.inf, 0)  # a cell without mass
    return output.abs().amax().to(losses.total.dtype)
