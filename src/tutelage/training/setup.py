"""What the training loop works with, made from what a user gave."""

from __future__ import annotations

import functools
import inspect
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from tutelage.data import OnPolicy, OnPolicySource, Shard, Source, as_source, randomness
from tutelage.distiller import Distiller
from tutelage.errors import ArgumentError, ModelError, StoreError
from tutelage.objectives import Objective, with_feedback
from tutelage.tasks import infer_task
from tutelage.teachers import Teacher
from tutelage.training.notices import warn_early_end
from tutelage.training.settings import MakeOptimizer, MakeScheduler, Settings
from tutelage.training.writer import Writer, check_on_policy

STEP_COUNTS = ("T_max", "total_iters", "total_steps", "num_training_steps", "steps", "num_steps")
"""Arguments of schedulers that are the number of all steps."""
_FUSED = ("cpu", "cuda")  # devices of which the oldest supported PyTorch has fused kernels
_PLACES = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True)
class Setup:
    """What the loop works with."""

    distiller: Distiller
    optimizer: Optimizer
    scheduler: LRScheduler | None
    scheduled: bool  # whether the scheduler was given the number of all steps
    train: Source
    val: Source | None
    val_teacher: Teacher | None  # none either where targets were stored only for `train`
    data: tuple[object, object | None]  # `train` and `val` as they were given
    settings: Settings
    steps: int | None  # of the optimizer, in all; None where data has no length


