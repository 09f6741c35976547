"""`distill`: train a student on a teacher's outputs; `fit` and `fine_tune`: a model on labels."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Unpack, cast

import torch
from torch import nn

from tutelage._checks import by_name, folder_path, integer
from tutelage.data import Transform
from tutelage.distiller import check_learner
from tutelage.errors import ArgumentError
from tutelage.objectives import HardLabels, Objective
from tutelage.tasks.metrics import Metric
from tutelage.teachers import AnyTeacher
from tutelage.training.engine import Engine, as_engine
from tutelage.training.monitor import Monitor, as_monitor
from tutelage.training.parts import by_part, freezing, parameters_at
from tutelage.training.run import Run, train_run
from tutelage.training.settings import MakeOptimizer, MakeScheduler, Options, Settings
from tutelage.training.stages import Stage, train_stages


def distill(  # noqa: PLR0913 - the one verb that everything else is an option of
    teacher: AnyTeacher | None,
    student: nn.Module,
    *,
    train: object,
    objective: Objective | None = None,
    epochs: int | None = None,
    steps: int | None = None,
    stages: Sequence[Stage] | None = None,
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
    """Train a student on a teacher's outputs.

    Made again after a kill at any moment, the same call resumes from the last checkpoint in `out`,
    and on a CPU ends with exactly the weights of an uninterrupted run. After the end it returns the
    finished run, and logs that. With more `epochs` it continues, if nothing depends on their
    number. The teacher and the global random state are not changed.

    Args:
        teacher: A module, or a `Teacher` such as `teachers.Predictor`. It runs in eval and
            inference mode and is not changed. A list of teachers is a `teachers.Ensemble`, a dict
            of them by domain `teachers.Specialists`; then `train` and `val` must carry domains, as
            sets made by `tl.data.domains` do.
        student: The module to train, in place.
        train: A data set (then `batch_size` and an order from `seed`) or a `DataLoader` (its
            order is kept). Examples are `(inputs, labels)`, `inputs` alone, or dicts; −100 (NaN
            for values) marks one without a label. A `tl.OnPolicy` lets the student write texts.
        objective: The loss, such as `0.1 * HardLabels() + 0.9 * SoftTargets(4)`.
        epochs: Passes over `train`, at least 1.
        steps: Optimizer steps in all, in place of `epochs`. Data without a length, such as a stream
            that never ends, is then logged and validated ten times, at equal distances.
        stages: In place of `objective` and `epochs`: several of them, one after another, such as
            `[Stage(FeatureMatch({"layer2": "layer4"}), 5), Stage(SoftTargets(4), 20)]`.
        val: The same kind of data, for the metrics of each epoch and the choice of the best.
        batch_size: Examples in a batch, over all processes; for data sets.
        seed: Of the order of the data and of everything random in training.
        optimizer: Callable: parameters → optimizer; None for AdamW at a learning rate of 1e-3.
            `Adam` and `AdamW` use their fused kernels, unless it says `fused` or `foreach`.
        scheduler: Callable: (optimizer, number of optimizer steps) → scheduler, which is stepped
            after each of them; or of the optimizer alone. A class gets the number by name:
            `torch.optim.lr_scheduler.CosineAnnealingLR`, `partial(ExponentialLR, gamma=0.99)`.
            `ReduceLROnPlateau` is stepped after each epoch by the monitored metric, if its `mode`
            is the metric's, else by the validation loss.
        metrics: Metrics of your own on `val`, by name: functions of (outputs, labels), or
            objects with `reset`, `update` and `compute`.
        monitor: Metric on `val` for model selection and early stopping; None for accuracy (of
            several binary labels, average precision), else mean squared error, else the loss, and
            for the loss where `val` has fewer than 200 labels. Of equal epochs the one with the
            lower loss is kept, then the later one.
        out: Folder for checkpoints, log and student; None to keep nothing on disk.
        engine: Device, precision, accumulation, clipping, logs.
        transform: Changes the batches of `train` on the device, before both models see them:
            `tl.data.Mixup()`, `tl.data.CutMix()`, `tl.data.Swap()`, `tl.data.Noise()`,
            `tl.data.Chain([...])`, or a function of your own from a `Batch` to a `Batch`. Random
            numbers in it should come from torch's global generator, so that a run can be resumed.
            Batches that it changes have no `index`.
        fresh: Whether to train anew where `out` holds a run already, which is then removed.

    Returns:
        The run; `run.student` is the student, in eval mode.

    Raises:
        ArgumentError: An argument is outside its range.
        DataError: Data is empty, or labels are missing or do not fit.
        ModelError: A model refuses its inputs, or teacher and student do not fit each other.
        NonFiniteError: A loss, a monitored metric or the teacher's output is NaN or infinite.
        RunFolderError: `out` cannot be written, or holds another run.

    >>> import torch, tutelage as tl
    >>> inputs = torch.utils.data.TensorDataset(torch.randn(32, 4))
    >>> teacher, student = nn.Linear(4, 3), nn.Linear(4, 3)
    >>> run = tl.distill(teacher, student, train=inputs, objective=tl.SoftTargets(2), epochs=2)
    >>> [record["epoch"] for record in run.history]
    [1, 2]
    """

    def optional(name: str, number: int | None, advice: str) -> int | None:
        return None if number is None else integer(name, number, 1, advice)

    given = [name for name, each in (("epochs", epochs), ("steps", steps)) if each is not None]
    own = [*(["objective"] if objective is not None else []), *given]
    if stages is not None and own:
        raise ArgumentError(
            f"`stages` have objectives and epochs of their own, got `{own[0]}` beside them; leave "
            "that out"
        )
    if stages is None and (objective is None or len(given) != 1):
        raise ArgumentError(
            "`distill` must have an `objective` and either `epochs` or `steps`, or `stages`, got "
            f"{', '.join(f'`{each}`' for each in own) or 'neither'}; for instance "
            "objective=tl.SoftTargets(4), epochs=20"
        )
    passes = 1 if stages is not None else epochs  # each stage has its own
    settings = Settings(
        epochs=optional("epochs", passes, "it counts the passes over `train`"),
        steps=optional("steps", steps, "it counts the optimizer steps"),
        batch_size=integer("batch_size", batch_size, 1, "it counts the examples of a batch"),
        seed=integer("seed", seed, 0, "it is any integer from 0 on"),
        optimizer=optimizer,
        scheduler=scheduler,
        metrics={} if metrics is None else by_name("metrics", metrics, "{'mine': function}"),
        monitor=as_monitor(monitor, metrics),
        out=None if out is None else folder_path(out),
        engine=as_engine(engine),
        transform=transform,
        fresh=fresh,
    )
    if stages is not None:
        return train_stages((student, teacher), stages, (train, val), settings)
    return train_run((student, teacher), cast("Objective", objective), (train, val), settings)


def _with_options(function: Callable[..., Run]) -> None:
    """Let a function's signature show the options of `distill` that it passes on."""
    own = inspect.signature(function)
    named = {name: each for name, each in own.parameters.items() if name != "options"}
    shared = inspect.signature(distill).parameters
    named |= {name: shared[name] for name in Options.__annotations__ if name not in named}
    function.__signature__ = own.replace(parameters=[*named.values()])  # pyright: ignore[reportFunctionMemberAccess]
    types = {name: each.annotation for name, each in named.items()}
    function.__annotations__ = types | {"return": own.return_annotation}


