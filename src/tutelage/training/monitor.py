"""Which validation figure decides what is kept, and when to stop."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tutelage._checks import whole_number
from tutelage.errors import ArgumentError

_HIGHER = {"accuracy": True, "agreement": True, "r2": True}
_LOWER = {"loss": False, "mse": False, "teacher_mse": False}
_DIRECTIONS = _HIGHER | _LOWER
_BY_DEFAULT = ("accuracy", "mse", "loss")


@dataclass(frozen=True, slots=True)
class Monitor:
    """The validation figure by which the best epoch is kept.

    Args:
        name: `"loss"`, `"accuracy"`, `"agreement"`, `"mse"`, `"r2"`, `"teacher_mse"`, or a name
            from the metrics that you give; of one domain, `"accuracy/photo"`.
        higher_is_better: None where the name says it.
        patience: Epochs without a better value after which training stops; None: it goes on.

    Raises:
        ArgumentError: `patience` is below 1, or the direction of a metric of yours is not given.
    """

    name: str
    higher_is_better: bool | None = None
    patience: int | None = None

    def __post_init__(self) -> None:
        if self.patience is not None:
            whole_number("patience", self.patience, 1, "it counts epochs without a better value")
        if self.higher_is_better is None and self._figure not in _DIRECTIONS:
            raise ArgumentError(
                f"the monitor does not know whether higher values of {self.name!r} are better; "
                f"say it: Monitor({self.name!r}, higher_is_better=...)"
            )

    @property
    def higher(self) -> bool:
        """Whether higher values are better."""
        if self.higher_is_better is not None:
            return self.higher_is_better
        return _DIRECTIONS[self._figure]

    @property
    def _figure(self) -> str:
        """The figure, without the domain that it is of."""
        return self.name.split("/", 1)[0]

    @staticmethod
    def fitting(figures: Mapping[str, float]) -> Monitor:
        """Return the usual monitor: accuracy, else mean squared error, else the loss."""
        return Monitor(next(name for name in _BY_DEFAULT if name in figures))


def as_monitor(monitor: Monitor | str | None) -> Monitor | None:
    """Return the monitor that a user gives or names; None for the usual one.

    Raises:
        ArgumentError: It is something else, or its direction is not known.
    """
    if isinstance(monitor, str):
        return Monitor(monitor)
    if monitor is not None and not isinstance(monitor, Monitor):
        raise ArgumentError(
            f"`monitor` must be the name of a figure or a tl.Monitor, got {monitor!r}; for "
            "instance 'accuracy'"
        )
    return monitor


class Best:
    """The best epoch so far, by a monitor."""

    def __init__(self, monitor: Monitor | None) -> None:
        self.monitor = monitor
        self.value: float | None = None
        self.epoch: int | None = None
        self.waited = 0

    def improves(self, epoch: int, figures: Mapping[str, float]) -> bool:
        """Take in an epoch's validation figures; tell whether they are the best so far.

        Raises:
            ArgumentError: The monitored figure is not among them.
        """
        self.monitor = monitor = self.monitor or Monitor.fitting(figures)
        if monitor.name not in figures:
            raise ArgumentError(
                f"the monitored figure {monitor.name!r} must be one of {sorted(figures)}; choose "
                "one of these, or add it to `metrics`"
            )
        value = figures[monitor.name]
        better = not math.isnan(value) and (
            self.value is None or (value > self.value if monitor.higher else value < self.value)
        )
        if better:
            self.value, self.epoch, self.waited = value, epoch, 0
        else:
            self.waited += 1
        return better

    @property
    def exhausted(self) -> bool:
        """Whether patience has run out."""
        patience = None if self.monitor is None else self.monitor.patience
        return patience is not None and self.waited >= patience

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint must hold."""
        return {"value": self.value, "epoch": self.epoch, "waited": self.waited}

    def load(self, state: dict[str, Any]) -> None:
        """Take up a state."""
        self.value, self.epoch, self.waited = state["value"], state["epoch"], state["waited"]