def make_setup(
    models: tuple[torch.nn.Module, Teacher | None],
    objective: Objective,
    data: tuple[object, object | None],
    settings: Settings,
    accelerator: Accelerator,
) -> Setup:
    """Make all that a run needs; the teacher is bound to the data here, once."""
    (student, teacher), (train, val), device = models, data, accelerator.device
    bound, views = teacher, None
    if isinstance(train, OnPolicy) and isinstance(objective, Objective):
        check_on_policy(train, objective, accelerator)
    if teacher is not None and isinstance(objective, Objective) and objective.wants.teacher:
        known = train.prompts if isinstance(train, OnPolicy) else train
        bound = teacher.for_data("train", known)
        views = bound.views
    distiller = Distiller(student, bound, objective, settings.engine.chunk_logits_from)
    val_teacher = _val_teacher(objective, teacher, val, settings)
    distiller.to(device)
    shard = Shard(accelerator.process_index, accelerator.num_processes)
    source = as_source(
        "train",
        train,
        settings.batch_size,
        seed=settings.seed,
        shard=shard,
        views=views,
        group_by_length=settings.engine.group_by_length,
    )
    if isinstance(source, OnPolicySource):
        source.write = Writer(student, source.policy, accelerator)
        batches = (settings.steps or 0) * settings.engine.accumulation
        source.epochs = settings.epochs or batches / len(source)
    if not objective.built and (batch := source.peek()) is not None:
        with randomness.preserved():  # seeded, so that projectors are alike in all processes
            randomness.seed_everything(settings.seed)
            distiller.build(batch.to(device))
    val_source = None if val is None else as_source("val", val, settings.batch_size, shard=shard)
    optimizer = _make_optimizer(settings.optimizer, distiller)
    steps, batches = settings.steps, source.batches_per_epoch()
    if settings.epochs is not None and batches is not None:
        steps = -(-batches // settings.engine.accumulation) * settings.epochs
    scheduler, scheduled = make_scheduler(settings.scheduler, optimizer, steps)
    return Setup(
        distiller=distiller,
        optimizer=optimizer,
        scheduler=scheduler,
        scheduled=scheduled,
        train=source,
        val=val_source,
        val_teacher=val_teacher,
        data=data,
        settings=settings,
        steps=steps,
    )


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
        make = functools.partial(torch.optim.AdamW, lr=1e-3)
    optimizer = make(parameters) if callable(make) else None
    if not isinstance(optimizer, Optimizer):
        raise ArgumentError(
            "`optimizer` must be a callable from parameters to an optimizer, for instance "
            f"functools.partial(torch.optim.SGD, lr=0.1), got {make!r}"
        )
    held = {id(each) for group in optimizer.param_groups for each in group["params"]}
    lacking = "" if student & held else "parameters of the student, got one that holds none"
    if not lacking and not {id(each) for each in parameters} - student <= held:
        lacking = "the objective's own parameters, got one without them"
    if lacking:
        raise ArgumentError(
            f"`optimizer` must hold {lacking}; build it from the parameters that it is called with"
        )
    _fuse(optimizer)
    return optimizer


def _fuse(optimizer: Optimizer) -> None:
    """Let Adam and AdamW use their fused kernels, where their user chose no others.

    These make the same step, up to rounding, in one pass over memory. They read parameters and
    gradients in the order of memory, in silence, so that both must be contiguous; the gradient of a
    contiguous parameter is.
    """
    if type(optimizer) not in (torch.optim.Adam, torch.optim.AdamW):
        return
    for group in optimizer.param_groups:
        if group["fused"] is None and group["foreach"] is None:
            group["fused"] = all(
                each.is_floating_point() and each.is_contiguous() and each.device.type in _FUSED
                for each in group["params"]
            )


def make_scheduler(
    make: MakeScheduler | None, optimizer: Optimizer, steps: int | None
) -> tuple[LRScheduler | None, bool]:
    """Make the scheduler over so many optimizer steps, None for an unknown number.

    Returns:
        The scheduler, and whether it was given the number.
    """
    if make is None:
        return None, False
    arguments, counts = _scheduler_arguments(make, steps)
    if steps is None and (counts or arguments):
        raise ArgumentError(
            "`scheduler` goes over all steps, whose number is not known, got a `train` without a "
            "length; give `steps` in place of `epochs`, or a scheduler of the optimizer alone"
        )
    scheduler = make(optimizer, *arguments, **counts)
    if not isinstance(scheduler, LRScheduler):
        raise ArgumentError(
            "`scheduler` must be a callable from (optimizer, steps) or from an optimizer to a "
            "scheduler, for instance torch.optim.lr_scheduler.CosineAnnealingLR, got one that "
            f"makes {type(scheduler).__name__}"
        )
    return scheduler, bool(arguments or counts)


def _scheduler_arguments(make: Any, steps: int | None) -> tuple[list[Any], dict[str, Any]]:
    """Return what a scheduler is made with beside the optimizer: the number of steps, or nothing.

    A function is given it in its second place, if it has one. A class is given it by name, since
    its second argument may be anything: of `ExponentialLR` it is gamma; a partial likewise, if one
    of its arguments has such a name.
    """
    try:
        _, *others = inspect.signature(make).parameters.values()
    except (TypeError, ValueError):  # no signature, or no argument
        return [steps], {}
    if not isinstance(make, (type, functools.partial)):
        second = (*_PLACES, inspect.Parameter.VAR_POSITIONAL)
        return [steps] if others and others[0].kind in second else [], {}
    given = make.keywords if isinstance(make, functools.partial) else {}
    kind = make.func if isinstance(make, functools.partial) else make
    named = next((each.name for each in others if each.name in STEP_COUNTS), None)
    lacking = [
        each.name
        for each in others
        if each.kind in _PLACES and each.default is each.empty and each.name != named
    ]
    if named is None and not isinstance(kind, type):
        several = any(each.kind is each.VAR_POSITIONAL for each in others)
        return [steps] if lacking or several else [], {}
    if lacking:
        name = getattr(kind, "__name__", repr(kind))
        raise ArgumentError(
            f"`scheduler` must be made from the optimizer and the number of steps, got "
            f"{name}, which needs {lacking[0]!r}; write "
            f"functools.partial({name}, {lacking[0]}=...)"
        )
    own = None if named is None else given.get(named)
    if named and own is not None and named != "total_iters" and own < (steps or 0):
        warn_early_end(named, own, steps or 0)
    return [], {} if named is None or named in given else {named: steps}
