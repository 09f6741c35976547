"""`fit`: train a model on labels, in the loop of `distill`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import nn

from tutelage.data import Transform
from tutelage.distiller import check_learner
from tutelage.evaluation.metrics import Metric
from tutelage.objectives import HardLabels, Objective
from tutelage.training.engine import Engine
from tutelage.training.monitor import Monitor
from tutelage.training.run import Run
from tutelage.training.settings import MakeOptimizer, MakeScheduler, Settings
from tutelage.training.train_run import own_copies, train_run


def fit(  # noqa: PLR0913 - the options of `distill`
    model: nn.Module,
    *,
    train: object,
    epochs: int,
    objective: Objective | None = None,
    val: object | None = None,
    batch_size: int = 64,
    seed: int = 0,
    optimizer: MakeOptimizer | None = None,
    scheduler: MakeScheduler | None = None,
    metrics: Mapping[str, Metric] | None = None,
    monitor: Monitor | str | None = None,
    out: str | Path | None = None,
    engine: Engine | None = None,
    transform: Transform | None = None,
) -> Run:
    """Train a model on labels: a future teacher, or the baseline that shows what a teacher adds.

    Data order, steps and logs are those of `distill` with the same arguments, so that two runs
    differ in the objective alone.

    Args:
        model: The module to train, in place.
        train: As in `distill`.
        epochs: As in `distill`.
        objective: One without a teacher; None for `HardLabels()`.
        val: As in `distill`.
        batch_size: As in `distill`.
        seed: As in `distill`.
        optimizer: As in `distill`.
        scheduler: As in `distill`.
        metrics: As in `distill`.
        monitor: As in `distill`.
        out: As in `distill`.
        engine: As in `distill`.
        transform: As in `distill`.

    Returns:
        The run; `run.student` is the model, in eval mode.

    Raises:
        TutelageError: As `distill`; ArgumentError too if the objective needs a teacher.
    """
    check_learner("model", model)
    settings = Settings(
        epochs=epochs,
        batch_size=batch_size,
        seed=seed,
        optimizer=optimizer,
        scheduler=scheduler,
        metrics=metrics,
        monitor=monitor,
        out=out,
        engine=engine,
        transform=transform,
    )
    [own] = own_copies([objective or HardLabels()])
    return train_run((model, None), own, (train, val), settings)
