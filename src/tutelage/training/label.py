"""`label`: run a teacher once over a data set, and store its outputs."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader, Subset

from tutelage._checks import folder_path, integer, positive
from tutelage.data import as_dataset, as_source, randomness, show_epoch, views_in
from tutelage.errors import ArgumentError, DataError, ModelError, StoreError
from tutelage.files import owned, writing
from tutelage.heads import HeadLogits
from tutelage.identity import dataset_fingerprint, draws_at_random
from tutelage.layers.language import next_tokens, shift_labels_for
from tutelage.nested import describe
from tutelage.objectives import Objective
from tutelage.objectives._by_chunk import CHUNK_LOGITS_FROM
from tutelage.objectives._tensors import look_like_probabilities
from tutelage.positions import rows_of
from tutelage.results.record import versions
from tutelage.signals import Batch, CoarseLogits, Signals
from tutelage.store import (
    Data,
    Field,
    Layout,
    Manifest,
    Settings,
    StoreWriter,
    TargetStore,
    Views,
    close_store,
    find_damage,
    reopen_store,
    tidy,
)
from tutelage.store.layout import runs
from tutelage.store.manifest import NAME, packed_numbers
from tutelage.teachers import AnyTeacher, Live, Teacher, as_teacher, ask, ask_first
from tutelage.training.engine import Engine, as_engine
from tutelage.training.notices import progress_bar
from tutelage.wants import OUTPUT, Fields

_BLOCKS_AT_ONCE = 16
_TOKENS = 3  # dimensions of [batch, tokens, classes]
_DTYPES = ("float16", "float32", "bfloat16")


def label(  # noqa: PLR0913 - a verb with its options
    teacher: AnyTeacher,
    dataset: object,
    *,
    out: str | Path,
    views: int = 1,
    fields: Objective | Fields | None = None,
    top_k: int | None = None,
    sampled_classes: int | None = None,
    temperature: float = 1.0,
    dtype: str = "float16",
    batch_size: int = 256,
    compile: bool = False,  # noqa: A002 - as torch calls it
    verify: bool = False,
    engine: Engine | None = None,
) -> TargetStore:
    """Run a teacher once over all examples of a data set, and store its outputs on disk.

    `distill` takes the store in place of the teacher, and the teacher never runs again. Made again
    after a kill at any moment, or a full disk, the same call resumes after the last finished block,
    and the files are in the end those of an uninterrupted call. After the end it returns the store.
    Under `torchrun` each process labels its part.

    Args:
        teacher: A module or a `Teacher`, such as `Predictor`, an ensemble or specialists.
        dataset: A data set with a length, labelled or not; examples are identified by their index.
            A text, as `input_ids`, has one entry for each token with an output.
        out: Folder of the store.
        views: How many views of each example are labelled; more than 1 is for augmented data, as
            `tl.data.Views`, whose epochs then take turns with these.
        fields: The objective that will use the store, or the teacher outputs that it requires; None
            for the output.
        top_k: How many classes of the output to keep, with the logsumexp of the remaining classes;
            None for all. `SoftTargets` learns from these, objectives on all classes or on binary
            labels do not.
        sampled_classes: How many classes to sample in proportion to the output's probabilities,
            in place of the output: 2 bytes each up to 65,535 classes, and unbiased, where `top_k`
            loses how the remaining classes differ. For `SoftTargets` at the temperature of the
            samples.
        temperature: For sampling classes: that of the objective that will use them.
        dtype: `"float16"` (a relative error of at most 5e-4), `"bfloat16"` (4e-3, and the range of
            float32) or `"float32"` (exact).
        batch_size: Examples in a batch of the teacher's, in each process.
        compile: Whether to compile the teacher, a module, with `torch.compile`.
        verify: Whether to read all finished blocks and to label damaged ones again.
        engine: Device and precision of the teacher; its other settings have no effect here.

    Returns:
        The store, opened.

    Raises:
        ArgumentError: An argument is outside its range.
        DataError: The data set is empty, has no length, cannot be loaded, is augmented at random
            without `tl.data.Views`, or has fewer than `views` of them.
        ModelError: The teacher fails, or its outputs change their shape.
        NonFiniteError: The teacher's output is NaN or infinite.
        StoreError: `out` cannot be written, holds another store or a damaged one, or a number does
            not fit `dtype`.

    >>> import tempfile, torch, tutelage as tl
    >>> teacher = torch.nn.Linear(4, 3)
    >>> data = torch.utils.data.TensorDataset(torch.randn(32, 4))
    >>> store = tl.label(teacher, data, out=tempfile.mkdtemp())
    >>> store.read("output", [5, 0]).shape
    torch.Size([2, 3])
    """
    engine, folder, dataset = as_engine(engine), folder_path(out), as_dataset("dataset", dataset)
    required = _required(fields, top_k, sampled_classes, temperature)
    if dtype not in _DTYPES:
        raise ArgumentError(f"`dtype` must be one of {list(_DTYPES)}, got {dtype!r}; choose one")
    settings = Settings(
        output=required.output,
        features=tuple(sorted(required.features)),
        top_k=_classes("top_k", top_k),
        sampled_classes=_classes("sampled_classes", sampled_classes),
        temperature=positive("temperature", temperature, "classes are sampled at it"),
        dtype=cast("Any", dtype),
        batch_size=integer("batch_size", batch_size, 1, "it counts the examples of a batch"),
        precision=engine.precision,
        compile=compile,
    )
    _check_data(dataset, integer("views", views, 1, "1 is for data without augmentation"))
    given = as_teacher(teacher).for_data("dataset", dataset)
    source = given
    if compile:
        if not isinstance(given, Live):
            raise ArgumentError(
                f"`compile` is for a teacher that is a module, got {type(given).__name__}; leave "
                "it out"
            )
        source = Live(cast("nn.Module", torch.compile(given.module)))
    with ExitStack() as stack:
        stack.enter_context(randomness.preserved())
        accelerator = stack.enter_context(engine.accelerator(None))
        if accelerator.is_main_process:
            stack.enter_context(owned(folder, StoreError))
        stack.enter_context(source.ready(accelerator.device))
        outputs = TeacherOutputs(source, dataset, settings, accelerator)
        claim(folder, given.fingerprint(), views, outputs)
        accelerator.wait_for_everyone()
        manifest = Manifest.read(folder)
        if verify:
            manifest = _repaired(folder, manifest, accelerator)
        shown = engine.progress and accelerator.is_main_process
        _fill(folder, manifest, outputs, shown)
    return TargetStore.open(folder)


def _required(
    fields: Objective | Fields | None,
    top_k: int | None,
    sampled_classes: int | None,
    temperature: float,
) -> Fields:
    """Return what is required of the teacher, once the forms of its output fit that."""
    required = fields.wants.teacher if isinstance(fields, Objective) else fields or OUTPUT
    some_classes = top_k is not None or sampled_classes is not None
    if some_classes and isinstance(fields, Objective) and fields.output_kind == "binary":
        raise ArgumentError(
            "`top_k` and `sampled_classes` are for classes that exclude each other, got "
            f"{fields}, which needs the logit of every label; leave them out"
        )
    if not isinstance(required, Fields) or not required:
        raise ArgumentError(
            "`fields` must be an objective or tl.Fields that requires something of the teacher, "
            f"got {fields!r}; for instance tl.SoftTargets(4), or leave it out for the output"
        )
    if some_classes and (None not in (top_k, sampled_classes) or not required.output):
        raise ArgumentError(
            "`top_k` or `sampled_classes` are of the output, one of the two, got "
            f"{top_k=}, {sampled_classes=} and an output={required.output} in `fields`; leave one "
            "of the two out, and require the output"
        )
    if sampled_classes is None and temperature != 1:
        raise ArgumentError(
            f"`temperature` is that of `sampled_classes`, got {temperature} without them; leave it "
            "out: outputs are kept at temperature 1 and serve all temperatures"
        )
    return required


def _classes(name: str, number: int | None) -> int | None:
    return None if number is None else integer(name, number, 1, "it counts classes")


def _check_data(dataset: object, views: int) -> None:
    """Refuse data whose order may change, or whose views are not the same again."""
    if isinstance(dataset, DataLoader):
        raise DataError(
            "`dataset` must be a data set, got a DataLoader, whose order may change; give its "
            "data set: loader.dataset"
        )
    wrapped = "tl.data.Views(dataset, count=4), and label and train on that"
    if draws_at_random(dataset):
        raise DataError(
            f"`dataset` ({type(dataset).__name__}) must give the same examples each time, got one "
            "that draws them at random, so that the student would see others than the teacher; "
            f"make it {wrapped}, with views=4"
        )
    if views > 1 and not views_in(dataset):
        raise DataError(
            f"`dataset` must have views to be labelled {views} times, got "
            f"{type(dataset).__name__}, whose examples never change; leave `views` out, or make it "
            f"{wrapped}"
        )
    show_epoch(dataset, 0, views)


def _repaired(folder: Path, manifest: Manifest, accelerator: Accelerator) -> Manifest:
    """Mark damaged blocks as not finished; headers and sizes are repaired in writing."""
    if accelerator.is_main_process:
        found = list(find_damage(folder, manifest))
        if found:
            reopen_store(folder, manifest, {block for each in found for block in each.blocks})
    accelerator.wait_for_everyone()
    return Manifest.read(folder)


def _fill(folder: Path, manifest: Manifest, outputs: TeacherOutputs, shown: bool) -> None:
    """Fill a store, unless it is finished, together with the other processes."""
    accelerator, layout, done = outputs.accelerator, manifest.layout, 0
    if manifest.checksums is not None:
        if accelerator.is_main_process:
            tidy(folder)  # a kill may have come between the manifest and this
        return
    rank, several = accelerator.process_index, accelerator.num_processes
    bar = progress_bar(shown, layout.rows)
    with StoreWriter(folder, manifest, rank) as writer, bar as show:
        ours = writer.pending(rank, several)
        accelerator.wait_for_everyone()  # all have seen the same blocks unfinished
        left, began = sum(len(layout.block(block)) for block in ours), time.monotonic()
        for span in runs(ours, layout):
            for block, pieces in outputs.blocks(span, layout):
                writer.write(block, pieces)
                done += len(layout.block(block))
                # Equal parts are counted for the other processes.
                rate = done * several / max(time.monotonic() - began, 1e-9)
                show(max(0, layout.rows - (left - done) * several), f"{rate:,.0f} examples/s")
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        close_store(folder, manifest)
    accelerator.wait_for_everyone()


class TeacherOutputs:
    """A teacher's outputs for a data set, in its order, some blocks at a time."""

    def __init__(
        self, teacher: Teacher, dataset: Any, settings: Settings, accelerator: Accelerator
    ) -> None:
        self.teacher, self.dataset = teacher, dataset
        self.settings, self.accelerator = settings, accelerator
        self._fields = settings.fields
        if settings.top_k is not None or settings.sampled_classes is not None:
            self._fields = replace(self._fields, head_from=CHUNK_LOGITS_FROM)
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
        output, found = signals.output, []
        if self.settings.output:
            found = [self._output(output if isinstance(output, HeadLogits) else signals.targets)]
        if signals.rows is not None:
            positions = signals.rows.positions
            of_tokens = rows_of(next(self._batches(range(1))), _TOKENS)  # perhaps none of a text
            by_token = len(positions) == 1 and of_tokens is not None
            several = {"by_answer": True} if by_token else {"positions": positions}
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

    def _output(self, output: torch.Tensor | CoarseLogits | HeadLogits) -> Field:
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
        # Of stored classes this is not seen any more.
        if isinstance(output, torch.Tensor) and look_like_probabilities(output):
            raise ModelError(
                "the teacher must return logits of its classes, got rows that sum to 1; leave out "
                "its softmax, or return the logarithms of its probabilities"
            )
        return Field(
            name="output",
            form="coarse" if sampled is None else "sampled",
            dtype=dtype,
            shape=(kept,),
            classes=output.shape[1],
            complete=True,
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
                call = ask if done else ask_first
                signals = call(self.teacher, batch, self._fields)
                if isinstance(signals.output, HeadLogits):
                    signals = replace(signals, output=signals.output.detached().as_computed())
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


def claim(folder: Path, teacher: str, views: int, outputs: TeacherOutputs) -> None:
    """Refuse a folder with another store; into one without any the main process writes a manifest.

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
    declared: dict[str, Any] = {
        "teacher": teacher,
        "data": data,
        "settings": settings,
        "views": shown,
    }
    if (folder / NAME).exists():
        found = Manifest.read(folder)
        there, now = found.identity(), found.model_copy(update=declared).identity()
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
        return
    fields, answers, counts = outputs.fields(), None, np.ones(1)
    if any(each.by_answer for each in fields):
        counts = outputs.answers(views)
        answers = packed_numbers(counts)
    draft = Manifest(
        made_with=versions(),
        fields=fields,
        block_rows=1,
        shard_blocks=1,
        answers=answers,
        **declared,
    )
    several = math.ceil(counts.mean())
    widest = max(
        1, *(each.entry_bytes * (several if each.by_answer else 1) for each in draft.columns)
    )
    by_batch = any(each.is_remote for each in (outputs.teacher, *outputs.teacher.members))
    layout = Layout.fitting(data.examples, views, settings.batch_size, widest, by_batch)
    sizes = {"block_rows": layout.block_rows, "shard_blocks": layout.shard_blocks}
    if not outputs.accelerator.is_main_process:
        return
    with writing(folder, StoreError):
        files = sorted(path.name for path in folder.glob("*.npy"))
        if files:
            raise StoreError(
                f"`out` must be empty or hold a store, got {folder} with {files[0]} but without "
                f"{NAME}; choose another folder"
            )
        draft.model_copy(update=sizes).write(folder)
