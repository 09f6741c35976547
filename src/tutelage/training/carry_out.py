"""From a student, data and settings to a finished run."""

from __future__ import annotations

import atexit
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from tutelage.data import randomness
from tutelage.distiller import Distiller
from tutelage.training.folder import RunFolder
from tutelage.training.identity import description, identity
from tutelage.training.keeper import Keeper
from tutelage.training.loop import Loop
from tutelage.training.plan import Plan, make_plan
from tutelage.training.progress import ProgressBar
from tutelage.training.run import Run
from tutelage.training.settings import Settings


def carry_out(distiller: Distiller, train: object, val: object | None, settings: Settings) -> Run:
    """Train the distiller's student, or go on with that, or find it done."""
    with ExitStack() as stack:
        stack.enter_context(randomness.preserved())
        accelerator = stack.enter_context(settings.engine.accelerator(settings.out))
        distiller.to(accelerator.device)
        if distiller.teacher is not None:
            stack.enter_context(distiller.teacher.ready(accelerator.device))
        plan = make_plan(distiller, train, val, settings, accelerator)
        describe = description if settings.out is None else identity
        described = describe(plan, accelerator.num_processes)
        folder = _claim(settings.out, described, accelerator, stack)
        # Data order and dropout come from here; ranks draw apart from each other.
        randomness.seed_everything(settings.seed + accelerator.process_index)
        keeper = Keeper(plan, accelerator, folder)
        stack.callback(keeper.close)
        if settings.engine.trackers:
            accelerator.init_trackers("tutelage")
        _train(plan, accelerator, keeper)
        epoch = keeper.finish()
        for tracker in accelerator.trackers:
            tracker.finish()
        if accelerator.num_processes > 1:
            # What talks to the other processes goes now, not when the interpreter is torn down. The
            # group stays for the next run: made again at the same place, it may wait for ever.
            accelerator.free_memory()
            atexit.unregister(_part)
            atexit.register(_part)
    distiller.eval()
    return Run(
        student=distiller.student,
        history=keeper.position.history,
        best_epoch=epoch,
        settings=described,
        objective=distiller.objective,
        out=settings.out,
        teacher=distiller.teacher if plan.val is None else plan.val_teacher,
        val=val,
    )


def _part() -> None:
    """Leave the group of processes, at the end of the program."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _train(plan: Plan, accelerator: Accelerator, keeper: Keeper) -> None:
    """Take up the run where it stands and carry it to its end."""
    loop, engine = Loop(plan, accelerator, keeper), plan.settings.engine
    keeper.resume()
    if not keeper.finished:
        with ProgressBar(
            engine.progress and accelerator.is_main_process, plan.settings.epochs
        ) as bar:
            loop.run(bar)


def _claim(
    out: Path | None, described: dict[str, Any], accelerator: Accelerator, stack: ExitStack
) -> RunFolder | None:
    """Take the folder of the run, if it is to have one; only the main process writes there."""
    if out is None:
        return None
    folder = RunFolder(out, described)
    if accelerator.is_main_process:
        folder.claim()
        stack.enter_context(folder.locked())
    accelerator.wait_for_everyone()
    return folder
