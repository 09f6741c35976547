"""The training loop: epochs of steps, each of which can be the last before a kill."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from itertools import islice
from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, broadcast_object_list, gather_object
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from tutelage.data import Source, as_source, randomness, transformed
from tutelage.errors import ArgumentError, DataError, TutelageError
from tutelage.evaluation import evaluate
from tutelage.evaluation.evaluate import Evaluation
from tutelage.objectives import Objective, with_feedback
from tutelage.signals import Batch
from tutelage.tasks import Outputs, with_companions
from tutelage.tasks.metrics import Metric
from tutelage.training.checkpointer import Checkpointer
from tutelage.training.engine import PLAIN
from tutelage.training.monitor import no_such_metric
from tutelage.training.notices import (
    progress_bar,
    warn_certain_teacher,
    warn_few_examples,
    warn_missing_gradients,
)
from tutelage.training.parts import ByPart, scaled_rates
from tutelage.training.settings import Settings
from tutelage.training.state import RunningLosses

STEPS_BETWEEN_READS = 16
"""Steps after which losses are read from the device, checked and logged."""
_MOST_UNLABELLED = 32
"""So many batches without a label are read before training, in search of one with a label."""
_EPOCHS_OF_A_STREAM = 10
"""A run by `steps` on data without a length is logged and validated in so many equal parts."""


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
        self._clear_gradients()  # what is left of a backward pass before the run
        self._several = accelerator.num_processes > 1
        self._batches: Iterator[list[Batch]] | None = None  # of the present pass over the data
        self._part: int | None = None  # steps of an epoch that ends before the data does
        if self.settings.steps and self.setup.train.batches_per_epoch() is None:
            self._part = math.ceil(self.settings.steps / _EPOCHS_OF_A_STREAM)
        names = [term.name for term in self.distiller.objective.terms()]
        self.losses = RunningLosses(names, self.state, accelerator.reduce)
        # With DDP it is wrapped in the first step, which shows what it has to be told.
        self._ddp = self._several and accelerator.distributed_type in PLAIN
        self.model: Any = self.distiller if self._ddp else accelerator.prepare(self.distiller)
        if self._ddp:
            for each in (*self.distiller.parameters(), *self.distiller.buffers()):
                torch.distributed.broadcast(each.data, 0)
        # Accelerate's optimizer looks on the disk for an optional package at every step, a quarter
        # of the step of a small network; so it is used only where it does something.
        plain = accelerator.scaler is None and accelerator.distributed_type in PLAIN
        self._wrapped = None if plain else accelerator.prepare(self.setup.optimizer)

    def run(self, later: Sequence[tuple[Objective, Settings]] = ()) -> None:
        """Train until the last epoch or step, or until patience runs out.

        `later` are the objectives and settings of later stages, whose monitors are checked now.
        """
        state, settings = self.state, self.settings
        if state.finished(settings):
            return
        whole = self.accelerator.distributed_type in PLAIN  # others cannot run before a step
        if state.step == 0 and whole and self.setup.val is not None:
            self._validate_once(self.setup.val, [(self.distiller.objective, settings), *later])
        shown = settings.engine.progress and self.accelerator.is_main_process
        with progress_bar(shown, self.setup.steps) as show:
            while not state.finished(settings):
                began = time.monotonic() - state.seconds
                self._train_epoch(began, show)
                self._end_epoch(began)
            self.checkpointer.save()

    def _wrap(self, batch: Batch) -> None:
        """Let DDP average gradients, also where a part of what is trained gets none from a batch.

        It may lie behind the last layer that is wanted, or be the pooling layer of an encoder. DDP
        fails where it is not told of that, and warns where it is told for nothing. Buffers and
        random states are left as they were.
        """
        buffers = [each.clone() for each in self.distiller.buffers()]
        with randomness.preserved(), self.accelerator.autocast():
            self.distiller(batch).total.backward()
        unused = any(each.grad is None for each in self._parameters)
        self._clear_gradients()
        with torch.no_grad():
            for each, before in zip(self.distiller.buffers(), buffers, strict=True):
                each.copy_(before)
        told: Any = DistributedDataParallelKwargs(
            find_unused_parameters=any(gather_object([unused]))
        )
        self.accelerator.ddp_handler = told
        self.model = self.accelerator.prepare(self.distiller)

    def _clear_gradients(self) -> None:
        for each in self._cleared:  # as zero_grad does, without its entry in the profiler
            each.grad = None

    def _train_epoch(self, began: float, show: Callable[[int, str], None]) -> None:
        """Train to the end of the data, or of a part of it; see `_EPOCHS_OF_A_STREAM`."""
        state, settings = self.state, self.settings
        batches = self.setup.train.batches_per_epoch()
        ends = (settings.steps, self._part and self._part * (state.epoch + 1))
        end = min((step for step in ends if step is not None), default=None)
        self.model.train()
        while state.step != end:
            self._batches = self._batches or self._groups()
            group = next(self._batches, None)
            if group is None:
                if state.batch == 0:
                    raise DataError(
                        "`train` must yield at least one batch in each epoch, got none in epoch "
                        f"{state.passes + 1}; fill its data set, or set drop_last=False"
                    )
                self._batches, state.batch, state.passes = None, 0, state.passes + 1
                if self._part is None:
                    break
                continue
            if settings.epochs is None:
                progress = state.step / cast("int", settings.steps)
            else:
                part = state.batch / batches if batches else 0.0
                progress = (state.passes + part) / settings.epochs
            state.batch += len(group)
            state.step += 1
            self._step(group, progress)
            state.seconds = time.monotonic() - began
            due = self.checkpointer.due()
            if due or state.step % STEPS_BETWEEN_READS == 0:
                self._read_losses(show)
            if due:
                self.checkpointer.save()
        self._read_losses(show)
        whole = self._part is None and state.passes == 1 and state.batch == 0
        if whole and self.setup.train.epochs_are_alike:
            self.distiller.check_learned(state.loss_counts[1:])

    def _groups(self) -> Iterator[list[Batch]]:
        """Yield the batches of each step to the end of the data."""
        state = self.state
        batches = self.setup.train.epoch(state.passes, state.batch)
        try:
            while group := list(islice(batches, self.settings.engine.accumulation)):
                yield group
        except TutelageError as error:
            error.add_note(f"(raised in epoch {state.passes + 1} after batch {state.batch})")
            raise

    def _step(self, group: list[Batch], progress: float) -> None:
        """Take one optimizer step on the examples of all batches of the group."""
        with torch.no_grad():
            for place, batch in enumerate(group):
                moved = batch.to(self.accelerator.device, progress)
                transform = self.settings.transform
                group[place] = moved if transform is None else transformed(moved, transform)
        if self._ddp and self.model is self.distiller:
            self._wrap(group[0])
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
            if self.state.step == number == 1:
                warn_certain_teacher(self.distiller, losses)
            del losses, total  # with the graph, before another is made
        if self.state.step == 1 and self._wrapped is None:
            warn_missing_gradients(self.distiller)
        self._update_weights()

    def _update_weights(self) -> None:
        optimizer, scheduler = self._wrapped or self.setup.optimizer, self.setup.scheduler
        clip_norm = self.settings.engine.clip_norm
        if clip_norm is not None:
            self.accelerator.clip_grad_norm_(self._parameters, clip_norm)
        by_part = isinstance(self.settings.optimizer, ByPart)
        with scaled_rates(self.setup.optimizer) if by_part else nullcontext():
            optimizer.step()
        self._clear_gradients()
        # With float16 a step whose gradient overflows is skipped and the scale lowered.
        skipped = self._wrapped is not None and self._wrapped.step_was_skipped
        if scheduler is not None and not skipped and not isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step()

    def _counts(self, group: list[Batch]) -> tuple[Tensor, Tensor]:
        """Return by how many examples to divide each term, and how many the step has."""
        examples = sum(len(batch) / batch.replicas for batch in group)
        counts = torch.stack([self.distiller.counts(batch) for batch in group]).sum(dim=0)
        ours = torch.cat([counts, counts.new_tensor([examples])]).to(self.accelerator.device)
        total = cast("Tensor", self.accelerator.reduce(ours))
        return total[:-1], total[-1]

    def _read_losses(self, show: Callable[[int, str], None]) -> None:
        """Read the losses since the last time, refuse non-finite ones, log and show the rest."""
        means = self.losses.read()
        if means:
            self.checkpointer.log({"kind": "steps", "step": self.state.step} | means)
        losses = "  ".join(f"{name} {mean:.4g}" for name, mean in self.losses.means().items())
        show(self.state.step, f"epoch {self.state.epoch + 1}  {losses}")

    def _end_epoch(self, began: float) -> None:
        """Validate, log, and keep the student if it is the best so far."""
        state, metrics, examples = self.state, dict[str, float](), 0
        if self.setup.val is not None:
            metrics, examples = self._validate(self.setup.val)
        state.seconds = time.monotonic() - began
        record: dict[str, Any] = {"epoch": state.epoch + 1, "step": state.step}
        rate = self.setup.optimizer.param_groups[0].get("lr")  # some have none, or a tensor
        record |= ({} if rate is None else {"lr": float(rate)}) | {"seconds": state.seconds}
        record |= self.setup.train.record()
        record |= {f"train/{name}": value for name, value in self.losses.means().items()}
        record |= {f"val/{name}": value for name, value in metrics.items()}
        self.losses.clear()
        state.epoch += 1
        state.history.append(record)
        self.checkpointer.log({"kind": "epoch"} | record)
        scalars = {key: value for key, value in record.items() if key != "epoch"}
        self.accelerator.log(scalars, state.step)
        if metrics and state.is_best(metrics, examples):
            self.checkpointer.keep_best()
        if state.monitor is not None and state.epoch == 1:
            warn_few_examples(examples, metrics, state.monitor)
        if isinstance(self.setup.scheduler, ReduceLROnPlateau):
            self._step_plateau(self.setup.scheduler, metrics, record["train/loss"])

    def _step_plateau(
        self, scheduler: ReduceLROnPlateau, metrics: Mapping[str, float], train_loss: float
    ) -> None:
        """Step it by the monitored metric where its mode fits, else by the (validation) loss."""
        monitor, highest = self.state.monitor, scheduler.mode == "max"
        if monitor is not None and monitor.higher == highest:
            scheduler.step(metrics[monitor.name])
        elif not highest:
            scheduler.step(metrics.get("loss", train_loss))
        else:
            raise ArgumentError(
                "ReduceLROnPlateau(mode='max') needs a monitored metric of which higher values are "
                f"better, got {'none' if monitor is None else monitor.name}; name one, such as "
                "monitor='accuracy', or give mode='min'"
            )

    def _evaluate(
        self,
        objective: Objective,
        val: Source,
        metrics: Mapping[str, Metric],
        gather: Callable[[list[Any]], list[Any]] | None = None,
    ) -> Evaluation:
        """Evaluate the student with the precision that it is trained in."""
        return evaluate(
            self.distiller.student,
            self.setup.val_teacher if objective.wants.teacher else None,
            objective,
            val,
            metrics=metrics,
            device=self.accelerator.device,
            chunk_logits_from=self.settings.engine.chunk_logits_from,
            autocast=self.accelerator.autocast,
            gather=gather,
        )

    def _validate(self, val: Source) -> tuple[dict[str, float], int]:
        """Return the metrics, and over how many examples they are means.

        Each process evaluates its part of every batch, with the buffers (batch norm's) of the main
        one.
        """
        if self._several:
            for buffer in self.distiller.buffers():
                torch.distributed.broadcast(buffer, 0)
        objective = self.distiller.objective
        gather = _gathered if self._several else None
        found = self._evaluate(objective, val, self.settings.metrics, gather)
        [metrics] = broadcast_object_list([found.metrics])
        for each in with_feedback(objective):
            each.update(metrics)
        return metrics, _judged_examples(found.outputs)

    def _validate_once(self, val: Source, stages: Sequence[tuple[Objective, Settings]]) -> None:
        """Validate on one batch, and refuse a monitored metric that will not be there.

        It is the first batch with a label; of data without any it is the first one. Of several
        processes the main one validates, and all raise its error.

        Args:
            val: The validation data.
            stages: The objective and the settings of this run and of the stages after it.

        Raises:
            ArgumentError: The metric will not be there.
            TutelageError: The validation data or a model fails, as it would after the first epoch.
        """
        first: Batch | None = None
        read = 0

        def suits(batch: Batch | None) -> bool:
            nonlocal first, read
            first, read = batch if first is None else first, read + 1
            found = batch is None or not _is_unlabelled(batch) or read == _MOST_UNLABELLED
            return broadcast_object_list([found])[0]

        batch, refused = val.peek(suits), None
        if batch is None:
            batch = first
        elif _is_unlabelled(batch):
            batch = None  # which metrics later batches have is not known
        if batch is not None and self.accelerator.is_main_process:
            try:
                for objective, settings in stages:
                    self._check_metric(batch, objective, settings)
            except TutelageError as error:
                refused = error
        [refused] = broadcast_object_list([refused])
        if refused is not None:
            raise refused

    def _check_metric(self, batch: Batch, objective: Objective, settings: Settings) -> None:
        """Validate on a batch, and refuse a monitored metric that it does not give."""
        if not objective.built:
            return
        objective.to(self.accelerator.device)  # that of a later stage has parameters of its own
        found = self._evaluate(objective, as_source("val", [batch], 1), {}).metrics
        if settings.monitor is None:
            return
        name, _, domain = settings.monitor.name.partition("/")
        known = with_companions({each.partition("/")[0] for each in found}, objective)
        known |= {"loss"} if len(batch) == 1 else set()  # that of objectives that compare examples
        known |= (
            set(settings.metrics) if batch.labels is not None or "perplexity" in known else set()
        )
        parted = batch.domain is not None or any(each.startswith(f"{name}/") for each in found)
        if settings.monitor.name not in known and not (domain and parted and name in known):
            raise no_such_metric(settings.monitor.name, known)


def _is_unlabelled(batch: Batch) -> bool:
    """Tell whether a batch with labels has none that is known."""
    return isinstance(batch.labels, Tensor) and not bool(batch.labelled().any())


def _judged_examples(outputs: Outputs) -> int:
    """Return how many examples, or rows, validation metrics are means over."""
    known = outputs.known
    if known is not None and bool(known.any()):
        return int(known.sum())
    return outputs.examples if outputs.given is None else len(outputs.given)


def _gathered(own: list[tuple[float, Any]]) -> list[Any]:
    """Return the values of all processes, batch by batch, those of copied examples once."""
    every = gather_object([own])
    return [
        value
        for batch in zip(*every, strict=True)
        for rank, (replicas, value) in enumerate(batch)
        if replicas == 1 or (rank == 0 and math.isfinite(replicas))
    ]
