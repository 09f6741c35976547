"""How a student is trained, whatever it learns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from tutelage._checks import by_name, folder_path, integer
from tutelage.data import Transform
from tutelage.errors import ArgumentError
from tutelage.evaluation.metrics import Metric
from tutelage.training.engine import Engine, as_engine
from tutelage.training.monitor import Monitor, as_monitor

MakeOptimizer = Callable[[Iterable[nn.Parameter]], Optimizer]
MakeScheduler = Callable[[Optimizer, int], LRScheduler]


@dataclass(init=False)
class Settings:
    """The arguments that `distill`, `fit` and `fine_tune` share; `distill` explains each.

    Raises:
        ArgumentError: A number is outside its range, or an argument is of another type.
    """

    epochs: int
    batch_size: int
    seed: int
    optimizer: MakeOptimizer | None
    scheduler: MakeScheduler | None
    metrics: Mapping[str, Metric]
    monitor: Monitor | None
    out: Path | None
    engine: Engine
    transform: Transform | None

    def __init__(  # noqa: PLR0913 - gathered here so that all else takes one argument
        self,
        *,
        epochs: int,
        batch_size: int = 64,
        seed: int = 0,
        optimizer: MakeOptimizer | None = None,
        scheduler: MakeScheduler | None = None,
        metrics: Mapping[str, Metric] | None = None,
        monitor: Monitor | str | None = None,
        out: str | Path | None = None,
        engine: Engine | None = None,
        transform: Transform | None = None,
    ) -> None:
        self.epochs = integer("epochs", epochs, 1, "it counts the passes over `train`")
        self.batch_size = integer("batch_size", batch_size, 1, "it counts the examples of a batch")
        self.seed = integer("seed", seed, 0, "it is any integer from 0 on")
        self.optimizer, self.scheduler = optimizer, scheduler
        example = "{'mine': function}"
        self.metrics = {} if metrics is None else by_name("metrics", metrics, example)
        self.monitor = as_monitor(monitor)
        self.out = None if out is None else folder_path(out)
        self.engine = as_engine(engine)
        self.transform = transform
        if transform is not None and (not callable(transform) or isinstance(transform, type)):
            raise ArgumentError(
                f"`transform` must be a function from a batch to a batch, got {transform!r}; for "
                "instance tl.data.Mixup()"
            )
