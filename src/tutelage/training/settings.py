"""How a student is trained, whatever it learns."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from tutelage._checks import by_name, folder_path, whole_number
from tutelage.data import Transform
from tutelage.errors import ArgumentError
from tutelage.evaluation.metrics import Metric
from tutelage.objectives import Objective
from tutelage.training.engine import Engine, as_engine
from tutelage.training.monitor import Monitor, as_monitor

MakeOptimizer = Callable[[Iterable[nn.Parameter]], Optimizer]
MakeScheduler = Callable[[Optimizer, int], LRScheduler]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The arguments that `distill` and `fit` share; `distill` says what each means.

    Raises:
        ArgumentError: A number is outside its range, the monitor's direction is not known, or the
            transform cannot be called.
    """

    epochs: int
    batch_size: int = 64
    seed: int = 0
    optimizer: MakeOptimizer | None = None
    scheduler: MakeScheduler | None = None
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    monitor: Monitor | None = None
    out: Path | None = None
    engine: Engine = field(default_factory=Engine)
    transform: Transform | None = None

    def __post_init__(self) -> None:
        whole_number("epochs", self.epochs, 1, "it counts the passes over `train`")
        whole_number("batch_size", self.batch_size, 1, "it counts the examples of a batch")
        whole_number("seed", self.seed, 0, "it is any number from 0 on")
        if self.transform is not None and (
            not callable(self.transform) or isinstance(self.transform, type)
        ):
            raise ArgumentError(
                "`transform` must be a function from a batch to a batch, got "
                f"{self.transform!r}; for instance tl.data.Mixup()"
            )


def gather(  # noqa: PLR0913, PLR0917 - it gathers them so that others take one
    epochs: int,
    batch_size: int,
    seed: int,
    optimizer: MakeOptimizer | None,
    scheduler: MakeScheduler | None,
    metrics: Mapping[str, Metric] | None,
    monitor: Monitor | str | None,
    out: str | Path | None,
    engine: Engine | None,
    transform: Transform | None = None,
) -> Settings:
    """Return the settings for the arguments as a user may write them.

    Raises:
        ArgumentError: An argument is of another type, or as in `Settings`.
    """
    return Settings(
        epochs=epochs,
        batch_size=batch_size,
        seed=seed,
        optimizer=optimizer,
        scheduler=scheduler,
        metrics={} if metrics is None else by_name("metrics", metrics, "{'mine': function}"),
        monitor=as_monitor(monitor),
        out=None if out is None else folder_path(out),
        engine=as_engine(engine),
        transform=transform,
    )


def own_copy(objective: Objective) -> Objective:
    """Return a copy for one run: what an objective learns in it must not reach the next."""
    return own_copies([objective])[0]


def own_copies(objectives: Sequence[Objective]) -> list[Objective]:
    """Return copies for one run; what is one object in several of them stays one.

    What was compiled in place (`objective.compile()`) is compiled in the copy too, with PyTorch's
    usual settings.
    """
    copies = copy.deepcopy(list(objectives))
    for one, other in zip(objectives, copies, strict=True):
        if isinstance(one, Objective):  # anything else is refused later
            for part, twin in zip(one.modules(), other.modules(), strict=True):
                if part._compiled_call_impl:  # noqa: SLF001
                    twin.compile()
    return copies
