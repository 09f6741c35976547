"""The training loop: epochs of steps, each of which can be the last before a kill."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import islice
from typing import Any, NoReturn, cast

import torch
from accelerate import Accelerator
from accelerate.utils import (
    DistributedDataParallelKwargs,
    DistributedType,
    broadcast_object_list,
)
from torch import Tensor

from tutelage.data import transformed
from tutelage.errors import ArgumentError, DataError, TutelageError, in_short
from tutelage.evaluation import evaluate
from tutelage.objectives import with_feedback
from tutelage.signals import Batch
from tutelage.training.checkpointer import Checkpointer
from tutelage.training.parts import ByPart, scaled_rates
from tutelage.training.progress import TrainingBar
from tutelage.training.state import RunningLosses

STEPS_BETWEEN_READS = 16
"""Steps after which losses are read from the device, checked and logged."""

_PLAIN = (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU)


class Loop:
    """Trains from the state where a run stands to its end.

    Args:
        accelerator: Device, precision and processes.
        checkpointer: Has the setup and the state of the run.
        losses: Of the present epoch.
    """

    def __init__(
        self, accelerator: Accelerator, checkpointer: Checkpointer, losses: RunningLosses
    ) -> None:
        self.accelerator, self.checkpointer = accelerator, checkpointer
        self.setup, self.state = checkpointer.setup, checkpointer.state
        self.losses = losses
        self.settings, self.distiller = self.setup.settings, self.setup.distiller
        self._parameters = [each for each in self.distiller.parameters() if each.requires_grad]
        self._batches_per_epoch = self.setup.train.batches_per_epoch()
        self._by_part = isinstance(self.settings.optimizer, ByPart)
        self._several = accelerator.num_processes > 1
        if not self.distiller.objective.wants.student.output:
            # What lies behind the last layer that is wanted does not run and gets no gradient.
            unused: Any = DistributedDataParallelKwargs(find_unused_parameters=True)
            accelerator.ddp_handler = unused
        self.model = accelerator.prepare(self.distiller)
        # Accelerate's optimizer looks on the disk for an optional package at every step, a quarter
        # of the step of a small network; so it is used only where it does something.
        plain = accelerator.scaler is None and accelerator.distributed_type in _PLAIN
        self._wrapped = None if plain else accelerator.prepare(self.setup.optimizer)

    def run(self, bar: TrainingBar) -> None:
        """Train until the last epoch, or until patience runs out."""
        while not self.state.finished(self.settings.epochs):
            began = time.monotonic() - self.state.seconds
            self._train_epoch(began, bar)
            self._end_epoch(began)
        self.checkpointer.save()

    def _train_epoch(self, began: float, bar: TrainingBar) -> None:
        state = self.state
        self.model.train()
        for group in self._groups():
            self._step(group)
            state.batch += len(group)
            state.step += 1
            state.seconds = time.monotonic() - began
            due = self.checkpointer.due()
            if due or state.step % STEPS_BETWEEN_READS == 0:
                self._read_losses()
                bar.show_epoch(self._epochs_done(), self.losses.means())
            if due:
                self.checkpointer.save()
        if state.batch == 0:
            raise DataError(
                f"`train` must yield at least one batch in each epoch, got none in epoch "
                f"{state.epoch + 1}; fill its data set, or set drop_last=False"
            )
        self._read_losses()
        if state.epoch == 0:  # later epochs have the same examples
            self.distiller.check_learned(state.loss_counts[1:])

    def _groups(self) -> Iterator[list[Batch]]:
        """Yield the batches of each step to the end of the epoch."""
        state = self.state
        batches = self.setup.train.epoch(state.epoch, state.batch)
        try:
            while group := list(islice(batches, self.settings.engine.accumulation)):
                yield group
        except Exception as error:
            where = f"in epoch {state.epoch + 1} after batch {state.batch}"
            if isinstance(error, TutelageError):
                error.add_note(f"(raised {where})")
                raise
            raise DataError(
                f"`train` must yield all batches of an epoch, got {in_short(error)} {where}; see "
                "the error above, its cause"
            ) from error

    def _step(self, group: list[Batch]) -> None:
        """Take one optimizer step on the examples of all batches of the group."""
        progress = self._epochs_done() / self.settings.epochs
        group = [batch.to(self.accelerator.device, progress) for batch in group]
        if self.settings.transform is not None:
            group = [self._transformed(batch) for batch in group]
        step_counts: Tensor | None = None  # of a batch that is the whole step: its own
        examples: int | Tensor = len(group[0])
        if self._several or len(group) > 1:
            step_counts, examples = self._counts(group)
        counts: tuple[int | Tensor, ...] = ()
        for number, batch in enumerate(group, 1):
            last = number == len(group)
            with nullcontext() if last else self.accelerator.no_sync(self.model):
                counts = self._add_gradient(batch, step_counts)
        self.losses.end_step(self.state.step + 1, examples, counts)
        self._update_weights()

    def _add_gradient(self, batch: Batch, step_counts: Tensor | None) -> tuple[int | Tensor, ...]:
        """Add a batch's gradient; return by how many examples each loss term was divided.

        The batch's graph ends with this call.
        """
        losses = self.model(batch, step_counts)
        # Gradients are averaged over processes; the counts have divided already.
        loss = losses.total * self.accelerator.num_processes if self._several else losses.total
        if self._wrapped is None:
            loss.backward()
        else:
            self.accelerator.backward(loss)
        self.losses.add(losses)
        return losses.counts

    def _update_weights(self) -> None:
        optimizer, scheduler = self._wrapped or self.setup.optimizer, self.setup.scheduler
        step, clip_norm = self.state.step + 1, self.settings.engine.clip_norm
        if clip_norm is not None:
            self.accelerator.clip_grad_norm_(self._parameters, clip_norm)
        try:
            with scaled_rates(self.setup.optimizer) if self._by_part else nullcontext():
                optimizer.step()
        except Exception as error:  # noqa: BLE001 - other people's optimizers may raise anything
            _refuse_step("`optimizer`", self.setup.optimizer, step, error)
        for each in self._parameters:  # as zero_grad does, without its entry in the profiler
            each.grad = None
        # With float16 a step whose gradient overflows is skipped and the scale lowered.
        skipped = self._wrapped is not None and self._wrapped.step_was_skipped
        if scheduler is not None and not skipped:
            try:
                scheduler.step()
            except Exception as error:  # noqa: BLE001
                _refuse_step("`scheduler`", scheduler, step, error)

    def _transformed(self, batch: Batch) -> Batch:
        try:
            with torch.no_grad():
                return transformed(batch, self.settings.transform)
        except Exception as error:  # noqa: BLE001 - as above
            _refuse_step("`transform`", self.settings.transform, self.state.step + 1, error)

    def _counts(self, group: list[Batch]) -> tuple[Tensor, Tensor]:
        """Return by how many examples to divide each term, and how many the step has."""
        examples = sum(len(batch) / batch.copies for batch in group)
        counts = torch.stack([self.distiller.counts(batch) for batch in group]).sum(dim=0)
        ours = torch.cat([counts, counts.new_tensor([examples])]).to(self.accelerator.device)
        total = cast("Tensor", self.accelerator.reduce(ours))
        return total[:-1], total[-1]

    def _read_losses(self) -> None:
        """Read the losses since the last time, refuse non-finite ones, log the rest."""
        means = self.losses.read()
        if means:
            record: dict[str, Any] = {"kind": "steps", "step": self.state.step}
            self.checkpointer.log.write(record | means)

    def _epochs_done(self) -> float:
        batches = self._batches_per_epoch
        return self.state.epoch + (self.state.batch / batches if batches else 0.0)

    def _end_epoch(self, began: float) -> None:
        """Validate, log, and keep the student if it is the best so far."""
        state = self.state
        metrics: dict[str, float] = {}
        if self.setup.val is not None:
            metrics = self._validate()
            for each in with_feedback(self.distiller.objective):
                each.update(metrics)
        state.seconds = time.monotonic() - began
        record: dict[str, Any] = {"epoch": state.epoch + 1, "step": state.step}
        record |= {"lr": self.setup.optimizer.param_groups[0]["lr"], "seconds": state.seconds}
        record |= {f"train/{name}": value for name, value in self.losses.means().items()}
        record |= {f"val/{name}": value for name, value in metrics.items()}
        self.losses.clear()
        state.epoch, state.batch = state.epoch + 1, 0
        state.history.append(record)
        self.checkpointer.log.write({"kind": "epoch"} | record)
        scalars = {key: value for key, value in record.items() if key != "epoch"}
        self.accelerator.log(scalars, state.step)
        if metrics and state.best.improves(state.epoch, metrics):
            self.checkpointer.keep_best(state.epoch)

    def _validate(self) -> dict[str, float]:
        """Return the metrics of the main process, whose buffers (batch norm's) all have now."""
        if self._several:
            for buffer in self.distiller.buffers():
                torch.distributed.broadcast(buffer, 0)
        objective = self.distiller.objective
        metrics = evaluate(
            self.distiller.student,
            self.setup.val_teacher if objective.wants.teacher else None,
            objective,
            cast("Any", self.setup.val),
            metrics=self.settings.metrics,
            device=self.accelerator.device,
        ).metrics
        return broadcast_object_list([metrics])[0] if self._several else metrics


def _refuse_step(what: str, of: object, step: int, error: Exception) -> NoReturn:
    """Raise an error that names the user's part that failed in a step.

    Raises:
        ArgumentError: Always, but for what is an error of ours or a full device, which stay.
    """
    if isinstance(error, (TutelageError, torch.OutOfMemoryError)):
        raise error
    raise ArgumentError(
        f"{what} must work in every step, got a {type(of).__name__} that fails in step {step} with "
        f"{in_short(error)}; see the error above, its cause"
    ) from error
