"""A teacher's outputs for a data set, in its order, some blocks at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import torch
from accelerate import Accelerator
from torch.utils.data import Subset

from tutelage.data import as_source
from tutelage.errors import ArgumentError, DataError
from tutelage.nested import describe
from tutelage.signals import Batch, CoarseLogits, Signals
from tutelage.store import Field, Layout, Settings
from tutelage.store.layout import Span
from tutelage.teachers import Teacher

_BLOCKS_AT_ONCE = 16


class Answers:
    """A teacher in front of a data set.

    Args:
        teacher: Ready on the device.
        dataset: With a length.
        settings: What is to be stored.
        accelerator: Device, precision, and the number of processes.
    """

    def __init__(
        self, teacher: Teacher, dataset: Any, settings: Settings, accelerator: Accelerator
    ) -> None:
        self.teacher, self.dataset = teacher, dataset
        self.settings, self.accelerator = settings, accelerator
        self._first: Signals | None = None

    def blocks(self, span: Span, layout: Layout) -> Iterator[tuple[int, Iterator[Signals]]]:
        """Yield neighbouring blocks of one view, each with the teacher's outputs for its rows.

        Those of one block must be read before the next.
        """
        for first in range(span.start, span.stop, _BLOCKS_AT_ONCE):
            numbers = range(first, min(first + _BLOCKS_AT_ONCE, span.stop))
            view, begin = layout.view_of(numbers[0])
            _, end = layout.view_of(numbers[-1])
            outputs = self._outputs(range(begin.start, end.stop), view)
            for number in numbers:
                batches = -(-len(layout.block(number)) // self.settings.batch_size)
                yield number, islice(outputs, batches)

    def fields(self) -> tuple[Field, ...]:
        """Run the teacher on a first batch, and return what is to be stored of each example.

        Its outputs are kept for `blocks`, so that the teacher does not run twice.

        Raises:
            ArgumentError: `top_k` is more than there are classes, or the output has no classes.
        """
        signals = next(self._outputs(range(min(self.settings.batch_size, len(self.dataset)))))
        self._first = signals
        found = [] if signals.output is None else [self._output(signals.output)]
        for place in self.settings.features:
            shape = tuple(signals.features[place].shape[1:])
            dtype = self.settings.dtype
            found.append(Field(name=place, form="dense", dtype=dtype, shape=shape))
        return tuple(found)

    def _output(self, output: torch.Tensor | CoarseLogits) -> Field:
        top_k, dtype = self.settings.top_k, self.settings.dtype
        if self.settings.sampled_classes is not None:
            return self._drawn(output, self.settings.sampled_classes)
        if isinstance(output, CoarseLogits):
            shape = (top_k or output.ids.shape[1],)
            return Field(name="output", form="coarse", dtype=dtype, shape=shape)
        if top_k is None:
            shape = tuple(output.shape[1:])
            return Field(name="output", form="dense", dtype=dtype, shape=shape)
        classes = output.shape[1]
        if output.ndim != 2 or top_k > classes:  # noqa: PLR2004
            raise ArgumentError(
                f"`top_k` must be at most the number of classes, got {top_k} with an output "
                f"{describe(output)}; lower it, or leave it out to keep all"
            )
        return Field(name="output", form="coarse", dtype=dtype, shape=(top_k,), classes=classes)

    def _drawn(self, output: torch.Tensor | CoarseLogits, sampled_classes: int) -> Field:
        if isinstance(output, CoarseLogits) or output.ndim != 2:  # noqa: PLR2004
            shown = "CoarseLogits" if isinstance(output, CoarseLogits) else describe(output)
            raise ArgumentError(
                "`sampled_classes` is for an output of all classes [batch, classes], got a teacher "
                f"that returns {shown}; leave it out, or give `top_k`"
            )
        return Field(
            name="output",
            form="sampled",
            dtype=self.settings.dtype,
            shape=(sampled_classes,),
            classes=output.shape[1],
            temperature=self.settings.temperature,
        )

    def _outputs(self, places: range, view: int = 0) -> Iterator[Signals]:
        """Yield the outputs for a range of examples under a view, batch by batch."""
        # A part of the data at a time: the order of all of it would take much memory.
        part = Subset(self.dataset, places)  # pyright: ignore[reportArgumentType]
        source = as_source("dataset", part, self.settings.batch_size, shuffle=False)
        done, skipped = places.start, 0
        if self._first is not None and places.start == 0 and view == 0:
            first, self._first = self._first, None
            done, skipped = min(self.settings.batch_size, len(places)), 1
            yield first
        for raw in source.epoch(view, skipped):
            index = torch.arange(done, done + len(raw))  # in all of the data, not in the part
            _check_index(raw, index, places.start)
            batch = replace(raw, index=index).to(self.accelerator.device)
            with torch.inference_mode(), self.accelerator.autocast():
                signals = self.teacher.signals(batch, self.settings.fields)
            _check_rows(signals, batch, done)
            done += len(batch)
            yield signals


def _check_index(batch: Batch, index: torch.Tensor, start: int) -> None:
    """Refuse data with an `index` of its own: training would use that."""
    found = batch.index
    if found is None or torch.equal(found, index - start) or torch.equal(found, index):
        return
    raise DataError(
        "the `index` of an example must be its position in the data set, got data whose examples "
        f"from {int(index[0])} on say {found[:4].tolist()}; leave `index` out of what it yields, "
        "or rename it"
    )


def _check_rows(signals: Signals, batch: Batch, done: int) -> None:
    """Refuse outputs that are not one for each example."""
    said = {"output": signals.output, **signals.features}
    for name, each in said.items():
        if each is not None and len(each) != len(batch):
            raise DataError(
                f"the teacher must return one {name!r} for each example, got {len(each)} for the "
                f"{len(batch)} from example {done} on; give inputs whose first dimension is "
                "the batch"
            )
