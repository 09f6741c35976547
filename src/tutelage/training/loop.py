"""The training loop: epochs of steps, each of which can be the last before a kill."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from typing import Any, NoReturn, cast

import torch
from accelerate import Accelerator
from accelerate.utils import (
    DistributedDataParallelKwargs,
    broadcast_object_list,
)
from torch import Tensor

from tutelage.data import Source, transformed
from tutelage.errors import ArgumentError, DataError, TutelageError, in_short
from tutelage.evaluation import evaluate
from tutelage.objectives import with_feedback
from tutelage.signals import Batch
from tutelage.training.checkpointer import Checkpointer
from tutelage.training.engine import PLAIN
from tutelage.training.parts import ByPart, scaled_rates
from tutelage.training.progress import TrainingBar
from tutelage.training.state import RunningLosses

STEPS_BETWEEN_READS = 16
"""Steps after which losses are read from the device, checked and logged."""


class Loop:
    """Trains from the state where a run stands to its end."""

    def __init__(self, accelerator: Accelerator, checkpointer: Checkpointer) -> None:
        self.accelerator, self.checkpointer = accelerator, checkpointer
        self.setup, self.state = checkpointer.setup, checkpointer.state
        self.settings, self.distiller = self.setup.settings, self.setup.distiller
        self._parameters = [each for each in self.distiller.parameters() if each.requires_grad]
        held = (each for group in self.setup.optimizer.param_groups for each in group["params"])
        # Those of the optimizer may be more, such as one that a function of the user's names.
        self._cleared = list(dict.fromkeys([*self._parameters, *held]))
        for each in self._cleared:  # what is left of a backward pass before the run
            each.grad = None
        self._several = accelerator.num_processes > 1
        names = [term.name for term in self.distiller.objective.terms()]
        reduce = accelerator.reduce if self._several else None
        self.losses = RunningLosses(names, self.state, reduce)
        self._rates: Callable[[], AbstractContextManager[None]] = nullcontext
        if isinstance(self.settings.optimizer, ByPart):
            self._rates = lambda: scaled_rates(self.setup.optimizer)
        if not self.distiller.objective.wants.student.output:
            # What lies behind the last layer that is wanted does not run and gets no gradient.
            unused: Any = DistributedDataParallelKwargs(find_unused_parameters=True)
            accelerator.ddp_handler = unused
        self.model = accelerator.prepare(self.distiller)
        # Accelerate's optimizer looks on the disk for an optional package at every step, a quarter
        # of the step of a small network; so it is used only where it does something.
        plain = accelerator.scaler is None and accelerator.distributed_type in PLAIN
        self._wrapped = None if plain else accelerator.prepare(self.setup.optimizer)

    def run(self) -> None:
        """Train until the last epoch, or until patience runs out."""
        epochs, shown = self.settings.epochs, self.accelerator.is_main_process
        if self.state.finished(epochs):
            return
        with TrainingBar(self.settings.engine.progress and shown, epochs) as bar:
            while not self.state.finished(epochs):
                began = time.monotonic() - self.state.seconds
                self._train_epoch(began, bar)
                self._end_epoch(began)
            self.checkpointer.save()

    def _train_epoch(self, began: float, bar: TrainingBar) -> None:
        state, batches = self.state, self.setup.train.batches_per_epoch()
        self.model.train()
        for group in self._groups():
            epochs_done = state.epoch + (state.batch / batches if batches else 0.0)
            state.batch += len(group)
            state.step += 1
            self._step(group, epochs_done / self.settings.epochs)
            state.seconds = time.monotonic() - began
            due = self.checkpointer.due()
            if due or state.step % STEPS_BETWEEN_READS == 0:
                self._read_losses()
                bar.show_epoch(epochs_done, self.losses.means())
            if due:
                self.checkpointer.save()
        if state.batch == 0:
            raise DataError(
                f"`train` must yield at least one batch in each epoch, got none in epoch "
                f"{state.epoch + 1}; fill its data set, or set drop_last=False"
            )
        self._read_losses()
        if state.epoch == 0 and self.setup.train.epochs_are_alike:
            self.distiller.check_learned(state.loss_counts[1:])

    def _groups(self) -> Iterator[list[Batch]]:
        """Yield the batches of each step to the end of the epoch."""
        state = self.state
        batches = self.setup.train.epoch(state.epoch, state.batch)
        try:
            while group := list(islice(batches, self.settings.engine.accumulation)):
                yield group
        except torch.OutOfMemoryError:  # of a student that writes
            raise
        except Exception as error:
            where = f"in epoch {state.epoch + 1} after batch {state.batch}"
            if isinstance(error, TutelageError):
                error.add_note(f"(raised {where})")
                raise
            raise DataError(
                f"`train` must yield all batches of an epoch, got {in_short(error)} {where}; see "
                "the error above, its cause"
            ) from error

    def _step(self, group: list[Batch], progress: float) -> None:
        """Take one optimizer step on the examples of all batches of the group."""
        for place, batch in enumerate(group):
            moved = batch.to(self.accelerator.device, progress)
            group[place] = moved if self.settings.transform is None else self._transformed(moved)
        step_counts: Tensor | None = None  # of a batch that is the whole step: its own
        examples: int | Tensor = len(group[0])
        if self._several or len(group) > 1:
            step_counts, examples = self._counts(group)
        for number, batch in enumerate(group, 1):
            last = number == len(group)
            with nullcontext() if last else self.accelerator.no_sync(self.model):
                losses = self.model(batch, step_counts)
                # Gradients are averaged over processes; the counts have divided already.
                total = losses.total
                if self._several:
                    total = total * self.accelerator.num_processes
                if self._wrapped is None:
                    total.backward()
                else:
                    self.accelerator.backward(total)
            self.losses.add(losses, self.state.step, examples)
            del losses, total  # with the graph, before another is made
        if self.state.step == 1:
            self._tell_untrained()
        self._update_weights()

    def _tell_untrained(self) -> None:
        """Log if most of a student whose output is used got no gradient in the first step."""
        student, wants = self.distiller.student, self.distiller.objective.wants.student
        if self._wrapped is not None or not (wants.output or wants.loss):
            return
        named = [pair for pair in student.named_parameters() if pair[1].requires_grad]
        without = [name for name, each in named if each.grad is None]
        sizes = {name: each.numel() for name, each in named}
        lacking = sum(sizes[name] for name in without)
        if 2 * lacking > sum(sizes.values()):
            logging.getLogger("tutelage").warning(
                "Of %d parameters of the student that are to be trained, %d got no gradient in "
                "the first step, such as those of %r: its forward pass leaves them out, or runs "
                "them under torch.no_grad or detached. Freeze them if they are to stay as they "
                "are.",
                sum(sizes.values()), lacking, without[0],
            )  # fmt: skip

    def _update_weights(self) -> None:
        optimizer, scheduler = self._wrapped or self.setup.optimizer, self.setup.scheduler
        clip_norm = self.settings.engine.clip_norm
        if clip_norm is not None:
            self.accelerator.clip_grad_norm_(self._parameters, clip_norm)
        try:
            with self._rates():
                optimizer.step()
        except Exception as error:  # noqa: BLE001 - other people's optimizers may raise anything
            self._refuse("`optimizer`", self.setup.optimizer, error)
        for each in self._cleared:  # as zero_grad does, without its entry in the profiler
            each.grad = None
        # With float16 a step whose gradient overflows is skipped and the scale lowered.
        skipped = self._wrapped is not None and self._wrapped.step_was_skipped
        if scheduler is not None and not skipped:
            try:
                scheduler.step()
            except Exception as error:  # noqa: BLE001
                self._refuse("`scheduler`", scheduler, error)

    def _transformed(self, batch: Batch) -> Batch:
        try:
            with torch.no_grad():
                return transformed(batch, self.settings.transform)
        except Exception as error:  # noqa: BLE001 - as above
            self._refuse("`transform`", self.settings.transform, error)

    def _refuse(self, what: str, of: object, error: Exception) -> NoReturn:
        """Raise an error that names the user's part that failed; errors of ours stay."""
        if isinstance(error, (TutelageError, torch.OutOfMemoryError)):
            raise error
        raise ArgumentError(
            f"{what} must work in every step, got a {type(of).__name__} that fails in step "
            f"{self.state.step} with {in_short(error)}; see the error above, its cause"
        ) from error

    def _counts(self, group: list[Batch]) -> tuple[Tensor, Tensor]:
        """Return by how many examples to divide each term, and how many the step has."""
        examples = sum(len(batch) / batch.replicas for batch in group)
        counts = torch.stack([self.distiller.counts(batch) for batch in group]).sum(dim=0)
        ours = torch.cat([counts, counts.new_tensor([examples])]).to(self.accelerator.device)
        total = cast("Tensor", self.accelerator.reduce(ours))
        return total[:-1], total[-1]

    def _read_losses(self) -> None:
        """Read the losses since the last time, refuse non-finite ones, log the rest."""
        means = self.losses.read()
        if means:
            self.checkpointer.log({"kind": "steps", "step": self.state.step} | means)

    def _end_epoch(self, began: float) -> None:
        """Validate, log, and keep the student if it is the best so far."""
        state = self.state
        metrics = {} if self.setup.val is None else self._validate(self.setup.val)
        state.seconds = time.monotonic() - began
        record: dict[str, Any] = {"epoch": state.epoch + 1, "step": state.step}
        rate = self.setup.optimizer.param_groups[0].get("lr")  # some have none, or a tensor
        record |= ({} if rate is None else {"lr": float(rate)}) | {"seconds": state.seconds}
        record |= self.setup.train.record()
        record |= {f"train/{name}": value for name, value in self.losses.means().items()}
        record |= {f"val/{name}": value for name, value in metrics.items()}
        self.losses.clear()
        state.epoch, state.batch = state.epoch + 1, 0
        state.history.append(record)
        self.checkpointer.log({"kind": "epoch"} | record)
        scalars = {key: value for key, value in record.items() if key != "epoch"}
        self.accelerator.log(scalars, state.step)
        if metrics and state.is_best(metrics):
            self.checkpointer.keep_best()

    def _validate(self, val: Source) -> dict[str, float]:
        """Return the metrics of the main process, whose buffers (batch norm's) all have now."""
        if self._several:
            for buffer in self.distiller.buffers():
                torch.distributed.broadcast(buffer, 0)
        objective = self.distiller.objective
        metrics = evaluate(
            self.distiller.student,
            self.setup.val_teacher if objective.wants.teacher else None,
            objective,
            val,
            metrics=self.settings.metrics,
            device=self.accelerator.device,
            chunk_logits_from=self.settings.engine.chunk_logits_from,
        ).metrics
        if self._several:
            [metrics] = broadcast_object_list([metrics])
        for each in with_feedback(objective):
            each.update(metrics)
        return metrics
