"""What the training loop works with, made from what a user gave."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from tutelage.data import Shard, Source, as_source, randomness
from tutelage.distiller import Distiller
from tutelage.errors import ArgumentError, ModelError, StoreError
from tutelage.teachers import Teacher
from tutelage.training.settings import MakeOptimizer, MakeScheduler, Settings
from tutelage.training.validation import Validation


@dataclass(frozen=True)
class Plan:
    """What the loop works with.

    Args:
        distiller: Student, teacher and objective, on the device.
        optimizer: Over the distiller's parameters.
        scheduler: Stepped after each optimiser step; None for a constant rate.
        train: Training batches.
        validation: None for none.
        settings: All else.
    """

    distiller: Distiller
    optimizer: Optimizer
    scheduler: LRScheduler | None
    train: Source
    validation: Validation | None
    settings: Settings


def make_plan(
    distiller: Distiller,
    train: object,
    val: object | None,
    settings: Settings,
    accelerator: Accelerator,
) -> Plan:
    """Make the parts of a run.

    Raises:
        ArgumentError: `optimizer` or `scheduler` does not make one.
        DataError: Data is empty or none.
        ModelError: The student has nothing to train.
        StoreError: The teacher's answers are those of other data.
    """
    _check_validation_is_used(distiller, val, settings)
    judge = None if val is None else _answering(distiller.teacher, val)
    _check_can_review(distiller, val, judge)
    size = settings.batch_size
    shard = Shard(accelerator.process_index, accelerator.num_processes)
    teacher, views = distiller.teacher, None
    if teacher is not None and distiller.objective.wants.teacher:
        answering = teacher.answering("train", train)
        distiller.ask_from_now(answering)
        views = answering.views
    source = as_source(
        "train", train, size, shuffle=True, seed=settings.seed, shard=shard, views=views
    )
    _build(distiller, source, accelerator.device, settings.seed)
    validation = None
    if val is not None:
        val_source = as_source("val", val, size, shuffle=False)
        validation = Validation(val_source, settings.metrics, judge)
    optimizer = _make_optimizer(settings.optimizer, distiller)
    batches, every = source.batches_per_epoch(), settings.engine.accumulation
    steps = None if batches is None else -(-batches // every) * settings.epochs
    scheduler = _make_scheduler(settings.scheduler, optimizer, steps)
    return Plan(distiller, optimizer, scheduler, source, validation, settings)


def _answering(teacher: Teacher | None, val: object) -> Teacher | None:
    """Return the teacher that answers for the validation data, if one does.

    A teacher of stored answers may have none for it; labels have to do then.
    """
    try:
        return None if teacher is None else teacher.answering("val", val)
    except StoreError:
        return None


def _build(distiller: Distiller, source: Source, device: torch.device, seed: int) -> None:
    """Let the objective make its projectors, alike in all processes."""
    if distiller.objective.built:
        return
    batch = source.peek()
    if batch is not None:  # without one, training will say so
        with randomness.preserved():
            randomness.seed_everything(seed)
            distiller.build(batch.to(device))


def _check_validation_is_used(distiller: Distiller, val: object | None, settings: Settings) -> None:
    if val is None and (settings.monitor is not None or settings.metrics):
        raise ArgumentError(
            "`monitor` and `metrics` look at validation data, got no `val`; give some, or leave "
            "them out"
        )
    if settings.metrics and not distiller.objective.wants.student.output:
        raise ArgumentError(
            "`metrics` look at the student's output, which the objective "
            f"{distiller.objective} does not ask for; leave them out, or add an objective on the "
            "output"
        )


def _check_can_review(distiller: Distiller, val: object | None, answering: Teacher | None) -> None:
    if distiller.objective.needs_validation and answering is None:
        lacking = "no `val`" if val is None else "a teacher with stored answers to `train` alone"
        raise ArgumentError(
            f"the objective {distiller.objective} compares student and teacher on validation data, "
            f"got {lacking}; give `val`, and with stored answers a store of it too: "
            "tl.teachers.Stored(store, val_store)"
        )


def _make_optimizer(make: MakeOptimizer | None, distiller: Distiller) -> Optimizer:
    parameters = [each for each in distiller.parameters() if each.requires_grad]
    if not any(each.requires_grad for each in distiller.student.parameters()):
        raise ModelError(
            f"the student ({type(distiller.student).__name__}) must have parameters to train, got "
            "none with requires_grad; unfreeze some, or give another module"
        )
    if make is None:
        return torch.optim.AdamW(parameters, lr=1e-3)
    optimizer = make(parameters) if callable(make) else make
    if not isinstance(optimizer, Optimizer) or optimizer is make:
        raise ArgumentError(
            f"`optimizer` must be a callable from parameters to an optimiser, got {make!r}; for "
            "instance functools.partial(torch.optim.SGD, lr=0.1)"
        )
    _check_covers(optimizer, distiller)
    return optimizer


def _check_covers(optimizer: Optimizer, distiller: Distiller) -> None:
    """Refuse an optimiser that trains nothing of the student, or leaves out the objective."""
    held = {id(each) for group in optimizer.param_groups for each in group["params"]}
    student = [each for each in distiller.student.parameters() if each.requires_grad]
    objective = [each for each in distiller.objective.parameters() if each.requires_grad]
    if not any(id(each) in held for each in student):
        raise ArgumentError(
            "`optimizer` must hold parameters of the student, got one that holds none; build it "
            "from the parameters that it is called with"
        )
    if not all(id(each) in held for each in objective):
        raise ArgumentError(
            "`optimizer` must hold the objective's own parameters, got one without them; build it "
            "from the parameters that it is called with"
        )
    if isinstance(optimizer, torch.optim.LBFGS):
        raise ArgumentError("`optimizer` must step without a closure, got LBFGS; choose another")


def _make_scheduler(
    make: MakeScheduler | None, optimizer: Optimizer, steps: int | None
) -> LRScheduler | None:
    if make is None:
        return None
    expected = (
        "`scheduler` must be a callable from (optimizer, steps) to a scheduler that is stepped "
        "after each optimiser step, for instance torch.optim.lr_scheduler.CosineAnnealingLR"
    )
    if steps is None:
        raise ArgumentError(
            f"{expected}; the number of steps must be known, got a `train` without a length: give "
            "it one, or leave the scheduler out"
        )
    try:
        scheduler = make(optimizer, steps)
    except TypeError as error:
        raise ArgumentError(f"{expected}, got {make!r}, which says {error}") from error
    if not isinstance(scheduler, LRScheduler) or isinstance(scheduler, ReduceLROnPlateau):
        raise ArgumentError(f"{expected}, got one that makes {type(scheduler).__name__}")
    return scheduler
