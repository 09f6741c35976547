"""The training loop: epochs of steps, each of which can be the last before a kill."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from itertools import islice
from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, broadcast_object_list
from torch import Tensor

from tutelage.data import transformed
from tutelage.errors import DataError
from tutelage.objectives import with_feedback
from tutelage.signals import Batch
from tutelage.training.keeper import Keeper
from tutelage.training.plan import Plan
from tutelage.training.progress import ProgressBar
from tutelage.training.stepper import Stepper
from tutelage.training.validation import Validation

STEPS_BETWEEN_READS = 16
"""Steps after which losses are read from the device, checked and logged."""


class Loop:
    """Carries out a plan from a position to its end.

    Args:
        plan: What to do.
        accelerator: On what.
        keeper: Knows where the run stands; writes log, checkpoints and best students.
    """

    def __init__(self, plan: Plan, accelerator: Accelerator, keeper: Keeper) -> None:
        self.plan, self.accelerator, self.keeper = plan, accelerator, keeper
        self.position, self.watch, self.settings = keeper.position, keeper.watch, plan.settings
        if not plan.distiller.objective.wants.student.output:
            # What lies behind the last layer that is wanted does not run and gets no gradient.
            unused: Any = DistributedDataParallelKwargs(find_unused_parameters=True)
            accelerator.ddp_handler = unused
        self.model = accelerator.prepare(plan.distiller)
        parameters = [each for each in plan.distiller.parameters() if each.requires_grad]
        clip_norm = plan.settings.engine.clip_norm
        self.stepper = Stepper(accelerator, plan.optimizer, parameters, clip_norm)
        self._per_epoch = plan.train.batches_per_epoch()

    def run(self, bar: ProgressBar) -> None:
        """Train until the last epoch, or until patience runs out."""
        while self.position.epoch < self.settings.epochs and not self.keeper.best.exhausted:
            self._epoch(bar)
        self.keeper.finished = True
        self.keeper.checkpoint()

    def _epoch(self, bar: ProgressBar) -> None:
        position, began = self.position, time.monotonic() - self.position.seconds
        self.model.train()
        batches = self.plan.train.epoch(position.epoch, position.batch)
        for group in _groups(batches, self.settings.engine.accumulation):
            self._step(group)
            position.batch += len(group)
            position.step += 1
            position.seconds = time.monotonic() - began
            if position.step % STEPS_BETWEEN_READS == 0:
                self._read()
                bar.say(self.watch.means())
            self.keeper.checkpoint_if_due(self._read)
            bar.show(position.epoch + self._within_epoch())
        if position.batch == 0:
            raise DataError(
                f"`train` must yield at least one batch in each epoch, got none in epoch "
                f"{position.epoch + 1}; fill its data set, or set drop_last=False"
            )
        self._read()
        self._close_epoch(began)

    def _step(self, group: list[Batch]) -> None:
        """Take one optimiser step on the examples of all batches of the group."""
        progress = (self.position.epoch + self._within_epoch()) / self.settings.epochs
        group = [self._shown(batch.to(self.accelerator.device, progress)) for batch in group]
        counts, examples = self._counts(group)
        used: tuple[int | Tensor, ...] = ()
        for place, batch in enumerate(group):
            last = place == len(group) - 1
            with nullcontext() if last else self.accelerator.no_sync(self.model):
                used = self._add_gradient(batch, counts)
        self.watch.close_step(self.position.step + 1, examples, used)
        taken = self.stepper.step()
        if taken and self.plan.scheduler is not None:
            self.plan.scheduler.step()

    def _shown(self, batch: Batch) -> Batch:
        """Return what both sides see of a batch."""
        with torch.no_grad():
            return transformed(batch, self.settings.transform)

    def _add_gradient(self, batch: Batch, counts: Tensor | None) -> tuple[int | Tensor, ...]:
        """Add a batch's gradient to what the parameters hold; return what divided its parts.

        The batch's graph ends with this call.
        """
        losses = self.model(batch, counts)
        # Gradients are averaged over processes; the counts have divided already.
        several = self.accelerator.num_processes
        self.stepper.backward(losses.total * several if several > 1 else losses.total)
        self.watch.add(losses)
        return losses.counts

    def _counts(self, group: list[Batch]) -> tuple[Tensor | None, int | Tensor]:
        """Return by how many examples to divide each term, and how many the step has.

        A batch that is the whole step divides by its own: None.
        """
        if len(group) == 1 and self.accelerator.num_processes == 1:
            return None, len(group[0])
        examples = sum(len(batch) / batch.copies for batch in group)
        counts = torch.stack([self.plan.distiller.counts(batch) for batch in group]).sum(dim=0)
        ours = torch.cat([counts, counts.new_tensor([examples])]).to(self.accelerator.device)
        total = cast("Tensor", self.accelerator.reduce(ours))
        return total[:-1], total[-1]

    def _read(self) -> None:
        """Read the losses since the last time, refuse what is no number, log the rest."""
        means = self.watch.read()
        if means:
            self.keeper.log_steps(means)

    def _within_epoch(self) -> float:
        return self.position.batch / self._per_epoch if self._per_epoch else 0.0

    def _validate(self, validation: Validation, progress: float) -> dict[str, float]:
        """Return the figures of the main process, whose buffers (batch norm's) all have now."""
        several = self.accelerator.num_processes > 1
        if several:
            for buffer in self.plan.distiller.buffers():
                torch.distributed.broadcast(buffer, 0)
        figures = validation.figures(self.plan.distiller, self.accelerator.device, progress)
        return broadcast_object_list([figures])[0] if several else figures

    def _close_epoch(self, began: float) -> None:
        """Validate, record, and keep the student if it is the best so far."""
        position = self.position
        if position.epoch == 0:  # later ones see the same examples
            self.plan.distiller.check_learned(self.watch.weights[1:])
        figures: dict[str, float] = {}
        if self.plan.validation is not None:
            progress = min((position.epoch + 1) / self.settings.epochs, 1.0)
            figures = self._validate(self.plan.validation, progress)
            for each in with_feedback(self.plan.distiller.objective):
                each.update(figures)
        position.seconds = time.monotonic() - began
        record: dict[str, Any] = {"epoch": position.epoch + 1, "step": position.step}
        record |= {"lr": self.plan.optimizer.param_groups[0]["lr"], "seconds": position.seconds}
        record |= {f"train/{name}": value for name, value in self.watch.means().items()}
        record |= {f"val/{name}": value for name, value in figures.items()}
        self.watch.clear()
        position.epoch, position.batch = position.epoch + 1, 0
        self.keeper.close_epoch(record, figures)


def _groups(batches: Iterable[Batch], size: int) -> Iterator[list[Batch]]:
    iterator = iter(batches)
    while group := list(islice(iterator, size)):
        yield group
