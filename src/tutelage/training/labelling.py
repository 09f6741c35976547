"""What `label` does: a teacher's outputs for a data set, and the store that they go to."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch.utils.data import Subset

from tutelage.data import as_source, views_in
from tutelage.errors import ArgumentError, DataError, StoreError
from tutelage.files import writing
from tutelage.identity import dataset_fingerprint
from tutelage.layers.language import next_tokens, shift_labels_for
from tutelage.nested import describe
from tutelage.positions import rows_of
from tutelage.results.summary import versions
from tutelage.signals import Batch, CoarseLogits, Signals
from tutelage.store import Data, Field, Layout, Manifest, Settings, Views
from tutelage.store.manifest import NAME, packed_numbers
from tutelage.teachers import Teacher, ask, ask_first

_BLOCKS_AT_ONCE = 16
_TOKENS = 3  # dimensions of [batch, tokens, classes]


class TeacherOutputs:
    """A teacher's outputs for a data set, in its order, some blocks at a time."""

    def __init__(
        self, teacher: Teacher, dataset: Any, settings: Settings, accelerator: Accelerator
    ) -> None:
        self.teacher, self.dataset = teacher, dataset
        self.settings, self.accelerator = settings, accelerator
        self._first: Signals | None = None

    def blocks(self, span: range, layout: Layout) -> Iterator[tuple[int, Iterator[Signals]]]:
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
        """
        signals = next(self._outputs(range(min(self.settings.batch_size, len(self.dataset)))))
        self._first = signals
        if signals.predictions is not None:
            _ = signals.targets  # which raises: detections cannot be stored
        found = [] if signals.output is None else [self._output(signals.targets)]
        if signals.rows is not None:
            positions = signals.rows.positions
            of_tokens = rows_of(next(self._batches(range(1))), _TOKENS)  # perhaps none of a text
            told = len(positions) == 1 and of_tokens is not None
            several = {"by_answer": True} if told else {"positions": positions}
            found = [each.model_copy(update=several) for each in found]
        for path in self.settings.features:
            shape = tuple(signals.features[path].shape[1:])
            dtype = self.settings.dtype
            found.append(Field(name=path, form="dense", dtype=dtype, shape=shape))
        return tuple(found)

    def answers(self, views: int) -> NDArray[np.int64]:
        """Read all data, without the teacher, and return how many answers each row will have."""
        counts = []
        for view in range(views):
            for batch in self._batches(range(len(self.dataset)), view):
                rows = rows_of(batch, _TOKENS)
                if rows is None:
                    raise DataError(
                        "all examples must tell which of their tokens have an answer, by labels or "
                        f"an attention mask, as the first ones do, got {describe(batch.inputs)}; "
                        "give these to every example"
                    )
                counts.append(rows.counts)
        return torch.cat(counts).numpy()

    def _output(self, output: torch.Tensor | CoarseLogits) -> Field:
        settings, dtype = self.settings, self.settings.dtype
        top_k, sampled = settings.top_k, settings.sampled_classes
        coarse = isinstance(output, CoarseLogits)
        if sampled is not None and (coarse or output.ndim != 2):  # noqa: PLR2004
            raise ArgumentError(
                "`sampled_classes` is for an output of all classes [batch, classes], got a teacher "
                f"that returns {'CoarseLogits' if coarse else describe(output)}; leave it out, or "
                "give `top_k`"
            )
        if coarse:
            shape = (top_k or output.ids.shape[1],)
            known = self.teacher.vocabulary or 0
            return Field(name="output", form="coarse", dtype=dtype, shape=shape, classes=known)
        if top_k is not None and (output.ndim != 2 or top_k > output.shape[1]):  # noqa: PLR2004
            raise ArgumentError(
                f"`top_k` must be at most the number of classes, got {top_k} with an output "
                f"{describe(output)}; lower it, or leave it out to keep all"
            )
        kept = sampled or top_k
        if kept is None:
            return Field(name="output", form="dense", dtype=dtype, shape=tuple(output.shape[1:]))
        return Field(
            name="output",
            form="coarse" if sampled is None else "sampled",
            dtype=dtype,
            shape=(kept,),
            classes=output.shape[1],
            temperature=settings.temperature,
        )

    def _outputs(self, positions: range, view: int = 0) -> Iterator[Signals]:
        """Yield the outputs for a range of examples under a view, batch by batch."""
        done, skipped = positions.start, 0
        if self._first is not None and positions.start == 0 and view == 0:
            first, self._first = self._first, None
            done, skipped = min(self.settings.batch_size, len(positions)), 1
            yield first
        for raw in self._batches(positions, view, skipped):
            index = torch.arange(done, done + len(raw))  # in all of the data, not in the part
            batch = replace(raw, index=index).to(self.accelerator.device)
            with torch.inference_mode(), self.accelerator.autocast():
                asked = ask if done else ask_first
                signals = asked(self.teacher, batch, self.settings.fields)
            _check_rows(signals, batch, done)
            done += len(batch)
            yield signals

    def _batches(self, positions: range, view: int = 0, skipped: int = 0) -> Iterator[Batch]:
        """Yield the batches of a range of examples under a view."""
        # A part of the data at a time: the order of all of it would take much memory.
        part = Subset(self.dataset, positions)  # pyright: ignore[reportArgumentType]
        source = as_source("dataset", part, self.settings.batch_size)
        model = next(iter(self.teacher.modules()), None)
        for batch in source.epoch(view, skipped):
            output = self.settings.fields.output
            if output and self.teacher.is_causal:
                yield next_tokens(batch)
            else:
                yield shift_labels_for(batch, model, output)


def _check_rows(signals: Signals, batch: Batch, done: int) -> None:
    """Refuse outputs that are not one for each example."""
    answers = signals.output if signals.rows is None else signals.rows.mask
    for name, each in {"output": answers, **signals.features}.items():
        if each is not None and len(each) != len(batch):
            raise DataError(
                f"the teacher must return one {name!r} for each example, got {len(each)} for the "
                f"{len(batch)} from example {done} on; give inputs whose first dimension is "
                "the batch"
            )


def claim(folder: Path, teacher: str, views: int, outputs: TeacherOutputs) -> Manifest:
    """Return the manifest of the store in a folder; a new one where there is none.

    `teacher` is its fingerprint.
    """
    dataset, settings, augmented = outputs.dataset, outputs.settings, views_in(outputs.dataset)
    data = Data(fingerprint=dataset_fingerprint(dataset), examples=len(dataset))
    shown = Views(count=views)
    if augmented:
        seeds, transforms = zip(*((each.seed, each.description) for each in augmented), strict=True)
        shown = Views(
            count=views,
            seed=seeds[0] if len(set(seeds)) == 1 else None,
            transform="; ".join(sorted(set(transforms))),
        )
    asked: dict[str, Any] = {"teacher": teacher, "data": data, "settings": settings, "views": shown}
    if (folder / NAME).exists():
        found = Manifest.read(folder)
        there, now = found.identity(), found.model_copy(update=asked).identity()
        lines = [
            f"  {name}: {there[name]!r} there, {now[name]!r} now"
            for name in there
            if there[name] != now[name]
        ]
        if lines:
            raise StoreError(
                f"`out` must be empty or hold this very store, got {folder} with a store that "
                "differs in\n" + "\n".join(lines) + "\nchoose another folder, or remove that one"
            )
        return found
    fields, answers, counts = outputs.fields(), None, np.ones(1)
    if any(each.by_answer for each in fields):
        counts = outputs.answers(views)
        answers = packed_numbers(counts)
    draft = Manifest(
        made_with=versions(), fields=fields, block_rows=1, shard_blocks=1, answers=answers, **asked
    )
    several = math.ceil(counts.mean())
    widest = max(
        1, *(each.entry_bytes * (several if each.by_answer else 1) for each in draft.columns)
    )
    layout = Layout.fitting(data.examples, views, settings.batch_size, widest)
    sizes = {"block_rows": layout.block_rows, "shard_blocks": layout.shard_blocks}
    with writing(folder, StoreError):
        folder.mkdir(parents=True, exist_ok=True)
        files = sorted(path.name for path in folder.glob("*.npy"))
        # A manifest may have come meanwhile, of another process of this call, and files with it.
        if files and not (folder / NAME).exists():
            raise StoreError(
                f"`out` must be empty or hold a store, got {folder} with {files[0]} but without "
                f"{NAME}; choose another folder"
            )
        draft.model_copy(update=sizes).write(folder, replace=False)
    return Manifest.read(folder)
