"""The state of a run: its position in the data, its history, the losses of the present epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor

from tutelage.aligned import AlignedTargets
from tutelage.coarse import CoarseLogits
from tutelage.distiller import Losses
from tutelage.errors import NonFiniteError
from tutelage.heads import HeadLogits
from tutelage.training.monitor import Monitor, choose_monitor, no_such_metric
from tutelage.training.settings import Settings


@dataclass
class RunState:
    """Where a run stands, between two steps; all but the monitor is in its checkpoint."""

    monitor: Monitor | None = None  # None: chosen at the first validation
    epoch: int = 0  # finished
    passes: int = 0  # over the data, finished
    batch: int = 0  # finished, of the present pass
    step: int = 0  # finished
    seconds: float = 0.0  # over all processes that carried the run in turn
    history: list[dict[str, Any]] = field(default_factory=list)  # a record for each epoch
    best_epoch: int | None = None
    best_value: float | None = None  # of the monitored metric
    best_loss: float = math.inf  # on validation data, of that epoch
    waited: int = 0  # epochs since a better value
    # Of the present epoch: the total and each loss term, summed over examples, and their number.
    loss_sums: list[float] = field(default_factory=list)
    loss_counts: list[float] = field(default_factory=list)

    def finished(self, settings: Settings) -> bool:
        """Tell whether a run is done, or its patience has run out."""
        if settings.epochs is not None and self.epoch >= settings.epochs:
            return True
        ended = self.history[-1]["step"] if self.history else 0  # of the last epoch
        if settings.steps is not None and ended >= settings.steps:
            return True
        patience = None if self.monitor is None else self.monitor.patience
        return patience is not None and self.waited >= patience

    def is_best(self, metrics: Mapping[str, float], examples: int | None = None) -> bool:
        """Record the validation metrics of the epoch just ended; tell whether it is the best.

        Of equal values the one with the lower validation loss is better, then the later one:
        accuracies on few examples tie long before training is done.
        """
        self.monitor = self.monitor or choose_monitor(metrics, examples)
        name = self.monitor.name
        if name not in metrics:
            raise no_such_metric(name, metrics)
        value, loss = metrics[name], metrics.get("loss", math.inf)
        loss = math.inf if math.isnan(loss) else loss
        if math.isnan(value):
            raise NonFiniteError(
                f"the monitored metric {name!r} must be a number, got NaN in epoch {self.epoch}; "
                "look at the student's outputs, at the validation labels and at the metric, or "
                "monitor another"
            )
        sign = 1 if self.monitor.higher else -1
        better = self.best_value is None or sign * value > sign * self.best_value
        self.waited = 0 if better else self.waited + 1
        if not better and (value != self.best_value or loss > self.best_loss):
            return False
        self.best_value, self.best_loss, self.best_epoch = value, loss, self.epoch
        return True

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint must hold."""
        return {name: value for name, value in vars(self).items() if name != "monitor"}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from a state."""
        vars(self).update(state)


class RunningLosses:
    """Collects losses on their device and reads them a few steps at a time.

    Reading a number makes the CPU wait for the device, so single losses are not read; a non-finite
    one is still named with its step, before anything that follows it is kept. `reduce` sums a
    tensor over all processes.
    """

    def __init__(
        self, names: Sequence[str], state: RunState, reduce: Callable[[Tensor], Any]
    ) -> None:
        self.names, self.state = ("loss", *names), state
        self._reduce = reduce
        self._values: list[Tensor] = []
        self._batches: list[tuple[int, tuple[float | Tensor, ...]]] = []
        self.clear()

    def add(self, losses: Losses, step: int, examples: float | Tensor) -> None:
        """Take the losses of a batch.

        Where a step has several batches, or other processes have more of it, each is divided by the
        `examples` of the whole step, so that they add up.
        """
        output = losses.teacher.output
        low = high = None
        if output is not None:
            if isinstance(output, CoarseLogits):
                logits = torch.cat([output.logits.flatten(), output.other])
                output = logits.masked_fill(logits == -torch.inf, 0)  # a class without mass
            elif isinstance(output, HeadLogits):
                output = output.hidden
            elif isinstance(output, AlignedTargets):
                output = output.likelihood
            if output.numel():  # a batch of texts of one token has no row
                low, high = output.aminmax()
                low, high = low.to(losses.total.dtype), high.to(losses.total.dtype)
        if low is None or high is None:
            low = high = torch.zeros_like(losses.total)
        self._values += (losses.total.detach(), *losses.parts.values(), low, high)
        self._batches.append((step, (examples, *losses.counts)))

    def read(self) -> dict[str, float]:
        """Read what was added since, and return its means; empty if that is nothing."""
        if not self._batches:
            return {}
        values = torch.stack(self._values).view(-1, len(self.names) + 2)
        rows = iter(self._reduce(values).tolist())
        sums, counts = self.state.loss_sums, self.state.loss_counts
        sums_before, counts_before = list(sums), list(counts)
        for step, batches in groupby(self._batches, itemgetter(0)):
            step_counts = list(map(itemgetter(1), batches))  # equal for all batches of a step
            losses = list(map(sum, zip(*islice(rows, len(step_counts)), strict=True)))
            *ours, low, high = losses  # a logit of −∞ may be well: its class is ruled out
            if math.isnan(low) or not all(map(math.isfinite, (*ours, high))):
                self._refuse(step, losses)
            for term, count in enumerate(step_counts[0]):  # in turn: sums do not depend on reads
                sums[term] += losses[term] * float(count)
                counts[term] += float(count)
        self._values, self._batches = [], []
        return self._means(
            [now - before for now, before in zip(sums, sums_before, strict=True)],
            [now - before for now, before in zip(counts, counts_before, strict=True)],
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
        total, *terms, low, high = losses
        if math.isnan(low) or not math.isfinite(high):
            raise NonFiniteError(
                f"the teacher's output must be finite, got NaN or infinity at step {step}; check "
                "the teacher's weights and its inputs"
            )
        named = [(f"`{name}`", each) for name, each in zip(self.names[1:], terms, strict=True)]
        named.append(("the loss", total))
        name, value = next(each for each in named if not math.isfinite(each[1]))
        advice = "the last checkpoint is from before; lower the learning rate, or set clip_norm"
        if low == -math.inf:
            advice = (
                "the teacher's output has logits of −∞, where distances between logits, or a row "
                "without any class, are not defined; use SoftTargets, or −1e4"
            )
        raise NonFiniteError(f"{name} must be finite, got {value} at step {step}; {advice}")
