"""The state of a run: its position in the data, its history, the losses of the present epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

from tutelage.coarse import CoarseLogits
from tutelage.distiller import Losses
from tutelage.errors import NonFiniteError
from tutelage.training.monitor import Best


@dataclass
class RunState:
    """Where a run stands, between two steps.

    Args:
        best: The best epoch so far.
        epoch: Epochs finished.
        batch: Batches of the present epoch that are done.
        step: Optimizer steps done.
        seconds: Time spent training, over all processes that carried the run in turn.
        history: The logs of the finished epochs.
        loss_sums: Of the present epoch: the total and each loss term, summed over examples.
        loss_counts: Of the present epoch: the examples that each of these sums has.
    """

    best: Best
    epoch: int = 0
    batch: int = 0
    step: int = 0
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    loss_sums: list[float] = field(default_factory=list)
    loss_counts: list[float] = field(default_factory=list)

    def finished(self, epochs: int) -> bool:
        """Tell whether a run of so many epochs is done, or its patience has run out."""
        return self.epoch >= epochs or self.best.exhausted

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint must hold."""
        plain = {each.name: getattr(self, each.name) for each in fields(self)}
        return plain | {"best": self.best.state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from a state."""
        self.best.load(state["best"])
        for name, value in state.items():
            if name != "best":
                setattr(self, name, value)


class RunningLosses:
    """Collects losses on their device and reads them a few steps at a time.

    Reading a number makes the CPU wait for the device, so single losses are not read; a non-finite
    one is still named with its step, before anything that follows it is kept.

    Args:
        names: Of the loss terms.
        state: Has the sums of the present epoch.
        reduce: Sums a tensor over all processes; None for one process.
    """

    def __init__(
        self, names: Sequence[str], state: RunState, reduce: Callable[[Tensor], Any] | None
    ) -> None:
        self.names, self.state = ("loss", *names), state
        self._reduce = reduce
        self._values: list[Tensor] = []
        self._steps: list[tuple[int, tuple[float | Tensor, ...], int]] = []
        self._batches = 0
        self.clear()

    def add(self, losses: Losses) -> None:
        """Take the losses of a batch.

        Where a step has several batches, or other processes have more of it, each is divided by the
        examples of the whole step, so that they add up.
        """
        self._values += (losses.total.detach(), *losses.parts.values(), _probe(losses))
        self._batches += 1

    def end_step(
        self, step: int, examples: float | Tensor, counts: tuple[int | Tensor, ...]
    ) -> None:
        """Close a step, which consists of the batches since the last one.

        Args:
            step: Its number.
            examples: How many it saw, over all processes.
            counts: How many of them each term averages over.
        """
        self._steps.append((step, (examples, *counts), self._batches))
        self._batches = 0

    def read(self) -> dict[str, float]:
        """Read what was added since, and return its means; empty if that is nothing.

        Raises:
            NonFiniteError: The teacher's output, a loss term or the total is NaN or infinite.
        """
        if not self._steps:
            return {}
        values = torch.stack(self._values).view(-1, len(self.names) + 1)
        rows = (values if self._reduce is None else self._reduce(values)).tolist()
        sums, counts = self.state.loss_sums, self.state.loss_counts
        before, first = (list(sums), list(counts)), 0
        for step, step_counts, batches in self._steps:
            losses = list(map(sum, zip(*rows[first : first + batches], strict=True)))
            first += batches
            if not math.isfinite(sum(losses)):
                self._refuse(step, losses)
            for term, count in enumerate(step_counts):  # in turn: sums do not depend on the reads
                sums[term] += losses[term] * float(count)
                counts[term] += float(count)
        self._values, self._steps = [], []
        return self._means(
            [now - old for now, old in zip(sums, before[0], strict=True)],
            [now - old for now, old in zip(counts, before[1], strict=True)],
        )

    def means(self) -> dict[str, float]:
        """Return the means of the epoch so far: a term's over the examples that it averages."""
        return self._means(self.state.loss_sums, self.state.loss_counts)

    def clear(self) -> None:
        """Begin a new epoch."""
        self.state.loss_sums = [0.0] * len(self.names)
        self.state.loss_counts = [0.0] * len(self.names)

    def _means(self, sums: list[float], counts: list[float]) -> dict[str, float]:
        rows = zip(self.names, sums, counts, strict=True)
        return {name: total / max(count, 1) for name, total, count in rows}

    def _refuse(self, step: int, losses: Sequence[float]) -> None:
        total, *terms, probe = losses
        advice = "the last checkpoint is from before; lower the learning rate, or set clip_norm"
        if not math.isfinite(probe):
            raise NonFiniteError(
                f"the teacher's output must be finite, got NaN or infinity at step {step}; check "
                "the teacher's weights and its inputs"
            )
        for name, value in zip(self.names[1:], terms, strict=True):
            if not math.isfinite(value):
                raise NonFiniteError(
                    f"`{name}` must be finite, got {value} at step {step}; {advice}"
                )
        if not math.isfinite(total):
            raise NonFiniteError(f"the loss must be finite, got {total} at step {step}; {advice}")


def _probe(losses: Losses) -> Tensor:
    """Return a number that is finite if the teacher's output is: its largest magnitude."""
    output = losses.teacher.output
    if output is None:
        return torch.zeros_like(losses.total)
    if isinstance(output, CoarseLogits):
        logits = torch.cat([output.logits.flatten(), output.other])
        output = logits.masked_fill(logits == -torch.inf, 0)  # a class without mass
    return output.abs().amax().to(losses.total.dtype)
