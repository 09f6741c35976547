"""The validation metric that selects the best epoch and stops training early."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from tutelage._checks import integer
from tutelage.errors import ArgumentError
from tutelage.tasks.metrics import STANDARD

_BY_DEFAULT = ("accuracy", "average_precision", "mse", "loss", "agreement", "teacher_mse")
COUNTED = ("accuracy", "average_precision", "agreement")
"""Metrics that often tie on few examples, since they count examples or compare their order."""
FEW = 200
"""On fewer examples accuracies tie, or differ by chance: at 90 % by 2 points and more."""


@dataclass(frozen=True, slots=True)
class Monitor:
    """Metric for model selection and early stopping.

    Args:
        name: `"loss"`, `"accuracy"`, `"agreement"`, `"mse"`, `"r2"`, `"teacher_mse"`, of language
            models `"perplexity"`, for binary labels `"average_precision"`, `"f1"`, `"f1_micro"`,
            `"f1_macro"`, `"label_accuracy"`, or a name from the metrics that you give; of one
            domain, `"accuracy/photo"`.
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
        if self.higher_is_better is None and self._metric not in STANDARD:
            raise ArgumentError(
                f"the monitor does not know whether higher values of {self.name!r} are better; "
                f"write Monitor({self.name!r}, higher_is_better=...)"
            )

    @property
    def higher(self) -> bool:
        """Whether higher values are better."""
        known = self.higher_is_better
        return STANDARD[self._metric].higher if known is None else known

    @property
    def _metric(self) -> str:
        """The metric's name without the domain."""
        return self.name.split("/", 1)[0]


def choose_monitor(names: Collection[str], examples: int | None = None) -> Monitor:
    """Return the default monitor: accuracy, else mean squared error, else the loss.

    Where so few `examples` are labelled that accuracies cannot tell, it is the loss.

    For language models it is the perplexity. For several binary labels it is the average precision,
    which needs no threshold: at first all probabilities of rare labels may lie below ½. Without any
    of these, as between models with different losses, it is the agreement with the teacher or the
    distance from it.

    >>> choose_monitor({"loss", "agreement"})
    Monitor(name='loss', higher_is_better=None, patience=None)
    """
    few = examples is not None and examples < FEW and "loss" in names
    for name in ("perplexity", *_BY_DEFAULT):
        if name in names and not (few and name in COUNTED):
            return Monitor(name)
    raise ArgumentError(
        f"the validation data must give one of the metrics {', '.join(_BY_DEFAULT)} to select the "
        f"best epoch by, got {sorted(names) or 'none'}; label it, or name a metric of yours as "
        "`monitor`"
    )


def no_such_metric(name: str, names: Collection[str]) -> ArgumentError:
    """Return the error of a monitored metric that the data do not give."""
    return ArgumentError(
        f"the monitored metric {name!r} must be one of {sorted(names)}; choose one of these, or "
        "add it to `metrics`"
    )


def as_monitor(
    monitor: Monitor | str | None, metrics: Mapping[str, object] | None = None
) -> Monitor | None:
    """Return the monitor that a user gives or names; None for the usual one.

    Args:
        monitor: What the user gives.
        metrics: The user's; `higher_is_better` of one of them, as torchmetrics have it, tells the
            direction of a monitor that is given by its name.
    """
    if isinstance(monitor, str):
        known = metrics or {}
        named = known.get(monitor, known.get(monitor.split("/", 1)[0]))
        own = getattr(named, "higher_is_better", None)
        return Monitor(monitor, own if isinstance(own, bool) else None)
    if monitor is not None and not isinstance(monitor, Monitor):
        raise ArgumentError(
            f"`monitor` must be the name of a metric or a tl.Monitor, got {monitor!r}; for "
            "instance 'accuracy'"
        )
    return monitor