def fit(model: nn.Module, *, train: object, **options: Unpack[Options]) -> Run:
    """Train a model on labels: a future teacher, or the baseline that shows what a teacher adds.

    Data order, steps and logs are those of `distill` with the same arguments, so that two runs
    differ only in the objective. Arguments that are not explained here are those of `distill`.

    Args:
        model: The module to train, in place.
        train: Labelled data, as for `distill`.
        objective: One without a teacher; None for `HardLabels()`, which learns class ids. For
            binary labels give `BinaryLabels()`, for values `LabelRegression()`.

    Returns:
        The run; `run.student` is the model, in eval mode.

    Raises:
        TutelageError: As `distill`; ArgumentError too if the objective needs a teacher.
    """
    check_learner("model", model)
    options["objective"] = options.get("objective") or HardLabels()
    return distill(None, model, train=train, **options)


def fine_tune(
    model: nn.Module,
    *,
    train: object,
    frozen: Sequence[str] = (),
    lr_factors: Mapping[str, float] | None = None,
    layer_decay: float | None = None,
    **options: Unpack[Options],
) -> Run:
    """Train a pretrained model further on labels, with parts frozen or at lower learning rates.

    For other classes than before, give it a new last layer first, such as
    `model.head = nn.Linear(width, classes)`; which layer that is depends on the model. Arguments
    that are not explained here are those of `distill`.

    Args:
        model: The module with its pretrained weights, trained in place.
        train: Labelled data, as for `distill`.
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
    if isinstance(frozen, str):
        raise ArgumentError(
            f"`frozen` must be a list of paths, got {frozen!r}, whose letters would be such; write "
            f"[{frozen!r}]"
        )
    make = options.get("optimizer") or partial(torch.optim.AdamW, lr=1e-4)
    if (lr_factors or layer_decay is not None) and callable(make):
        make = by_part(make, model, lr_factors or {}, layer_decay, frozen)
    options["optimizer"] = make
    with freezing(each for path in frozen for each in parameters_at(model, path)):
        return fit(model, train=train, **options)


_with_options(fit)
_with_options(fine_tune)
