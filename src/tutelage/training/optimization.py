"""The user's optimizer and scheduler, made and checked."""

from __future__ import annotations

from typing import NoReturn

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from tutelage.distiller import Distiller
from tutelage.errors import ArgumentError, ModelError, TutelageError, in_short
from tutelage.training.settings import MakeOptimizer, MakeScheduler


def make_optimizer(make: MakeOptimizer | None, distiller: Distiller) -> Optimizer:
    """Make the optimizer of all that is trained; None makes AdamW at a learning rate of 1e-3.

    Raises:
        ArgumentError: `make` fails, makes something else, or leaves out what is to be trained.
        ModelError: The student has nothing to train.
    """
    parameters = [each for each in distiller.parameters() if each.requires_grad]
    if not any(each.requires_grad for each in distiller.student.parameters()):
        raise ModelError(
            f"the student ({type(distiller.student).__name__}) must have parameters to train, got "
            "none with requires_grad; unfreeze some, or give another module"
        )
    if make is None:
        return torch.optim.AdamW(parameters, lr=1e-3)
    try:
        optimizer = make(parameters) if callable(make) else make
    except TutelageError:
        raise
    except Exception as error:
        raise _no_optimizer(make, f", which fails with {in_short(error)}") from error
    if not isinstance(optimizer, Optimizer) or optimizer is make:
        raise _no_optimizer(make)
    _check_covers(optimizer, distiller)
    return optimizer


def _no_optimizer(make: object, how: str = "") -> ArgumentError:
    return ArgumentError(
        f"`optimizer` must be a callable from parameters to an optimizer, got {make!r}{how}; for "
        "instance functools.partial(torch.optim.SGD, lr=0.1)"
    )


def _check_covers(optimizer: Optimizer, distiller: Distiller) -> None:
    """Refuse an optimizer that trains nothing of the student, or leaves out the objective."""
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


def make_scheduler(
    make: MakeScheduler | None, optimizer: Optimizer, steps: int | None
) -> LRScheduler | None:
    """Make the scheduler over so many optimizer steps.

    Raises:
        ArgumentError: `make` fails or makes something else, or the number of steps is not known.
    """
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


def refuse_step(what: str, of: object, step: int, error: Exception) -> NoReturn:
    """Say which of the user's parts failed in a step.

    Raises:
        ArgumentError: Always, but for what is an error of ours or a full device, which stay.
    """
    if isinstance(error, (TutelageError, torch.OutOfMemoryError)):
        raise error
    raise ArgumentError(
        f"{what} must work in every step, got a {type(of).__name__} that fails in step {step} with "
        f"{in_short(error)}; see the error above, its cause"
    ) from error
