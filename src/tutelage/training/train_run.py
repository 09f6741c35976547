"""Train a student from data and settings, or resume that."""

from __future__ import annotations

import atexit
import copy
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import nn

from tutelage.data import randomness
from tutelage.identity import declared
from tutelage.objectives import Objective
from tutelage.teachers import AnyTeacher, Teacher, as_teacher
from tutelage.training.checkpointer import Checkpointer
from tutelage.training.folder import RunFolder
from tutelage.training.loop import Loop
from tutelage.training.notices import warn_returned
from tutelage.training.run import Run
from tutelage.training.run_identity import (
    check_progress,
    declare_run,
    describe_run,
    note_use,
    why_not_longer,
)
from tutelage.training.run_setup import make_setup
from tutelage.training.settings import Settings
from tutelage.training.state import RunState


def train_run(
    sides: tuple[nn.Module, AnyTeacher | None],
    objective: Objective,
    data: tuple[object, object | None],
    settings: Settings,
    as_given: Any = None,
    later: Sequence[tuple[Objective, Settings]] = (),
) -> Run:
    """Train a student, or resume that, or find it done.

    A copy of the objective is built and trained, since what it learns in this run must not reach
    the next. A stage's is such a copy already, and comes with what it declared before an earlier
    stage trained it, `as_given`; `later` are the stages after it, whose monitors are checked with
    its own.
    """
    student, teacher = sides[0], None if sides[1] is None else as_teacher(sides[1])
    in_stages = as_given is not None
    if as_given is None:
        [objective] = own_copies([objective], student, teacher)
        as_given = declared(objective, tensors="fixed") if settings.out is not None else None
    with ExitStack() as stack:
        stack.enter_context(randomness.preserved())
        accelerator = stack.enter_context(settings.engine.accelerator(settings.out))
        if teacher is not None:
            stack.enter_context(teacher.ready(accelerator.device))
        setup = make_setup((student, teacher), objective, data, settings, accelerator)
        check_progress(setup)
        described = describe_run(setup, accelerator.num_processes)
        folder = None
        if settings.out is not None:
            run = declare_run(setup, as_given, described)
            folder = RunFolder(settings.out, described, run, settings.fresh)
        if folder is not None:
            if accelerator.is_main_process:
                alone = None if in_stages else setup
                stack.enter_context(folder.claimed(lambda: why_not_longer(alone)))
            accelerator.wait_for_everyone()
            stack.callback(note_use, setup, folder.declared)
        # Data order and dropout come from here; each process has its own seed.
        randomness.seed_everything(settings.seed + accelerator.process_index)
        state = RunState(settings.monitor)
        checkpointer = Checkpointer(setup, state, accelerator, folder)
        stack.callback(checkpointer.close)
        if settings.engine.trackers:
            accelerator.init_trackers("tutelage")
        loop = Loop(accelerator, checkpointer)
        checkpointer.resume()
        if folder is not None and state.finished(settings) and not in_stages:
            warn_returned(folder.last)
        loop.run(later)
        epoch = checkpointer.finish()
        for tracker in accelerator.trackers:
            tracker.finish()
        if accelerator.num_processes > 1:
            # What talks to the other processes goes now, not when the interpreter is torn down. The
            # group stays for the next run: made again at the same address, it may wait for ever.
            accelerator.free_memory()
            atexit.unregister(_leave_processes)
            atexit.register(_leave_processes)
    setup.distiller.eval()
    return Run(
        student=student,
        history=state.history,
        best_epoch=epoch,
        settings=described,
        objective=objective,
        out=settings.out,
        teacher=setup.distiller.teacher if setup.val is None else setup.val_teacher,
        val=data[1],
    )


def own_copies(
    objectives: Sequence[Objective], student: nn.Module, teacher: Teacher | None
) -> list[Objective]:
    """Return copies for one run.

    An object that several of them contain stays one object, and what belongs to a model, such as
    its last layer, stays the model's.
    What was compiled in place (`objective.compile()`) is compiled in the copy too, with PyTorch's
    usual settings.
    """
    models = [] if teacher is None else [*teacher.modules()]
    models += [student] if isinstance(student, nn.Module) else []  # anything else is refused later
    kept: dict[int, Any] = {
        id(part): part for model in models for part in (*model.modules(), *model.parameters())
    }
    copies = copy.deepcopy(list(objectives), kept)
    for one, other in zip(objectives, copies, strict=True):
        if isinstance(one, Objective):  # anything else is refused later
            for part, twin in zip(one.modules(), other.modules(), strict=True):
                if part._compiled_call_impl:  # noqa: SLF001
                    twin.compile()
    return copies


def _leave_processes() -> None:
    """Leave the group of processes, at the end of the program."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
