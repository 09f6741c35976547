"""What a run leaves behind while it goes on: log lines, checkpoints, the best student."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from torch import nn

from tutelage.data import randomness
from tutelage.training import checkpoint
from tutelage.training.folder import RunFolder
from tutelage.training.journal import Journal
from tutelage.training.monitor import Best
from tutelage.training.plan import Plan
from tutelage.training.position import Position
from tutelage.training.student_file import load_student, save_student
from tutelage.training.watch import LossWatch

_SHARE_OF_TIME = 0.05
_STEPS_BETWEEN_VOTES = 16


class Keeper:
    """Keeps a run's state, so that nothing already computed is lost.

    Args:
        plan: The run's parts, whose state is kept.
        accelerator: On what it runs; only its main process writes.
        folder: Where to write; None for memory only (then a killed run is lost).
    """

    def __init__(self, plan: Plan, accelerator: Accelerator, folder: RunFolder | None) -> None:
        self.plan, self.accelerator, self.folder = plan, accelerator, folder
        self.position, self.best = Position(), Best(plan.settings.monitor)
        names = [term.name for term in plan.distiller.objective.terms()]
        self.watch = LossWatch(names, _total(accelerator))
        self.finished = False
        self._seconds = plan.settings.engine.checkpoint_seconds
        self._main = accelerator.is_main_process
        self._journal = Journal(None)
        self._in_memory: dict[str, Any] | None = None
        self._next = time.monotonic() + self._seconds

    def resume(self) -> None:
        """Take up the last checkpoint, if there is one."""
        kept = None if self.folder is None else checkpoint.load(self.folder.last)
        if kept is not None:
            self._load(kept)
        if self.folder is not None and self._main:
            self._journal = Journal(self.folder.log, 0 if kept is None else kept["log_bytes"])
        if kept is None:
            self.checkpoint()  # the first weights, so that a run begun twice begins alike

    def log_steps(self, means: dict[str, float]) -> None:
        """Log the mean losses of the last steps."""
        record: dict[str, Any] = {"kind": "steps", "step": self.position.step} | means
        self._journal.write(record)

    def close_epoch(self, record: dict[str, Any], figures: dict[str, float]) -> None:
        """Log an epoch and keep its student if it is the best so far."""
        self.position.history.append(record)
        self._journal.write({"kind": "epoch"} | record)
        self.accelerator.log(
            {key: value for key, value in record.items() if key != "epoch"}, self.position.step
        )
        if figures and self.best.improves(record["epoch"], figures):
            checkpoint.refuse_non_finite(self.plan.distiller.student, self.position.step)
            self._keep_student(record["epoch"])

    def checkpoint_if_due(self, before: Callable[[], None]) -> None:
        """Write a checkpoint if it is time to; `before` reads the losses and refuses NaN."""
        if self.folder is not None and self._due():
            before()
            self.checkpoint()

    def checkpoint(self) -> None:
        """Write a checkpoint now."""
        if self.folder is None:
            return
        began = time.monotonic()
        checkpoint.refuse_non_finite(self.plan.distiller, self.position.step)
        content = self._state()
        if self._main:
            checkpoint.save(self.folder.last, content)
            self.folder.keep_only(self._best_file())
        took = time.monotonic() - began
        self._next = time.monotonic() + max(self._seconds, took / _SHARE_OF_TIME)

    def finish(self) -> int:
        """Give the student the weights that are to be kept; return their epoch."""
        student = self.plan.distiller.student
        self.accelerator.wait_for_everyone()
        best = self._best_file()
        if best is not None:
            load_student(student, best)
        elif self._in_memory is not None:
            student.load_state_dict(self._in_memory)
        if self.folder is not None and self._main:
            save_student(student, self.folder.student)
        self.accelerator.wait_for_everyone()
        return self.best.epoch or self.position.epoch

    def close(self) -> None:
        """Close the log."""
        self._journal.close()

    def _due(self) -> bool:
        if self._seconds == 0:
            return True
        if self.accelerator.num_processes == 1:
            return time.monotonic() >= self._next
        if self.position.step % _STEPS_BETWEEN_VOTES:
            return False
        # Clocks differ, and all must write together: the main process decides.
        return broadcast_object_list([time.monotonic() >= self._next])[0]

    def _best_file(self) -> Path | None:
        if self.folder is None or self.best.epoch is None:
            return None
        return self.folder.best(self.best.epoch)

    def _keep_student(self, epoch: int) -> None:
        student: nn.Module = self.plan.distiller.student
        if self.folder is None:
            self._in_memory = copy.deepcopy(student.state_dict())
        elif self._main:
            save_student(student, self.folder.best(epoch))

    def _state(self) -> dict[str, Any]:
        scheduler, scaler = self.plan.scheduler, self.accelerator.scaler
        return {
            "finished": self.finished,
            "position": self.position.state(),
            "watch": self.watch.state(),
            "best": self.best.state(),
            "distiller": self.plan.distiller.state_dict(),
            "optimizer": self.plan.optimizer.state_dict(),
            "scheduler": None if scheduler is None else scheduler.state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),
            "source": self.plan.train.state(),
            "random": gather_object([randomness.capture()]),
            "log_bytes": self._journal.length(),
        }

    def _load(self, kept: dict[str, Any]) -> None:
        self.finished = kept["finished"]
        self.position.load(kept["position"])
        self.watch.load(kept["watch"])
        self.best.load(kept["best"])
        self.plan.distiller.load_state_dict(kept["distiller"])
        self.plan.optimizer.load_state_dict(kept["optimizer"])
        if self.plan.scheduler is not None:
            self.plan.scheduler.load_state_dict(kept["scheduler"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(kept["scaler"])
        self.plan.train.load(kept["source"])
        randomness.restore(kept["random"][self.accelerator.process_index])


def _total(accelerator: Accelerator) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return what sums a tensor over all processes; with one there is nothing to add."""
    if accelerator.num_processes == 1:
        return lambda tensor: tensor
    return lambda tensor: cast("torch.Tensor", accelerator.reduce(tensor))
