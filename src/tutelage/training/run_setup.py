"""What the training loop works with, made from what a user gave."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from tutelage.data import OnPolicy, OnPolicySource, Shard, Source, as_source, randomness
from tutelage.distiller import Distiller
from tutelage.errors import ArgumentError, ModelError, StoreError, TutelageError, in_short
from tutelage.objectives import Objective, with_feedback
from tutelage.tasks import infer_task
from tutelage.teachers import Teacher
from tutelage.training.settings import MakeOptimizer, MakeScheduler, Settings
from tutelage.training.writer import Writer, check_on_policy


@dataclass(frozen=True)
class Setup:
    """What the loop works with."""

    distiller: Distiller
    optimizer: Optimizer
    scheduler: LRScheduler | None
    train: Source
    val: Source | None
    val_teacher: Teacher | None  # none either where targets were stored only for `train`
    data: tuple[object, object | None]  # `train` and `val` as they were given
    settings: Settings


def make_setup(
    sides: tuple[torch.nn.Module, Teacher | None],
    objective: Objective,
    data: tuple[object, object | None],
    settings: Settings,
    accelerator: Accelerator,
) -> Setup:
    """Make all that a run needs; the teacher is bound to the data here, once."""
    (student, teacher), (train, val), device = sides, data, accelerator.device
    bound, views = teacher, None
    if isinstance(val, OnPolicy):
        raise ArgumentError(
            "`val` must be given texts, got tl.OnPolicy, whose texts change with the student; give "
            "texts with labels"
        )
    if isinstance(train, OnPolicy) and isinstance(objective, Objective):
        check_on_policy(train, objective, teacher, accelerator)
    if teacher is not None and isinstance(objective, Objective) and objective.wants.teacher:
        known = train.prompts if isinstance(train, OnPolicy) else train
        bound = teacher.for_data("train", known)
        views = bound.views
    distiller = Distiller(student, bound, objective, settings.engine.chunk_logits_from)
    val_teacher = _val_teacher(objective, teacher, val, settings)
    distiller.to(device)
    source = as_source(
        "train",
        train,
        settings.batch_size,
        seed=settings.seed,
        shard=Shard(accelerator.process_index, accelerator.num_processes),
        views=views,
        group_by_length=settings.engine.group_by_length,
    )
    if isinstance(source, OnPolicySource):
        source.epochs, source.write = settings.epochs, Writer(student, source.policy, accelerator)
    if not objective.built and (batch := source.peek()) is not None:
        with randomness.preserved():  # seeded, so that projectors are alike in all processes
            randomness.seed_everything(settings.seed)
            distiller.build(batch.to(device))
    val_source = None if val is None else as_source("val", val, settings.batch_size)
    optimizer = _make_optimizer(settings.optimizer, distiller)
    batches, every = source.batches_per_epoch(), settings.engine.accumulation
    steps = None if batches is None else -(-batches // every) * settings.epochs
    scheduler = _make_scheduler(settings.scheduler, optimizer, steps)
    return Setup(distiller, optimizer, scheduler, source, val_source, val_teacher, data, settings)


def _val_teacher(
    objective: Objective, teacher: Teacher | None, val: object | None, settings: Settings
) -> Teacher | None:
    """Return the teacher for the validation data, once it is known that this data is of use."""
    if val is None and (settings.monitor is not None or settings.metrics):
        raise ArgumentError(
            "`monitor` and `metrics` look at validation data, got no `val`; give some, or leave "
            "them out"
        )
    if settings.metrics:
        infer_task([objective]).check_names(settings.metrics)
        if not (objective.wants.student.output or objective.wants.student.loss):
            raise ArgumentError(
                f"`metrics` look at the student's output, which the objective {objective} does not "
                "require; leave them out, or add an objective on the output"
            )
    found = None
    if teacher is not None and val is not None:
        with suppress(StoreError):  # stored only for the training data: labels judge the student
            found = teacher.for_data("val", val)
    if with_feedback(objective) and found is None:
        lacking = "no `val`" if val is None else "a teacher with stored targets for `train` only"
        raise ArgumentError(
            f"the objective {objective} compares student and teacher on validation data, got "
            f"{lacking}; give `val`, and with stored targets a store of it too: "
            "tl.teachers.Stored(store, val_store)"
        )
    return found


def _make_optimizer(make: MakeOptimizer | None, distiller: Distiller) -> Optimizer:
    """Make the optimizer of all that is trained; None makes AdamW at a learning rate of 1e-3."""
    parameters = [each for each in distiller.parameters() if each.requires_grad]
    student = {id(each) for each in distiller.student.parameters() if each.requires_grad}
    if not student:
        raise ModelError(
            f"the student ({type(distiller.student).__name__}) must have parameters to train, got "
            "none with requires_grad; unfreeze some, or give another module"
        )
    if make is None:
        return torch.optim.AdamW(parameters, lr=1e-3)
    expected = (
        "`optimizer` must be a callable from parameters to an optimizer, for instance "
        f"functools.partial(torch.optim.SGD, lr=0.1), got {make!r}"
    )
    try:
        optimizer = make(parameters) if callable(make) else make
    except TutelageError:
        raise
    except Exception as error:
        raise ArgumentError(f"{expected}, which fails with {in_short(error)}") from error
    if not isinstance(optimizer, Optimizer) or optimizer is make:
        raise ArgumentError(expected)
    held = {id(each) for group in optimizer.param_groups for each in group["params"]}
    lacking = "" if student & held else "parameters of the student, got one that holds none"
    if not lacking and not {id(each) for each in parameters} - student <= held:
        lacking = "the objective's own parameters, got one without them"
    if lacking:
        raise ArgumentError(
            f"`optimizer` must hold {lacking}; build it from the parameters that it is called with"
        )
    if isinstance(optimizer, torch.optim.LBFGS):
        raise ArgumentError("`optimizer` must step without a closure, got LBFGS; choose another")
    return optimizer


def _make_scheduler(
    make: MakeScheduler | None, optimizer: Optimizer, steps: int | None
) -> LRScheduler | None:
    """Make the scheduler over so many optimizer steps; None for an unknown number."""
    if make is None:
        return None
    expected = (
        "`scheduler` must be a callable from (optimizer, steps) to a scheduler that is stepped "
        "after each optimizer step, for instance torch.optim.lr_scheduler.CosineAnnealingLR"
    )
    if steps is None:
        raise ArgumentError(
            f"{expected}; the number of steps must be known, got a `train` without a length: give "
            "it one, or leave the scheduler out"
        )
    try:
        scheduler = make(optimizer, steps)
    except Exception as error:
        raise ArgumentError(
            f"{expected}, got {make!r}, which fails with {in_short(error)}"
        ) from error
    if not isinstance(scheduler, LRScheduler) or isinstance(scheduler, ReduceLROnPlateau):
        raise ArgumentError(f"{expected}, got one that makes {type(scheduler).__name__}")
    return scheduler
