"""How a student is trained, whatever it learns from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from tutelage.data import Transform
from tutelage.objectives import Objective
from tutelage.tasks.metrics import Metric
from tutelage.training.engine import Engine
from tutelage.training.monitor import Monitor

MakeOptimizer = Callable[[Iterable[nn.Parameter]], Optimizer]
MakeScheduler = Callable[..., LRScheduler]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The arguments of `distill` that a run needs apart from models, objective and data."""

    epochs: int | None
    steps: int | None
    batch_size: int
    seed: int
    optimizer: MakeOptimizer | None
    scheduler: MakeScheduler | None
    metrics: Mapping[str, Metric]
    monitor: Monitor | None
    out: Path | None
    engine: Engine
    transform: Transform | None
    fresh: bool


class Options(TypedDict, total=False):
    """The options of `distill` that `fit` and `fine_tune` pass on; explained there."""

    epochs: int | None
    steps: int | None
    objective: Objective | None
    val: object | None
    batch_size: int
    seed: int
    optimizer: MakeOptimizer | None
    scheduler: MakeScheduler | None
    metrics: Mapping[str, Metric] | None
    monitor: Monitor | str | None
    out: str | Path | None
    engine: Engine | None
    transform: Transform | None
    fresh: bool
