"""`label`: run a teacher once over a data set, and store its outputs."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader

from tutelage._checks import folder_path, integer, positive
from tutelage.data import (
    as_dataset,
    randomness,
    show_epoch,
    views_in,
)
from tutelage.errors import ArgumentError, DataError, StoreError
from tutelage.files import owned
from tutelage.identity import draws_at_random
from tutelage.objectives import Objective
from tutelage.store import (
    Manifest,
    Settings,
    StoreWriter,
    TargetStore,
    close_store,
    find_damage,
    reopen_store,
    tidy,
)
from tutelage.store.layout import runs
from tutelage.teachers import AnyTeacher, Live, as_teacher
from tutelage.training.engine import Engine, as_engine
from tutelage.training.labelling import TeacherOutputs, claim
from tutelage.training.notices import progress_bar
from tutelage.wants import OUTPUT, Fields

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
    asked = as_teacher(teacher).for_data("dataset", dataset)
    source = asked
    if compile:
        if not isinstance(asked, Live):
            raise ArgumentError(
                f"`compile` is for a teacher that is a module, got {type(asked).__name__}; leave "
                "it out"
            )
        source = Live(cast("nn.Module", torch.compile(asked.module)))
    with ExitStack() as stack:
        stack.enter_context(randomness.preserved())
        accelerator = stack.enter_context(engine.accelerator(None))
        if accelerator.is_main_process:
            stack.enter_context(owned(folder, StoreError))
        stack.enter_context(source.ready(accelerator.device))
        outputs = TeacherOutputs(source, dataset, settings, accelerator)
        manifest = claim(folder, asked.fingerprint(), views, outputs)
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
    """Return what is asked of the teacher, once the forms of its output fit that."""
    asked = fields.wants.teacher if isinstance(fields, Objective) else fields or OUTPUT
    some_classes = top_k is not None or sampled_classes is not None
    if some_classes and isinstance(fields, Objective) and fields.output_kind == "binary":
        raise ArgumentError(
            "`top_k` and `sampled_classes` are for classes that exclude each other, got "
            f"{fields}, which needs the logit of every label; leave them out"
        )
    if not isinstance(asked, Fields):
        raise ArgumentError(
            f"`fields` must be an objective or tl.Fields, got {fields!r}; for instance "
            "tl.SoftTargets(4)"
        )
    if not asked:
        raise ArgumentError(
            f"`fields` must require something of the teacher, got {fields}; leave it out for the "
            "output"
        )
    if sampled_classes is not None and (top_k is not None or not asked.output):
        raise ArgumentError(
            "`sampled_classes` are of all classes of the output, got "
            f"sampled_classes={sampled_classes} with top_k={top_k} and output={asked.output}; "
            "leave `top_k` out, and require the output"
        )
    if top_k is not None and not asked.output:
        raise ArgumentError(
            f"`top_k` counts classes of the output, got {top_k} without the output in `fields`; "
            "leave it out, or require the output too"
        )
    if sampled_classes is None and temperature != 1:
        raise ArgumentError(
            f"`temperature` is that of `sampled_classes`, got {temperature} without them; leave it "
            "out: outputs are kept at temperature 1 and serve all temperatures"
        )
    return asked


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
