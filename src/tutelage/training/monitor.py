"""The validation metric that selects the best epoch and stops training early."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from tutelage._checks import integer
from tutelage.errors import ArgumentError, NonFiniteError

_HIGHER = {"accuracy": True, "agreement": True, "r2": True}
_LOWER = {"loss": False, "mse": False, "teacher_mse": False, "kl": False}
_DIRECTIONS = _HIGHER | _LOWER
_BY_DEFAULT = ("accuracy", "mse", "loss", "agreement", "teacher_mse")


@dataclass(frozen=True, slots=True)
class Monitor:
    """Metric for model selection and early stopping.

    Args:
        name: `"loss"`, `"accuracy"`, `"agreement"`, `"mse"`, `"r2"`, `"teacher_mse"`, or a name
            from the metrics that you give; of one domain, `"accuracy/photo"`.
        higher_is_better: None for a metric whose direction is known.
        patience: Epochs without a better value after which training stops; None for no early
            stopping.

    Raises:
        ArgumentError: `patience` is below 1, or the direction of a metric of yours is not given.
    """

    name: str
    higher_is_better: bool | None = None
    patience: int | None = None

    def __post_init__(self) -> None:
        if self.patience is not None:
            integer("patience", self.patience, 1, "it counts epochs without a better value")
        if self.higher_is_better is None and self._metric not in _DIRECTIONS:
            raise ArgumentError(
                f"the monitor does not know whether higher values of {self.name!r} are better; "
                f"write Monitor({self.name!r}, higher_is_better=...)"
            )

    @property
    def higher(self) -> bool:
        """Whether higher values are better."""
        if self.higher_is_better is not None:
            return self.higher_is_better
        return _DIRECTIONS[self._metric]

    @property
    def _metric(self) -> str:
        """The metric's name without the domain."""
        return self.name.split("/", 1)[0]


def choose_monitor(names: Collection[str]) -> Monitor:
    """Return the default monitor: accuracy, else mean squared error, else the loss.

    Without any of these, as between models with different losses, it is the agreement with the
    teacher or the distance from it.

    Args:
        names: The metrics that were computed.

    Raises:
        ArgumentError: None of them is a standard one.

    >>> choose_monitor({"loss", "agreement"})
    Monitor(name='loss', higher_is_better=None, patience=None)
    """
    for name in _BY_DEFAULT:
        if name in names:
            return Monitor(name)
    raise ArgumentError(
        f"the validation data must give one of the metrics {', '.join(_BY_DEFAULT)} to select the "
        f"best epoch by, got {sorted(names) or 'none'}; label it, or name a metric of yours as "
        "`monitor`"
    )


def as_monitor(monitor: Monitor | str | None) -> Monitor | None:
    """Return the monitor that a user gives or names; None for the usual one.

    Raises:
        ArgumentError: It is something else, or its direction is not known.
    """
    if isinstance(monitor, str):
        return Monitor(monitor)
    if monitor is not None and not isinstance(monitor, Monitor):
        raise ArgumentError(
            f"`monitor` must be the name of a metric or a tl.Monitor, got {monitor!r}; for "
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

    def improves(self, epoch: int, metrics: Mapping[str, float]) -> bool:
        """Record an epoch's validation metrics; return whether they are the best so far.

        Raises:
            ArgumentError: The monitored metric is not among them.
            NonFiniteError: It is NaN.
        """
        if self.monitor is None:
            self.monitor = choose_monitor(metrics)
        name = self.monitor.name
        if name not in metrics:
            raise ArgumentError(
                f"the monitored metric {name!r} must be one of {sorted(metrics)}; choose one of "
                "these, or add it to `metrics`"
            )
        value = metrics[name]
        if math.isnan(value):
            raise NonFiniteError(
                f"the monitored metric {name!r} must be a number, got NaN in epoch {epoch}; look "
                "at the student's outputs, at the validation labels and at the metric, or monitor "
                "another"
            )
        sign = 1 if self.monitor.higher else -1
        better = self.value is None or sign * value > sign * self.value
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
        """Restore a state."""
        self.value, self.epoch, self.waited = state["value"], state["epoch"], state["waited"]
