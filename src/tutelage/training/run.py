"""A run: train a student from data and settings, or resume that; and the result."""

from __future__ import annotations

import atexit
import copy
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tutelage.data import randomness
from tutelage.identity import declared
from tutelage.layers.wrapper import unwrapped
from tutelage.objectives import Objective
from tutelage.teachers import AnyTeacher, Teacher, as_teacher
from tutelage.training.checkpointer import Checkpointer
from tutelage.training.declaration import (
    check_progress,
    declare_run,
    describe_run,
    note_use,
    why_not_longer,
)
from tutelage.training.folder import RunFolder
from tutelage.training.loop import Loop
from tutelage.training.notices import warn_few_steps, warn_returned
from tutelage.training.settings import Settings
from tutelage.training.setup import make_setup
from tutelage.training.state import RunState

_MOST_SHOWN = 6


@dataclass(frozen=True, repr=False)
class Run:
    """A trained student and the record of its training.

    Args:
        student: The module that was given, trained, in eval mode: with the weights of the best
            validation epoch where there is validation, else of the last.
        history: One record for each epoch: `epoch`, `step`, `lr` if the optimizer has one,
            `seconds`, and the means `train/loss`, `train/<term>` and `val/<metric>`.
        best_epoch: The epoch whose weights the student has.
        settings: What identifies the run, as in `run.json`.
        out: The folder of the run, if it has one.
        objective: The loss, as the run left it.
        teacher: The teacher; None for a run without one.
        val: The validation data that was given.
        class_names: Of the outputs, for the report; empty for numbers.
    """

    student: nn.Module
    history: list[dict[str, Any]]
    best_epoch: int
    settings: dict[str, Any]
    objective: Objective
    out: Path | None = None
    teacher: Teacher | None = None
    val: object | None = None
    class_names: tuple[str, ...] = ()

    def __str__(self) -> str:
        """The student, how long it was trained, and the metrics of its best epoch."""
        best = next(each for each in self.history if each["epoch"] == self.best_epoch)
        shown = {key: each for key, each in best.items() if key.startswith(("train/loss", "val/"))}
        metrics = ", ".join(f"{key} {each:.4g}" for key, each in list(shown.items())[:_MOST_SHOWN])
        where = "" if self.out is None else f"; in {self.out}"
        epochs = "1 epoch" if len(self.history) == 1 else f"{len(self.history)} epochs"
        return (
            f"Run of {type(unwrapped(self.student)).__name__}: {epochs}, best {self.best_epoch} "
            f"({metrics}){where}"
        )

    __repr__ = __str__

    def report(self, path: str | Path | None = None) -> Path:
        """Write one self-contained HTML report: verdict, metrics, settings; return its path.

        The same as Markdown and all of its numbers as JSON are written beside it.

        Args:
            path: Where, ending in `.html`; None for `report.html` in the run's folder, or here if
                it has none.

        Raises:
            ArgumentError: The path ends otherwise, or other files would be overwritten.
            RunFolderError: A file cannot be written.
        """
        from tutelage.reports.page import check_path  # noqa: PLC0415
        from tutelage.reports.report import report_record  # noqa: PLC0415 - loads matplotlib
        from tutelage.training.record import record_of  # noqa: PLC0415

        folder = Path() if self.out is None else self.out
        page = folder / "report.html" if path is None else Path(path)
        check_path(page)
        return report_record(record_of(self), page)


def train_run(
    models: tuple[nn.Module, AnyTeacher | None],
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
    student, teacher = models[0], None if models[1] is None else as_teacher(models[1])
    in_stages = as_given is not None
    if as_given is None:
        [objective] = own_copies([objective], student, teacher)
        as_given = declared(objective, trained=False) if settings.out is not None else None
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
        warn_few_steps(None if in_stages or state.step else setup.steps)
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

    What several objectives share stays shared, and a part of a model, such as its last layer, stays
    the model's and is not copied. An objective that was compiled in place is compiled in its copy
    too, with PyTorch's usual settings.
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
