"""`fit` and `fine_tune`: train a model on labels, in the loop of `distill`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import nn

from tutelage.data import Transform
from tutelage.distiller import check_learner
from tutelage.objectives import HardLabels, Objective
from tutelage.tasks.metrics import Metric
from tutelage.training.distill import distill
from tutelage.training.engine import Engine
from tutelage.training.monitor import Monitor
from tutelage.training.parts import by_part, freezing, parts_of
from tutelage.training.run import Run
from tutelage.training.settings import MakeOptimizer, MakeScheduler


def fit(  # noqa: PLR0913, D417 - the options of `distill`, explained there
    model: nn.Module,
    *,
    train: object,
    epochs: int | None = None,
    steps: int | None = None,
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
    fresh: bool = False,
) -> Run:
    """Train a model on labels: a future teacher, or the baseline that shows what a teacher adds.

    Data order, steps and logs are those of `distill` with the same arguments, so that two runs
    differ only in the objective. Arguments that are not explained here are those of `distill`.

    Args:
        model: The module to train, in place.
        objective: One without a teacher; None for `HardLabels()`, which learns class ids. For
            binary labels give `BinaryLabels()`, for values `LabelRegression()`.

    Returns:
        The run; `run.student` is the model, in eval mode.

    Raises:
        TutelageError: As `distill`; ArgumentError too if the objective needs a teacher.
    """
    check_learner("model", model)
    return distill(
        None,
        model,
        train=train,
        objective=objective or HardLabels(),
        epochs=epochs,
        steps=steps,
        val=val,
        batch_size=batch_size,
        seed=seed,
        optimizer=optimizer,
        scheduler=scheduler,
        metrics=metrics,
        monitor=monitor,
        out=out,
        engine=engine,
        transform=transform,
        fresh=fresh,
    )


def fine_tune(  # noqa: PLR0913, D417 - the options of `fit`, and which parts learn how fast
    model: nn.Module,
    *,
    train: object,
    epochs: int | None = None,
    steps: int | None = None,
    frozen: Sequence[str] = (),
    lr_factors: Mapping[str, float] | None = None,
    layer_decay: float | None = None,
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
    fresh: bool = False,
) -> Run:
    """Train a pretrained model further on labels, with parts frozen or at lower learning rates.

    For other classes than before, give it a new last layer first, such as
    `model.head = nn.Linear(width, classes)`; which layer that is depends on the model. Arguments
    that are not explained here are those of `distill`.

    Args:
        model: The module with its pretrained weights, trained in place.
        frozen: Paths of layers or parameters that are not trained, such as `["embeddings"]`; the
            layers stay in eval mode, so BatchNorm statistics are frozen and dropout is off.
            Afterwards `requires_grad` is as it was.
        lr_factors: By path, the factor of the optimizer's learning rate, such as
            `{"encoder": 0.1}`; above zero. Other parameters have the full rate. Schedulers see and
            change the full rate of every group.
        layer_decay: In (0, 1]: the last of the repeated blocks (see `tutelage.layers.blocks`) has
            this factor, the one before it its square, and so on; layers before the blocks have the
            lowest learning rate, layers after them the full one (Clark
            et al. 2020, https://arxiv.org/abs/2003.10555, use 0.8). `lr_factors` take
            precedence.
        objective: One without a teacher; None for `HardLabels()`.
        optimizer: As in `distill`; None for AdamW at 1e-4, a tenth of the learning rate of `fit`.
            With `lr_factors` or `layer_decay` it is called with groups of parameters.

    Returns:
        The run; `run.student` is the model, in eval mode. The log's `lr` is the full learning rate.

    Raises:
        TutelageError: As `fit`; ArgumentError too if a path names nothing, paths overlap, a factor
            is out of its range, or the model has no blocks that a decay could go by.

    >>> set = torch.utils.data.TensorDataset(torch.randn(32, 4), torch.arange(32) % 3)
    >>> model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    >>> before = model[0].weight.clone()
    >>> run = fine_tune(model, train=set, epochs=1, frozen=["0"])
    >>> torch.equal(model[0].weight, before)
    True
    """
    check_learner("model", model)
    make = optimizer or partial(torch.optim.AdamW, lr=1e-4)
    if (lr_factors or layer_decay is not None) and callable(make):
        make = by_part(make, model, lr_factors or {}, layer_decay, frozen)
    with freezing(parts_of(model, frozen)):
        return fit(
            model,
            train=train,
            objective=objective,
            epochs=epochs,
            steps=steps,
            val=val,
            batch_size=batch_size,
            seed=seed,
            optimizer=make,
            scheduler=scheduler,
            metrics=metrics,
            monitor=monitor,
            out=out,
            engine=engine,
            transform=transform,
            fresh=fresh,
        )
