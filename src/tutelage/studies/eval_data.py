"""Validation and test data of a study: what is read of them once, beside the models' outputs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from tutelage.data import Source, as_source, randomness
from tutelage.data.fingerprint import content
from tutelage.data.loader_source import shuffling_sampler
from tutelage.errors import DataError, ModelError
from tutelage.identity import digest
from tutelage.layers import Output
from tutelage.layers.language import generates, shift_labels_for
from tutelage.nested import PerExample, describe, index_inputs, named_tensors, to_device
from tutelage.positions import labels_by_row, rows_of
from tutelage.rows import Rows
from tutelage.signals import Batch
from tutelage.tasks import TASKS, Outputs, Task
from tutelage.tasks.outputs import on_grid

_OF_TEXTS = 3  # dimensions of an output [texts, tokens, classes]
_DIMENSIONS = (_OF_TEXTS, 4, 5)
_CPU = torch.device("cpu")
_SIZE = 16  # of a hash, in bytes


@dataclass(frozen=True)
class RowLabels:
    """The rows that outputs of a data set have, and their labels, `[rows, …]`, on the CPU."""

    rows: Rows
    labels: Tensor | None


@dataclass(frozen=True)
class EvalData:
    """Validation or test data.

    Args:
        name: "val" or "test".
        data: As the user gave it.
        labels: Of all examples, on the CPU: a tensor, or for detectors the dicts of true boxes;
            None without, and where examples have different numbers of them.
        domains: Of all examples; None without.
        fingerprint: A text that changes with inputs, labels, row masks and domains.
        keys: A hash of the inputs of each example; see `example_keys`.
        kind: The types of the inputs.
        by_row: The labels of rows, for outputs with several answers an example: of large maps those
            of an even grid of positions, unless all are kept.
        has_maps: Whether labels, or a mask, are maps, such as of pixels.
        of_tokens: Whether outputs are those of a language model.
        task: What outputs hold.
    """

    name: str
    data: object
    labels: Any
    domains: tuple[str, ...] | None
    fingerprint: str
    keys: tuple[bytes, ...]
    kind: str
    by_row: tuple[RowLabels, ...] = ()
    has_maps: bool = False
    of_tokens: bool = False
    task: Task = TASKS["classes"]

    @property
    def examples(self) -> int:
        """How many examples there are."""
        return len(self.keys)

    @property
    def has_labels(self) -> bool:
        """Whether any example has a label."""
        known = [self.labels, *(each.labels for each in self.by_row)]
        return any(
            bool(Batch(each, each).labelled().any()) if isinstance(each, Tensor) else True
            for each in known
            if each is not None
        )

    def outputs(self, kept: Tensor, teacher: Tensor | None = None) -> Outputs:
        """Return a model's outputs for this data, as they are kept, with labels and domains."""
        known = Outputs(None, teacher, self.labels, self.domains)
        scored = self.task.keeps_scores
        if scored or len(kept) != self.examples or self._has_row_each(kept):
            found = row_labels_for(self.by_row, kept, self.examples, scored)
            known = replace(known, labels=found.labels, rows=found.rows)
        return self.task.unpack(kept, known)

    def _has_row_each(self, kept: Tensor) -> bool:
        """Tell whether one output an example is a row's: each example has one labelled token."""
        labels = self.labels if isinstance(self.labels, Tensor) else None
        whole = labels is not None and (labels.ndim == 1 or labels.shape == kept.shape)
        single = labels is not None and labels.shape[1:].numel() == 1
        return not (whole or single) and any(len(each.rows) == len(kept) for each in self.by_row)


def read_eval_data(
    name: str,
    data: object,
    student: Callable[[], object] | None = None,
    whole: bool = True,
    batch_size: int = 256,
) -> EvalData:
    """Read a data set once; `whole` keeps the labels of all positions of large maps.

    Where inputs are tokens, `student` is called for a student: a language model's labels are those
    of the next tokens. One in an `Output` may return anything else.

    Raises:
        DataError: It may come in another order for each model, or its labels are neither tensors
            nor boxes.
    """
    drawn = shuffling_sampler(data) if isinstance(data, DataLoader) else None
    if drawn is not None:
        raise DataError(
            f"`{name}` must come in the same order for every model, got a DataLoader with {drawn}; "
            "make it with shuffle=False, of a Subset for a part"
        )
    model, of_tokens = None, False
    labels, targets, domains, prints, keys, by_row, kind = [], [], [], [], [], [], ""
    with randomness.preserved():
        randomness.seed_everything(0)
        for batch in source_of(name, data, batch_size).epoch(0):
            tensor = batch.labels is None or isinstance(batch.labels, Tensor)
            large = not whole and tensor and batch.labels is not None and _thinned(batch.labels)
            labels.append(batch.labels if tensor and not large else None)
            targets += [] if tensor else _boxes(name, batch.labels)
            tokens = isinstance(batch.inputs, Mapping) and "input_ids" in batch.inputs
            if tokens and student is not None and model is None:
                model = student()
                of_tokens = generates(model) and not isinstance(model, Output)
            asked = shift_labels_for(batch, model if of_tokens else None)
            by_row.append(_row_labels(asked, whole))
            domains.append(domains_of(batch))
            tensors = named_tensors((batch.inputs, batch.labels, batch.row_mask))
            prints.append(content(dict(tensors)))
            keys += example_keys(batch)
            kind = kind or kind_of(batch)
        dataset = data.dataset if isinstance(data, DataLoader) else data
        if isinstance(dataset, IterableDataset):
            randomness.seed_everything(0)
            again = source_of(name, data, batch_size).epoch(0)
            if [key for batch in again for key in example_keys(batch)] != keys:
                raise DataError(
                    f"`{name}` must come with the same examples in the same order for every model, "
                    f"got {type(dataset).__name__}, whose examples differ when they are read "
                    "again; do not shuffle it, and let each pass begin anew"
                )
    known = [each for each in domains if each is not None]
    tags = tuple(tag for each in known for tag in each) if len(known) == len(domains) else None
    return EvalData(
        name=name,
        data=data,
        labels=tuple(targets) if targets else _joined(labels),
        domains=tags,
        # The keys know texts too.
        fingerprint=digest(*prints, *(each.hex() for each in keys), *(tags or ())),
        keys=tuple(keys),
        kind=kind,
        by_row=_joined_rows(by_row),
        has_maps=any(dimensions > _OF_TEXTS for each in by_row for dimensions in each),
        of_tokens=of_tokens,
    )


def source_of(name: str, data: object, batch_size: int, task: Task = TASKS["classes"]) -> Source:
    """Return the batches of a data set in its order, none larger than those of training."""
    return as_source(name, data, min(batch_size, task.batch_size))


def in_order(loader: DataLoader[Any], dataset: Any) -> DataLoader[Any]:
    """Return a loader of other examples, in their order, that collates as another one does."""
    # Without a batch sampler each example is a whole batch.
    size = None if loader.batch_sampler is None else loader.batch_size or 32
    return DataLoader(dataset, size, collate_fn=loader.collate_fn)


def row_labels_for(
    found: Sequence[RowLabels], kept: Tensor, examples: int, scored: bool = False
) -> RowLabels:
    """Return the rows of outputs; equally many for each example where none are known.

    Behind the outputs of maps there may be a confusion matrix of each example.
    """
    outputs = len(kept)
    # Without, and with, a confusion matrix [classes, classes] of each example behind the rows.
    sizes = (outputs, outputs - examples * kept.shape[-1])
    for each in found:
        if len(each.rows) in sizes:
            return each
    if scored:  # whose task says what is wrong
        return found[0]
    if outputs % examples:
        raise ModelError(
            f"a study must know which of {outputs} outputs belong to which of {examples} examples, "
            f"which have {[len(each.rows) for each in found]} positions with an answer; give "
            "labels (−100 where there are none) or a `row_mask`"
        )
    return RowLabels(Rows.counted(torch.full((examples,), outputs // examples)), None)


def _thinned(labels: Tensor) -> bool:
    """Tell whether outputs for such labels are kept on an even grid, as `evaluate` does."""
    return labels.ndim > _OF_TEXTS - 1 and not labels.is_floating_point()


def _row_labels(batch: Batch, whole: bool) -> dict[int, RowLabels]:
    """Return the labels of rows of a batch, for outputs of each number of dimensions."""
    found = {}
    for dimensions in _DIMENSIONS:
        rows = rows_of(batch, dimensions)
        labels = None if rows is None else labels_by_row(batch, rows).labels
        if rows is not None:
            fits = labels is None or len(labels) == len(rows)
            thinned = not whole and (labels is None or not labels.is_floating_point())
            own = labels.cpu() if labels is not None and fits else None
            if thinned and (which := on_grid(rows)[1]) is not None:
                rows, own = on_grid(rows)[0], None if own is None else own[which.cpu()]
            found[dimensions] = RowLabels(Rows.counted(rows.counts.cpu()), own)
    return found


def _joined_rows(batches: Sequence[Mapping[int, RowLabels]]) -> tuple[RowLabels, ...]:
    """Return the labels of rows of all batches, for dimensions that all of them have."""
    found = []
    for dimensions in _DIMENSIONS:
        parts = [each[dimensions] for each in batches if dimensions in each]
        if parts and len(parts) == len(batches):
            labels = [each.labels for each in parts if each.labels is not None]
            whole = torch.cat(labels) if len(labels) == len(parts) else None
            found.append(RowLabels(Rows.joined([each.rows for each in parts]), whole))
    return tuple(found)


def _boxes(name: str, labels: Any) -> list[Any]:
    """Return the targets of a batch, on the CPU; refuse what is neither a tensor nor boxes."""
    found = to_device(list(labels), _CPU) if isinstance(labels, list) else [labels]
    if not all(isinstance(each, Mapping) and "boxes" in each for each in found):
        raise DataError(
            "a study compares outputs with labels in tensors, or with a dict of boxes and labels "
            f"for each example, got `{name}` with {describe(labels)}; train other models by "
            "tl.distill"
        )
    return found


def _joined(column: list[Tensor | None]) -> Tensor | None:
    present = [each.cpu() for each in column if each is not None]
    alike = len({each.shape[1:] for each in present}) == 1  # texts are padded batch by batch
    return torch.cat(present) if alike and len(present) == len(column) else None


def example_keys(batch: Batch) -> list[bytes]:
    """Return a hash of the inputs of each example of a batch, equal in any container.

    Tokens that `attention_mask` marks as padding are left out, so that the length of a batch does
    not matter.
    """
    length, mask = len(batch), batch.token_mask()
    columns = []
    for path, part in _parts(batch.inputs):
        if isinstance(part, Tensor) and part.ndim and len(part) == length:
            columns.append(list(_rows(path, part, mask)))
        elif not isinstance(part, Tensor):
            rows = (index_inputs(part, slice(at, at + 1), length, True) for at in range(length))
            columns.append([f"{path} {content(row)}".encode() for row in rows])
    return [
        hashlib.blake2b(b"".join(each), digest_size=_SIZE).digest()
        for each in zip(*columns, strict=True)
    ]


def kind_of(batch: Batch) -> str:
    """Return the structure and types of a batch's inputs, without shapes."""
    kinds = (
        f"{path} {part.dtype if isinstance(part, Tensor) else type(part[0]).__name__}".strip()
        for path, part in _parts(batch.inputs)
    )
    return ", ".join(kinds).replace("torch.", "")


def domains_of(batch: Batch) -> list[str] | None:
    """Return the domain of each example of a batch; None where it is not known."""
    if isinstance(batch.domain, Tensor):
        return [str(each) for each in batch.domain.tolist()]
    return None if batch.domain is None else [str(each) for each in batch.domain]


def _parts(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the columns of inputs, each with a path of its own, in an order of their own."""
    if isinstance(value, PerExample):
        yield path, value
    elif isinstance(value, Mapping):
        for key in sorted(value, key=str):
            yield from _parts(value[key], f"{path}/{key}")
    elif isinstance(value, (tuple, list)) and any(
        isinstance(each, (Tensor, Mapping, tuple, list)) for each in value
    ):
        for place, each in enumerate(value):
            yield from _parts(each, f"{path}/{place}")
    elif isinstance(value, Tensor) or (isinstance(value, (tuple, list)) and value):
        yield path, value


def _rows(path: str, column: Tensor, mask: Tensor | None) -> Iterator[bytes]:
    """Yield the bytes of each row, without padding."""
    column = column.detach().cpu().contiguous()
    if mask is not None and column.shape[:2] == mask.shape:
        start = f"{path} {column.dtype} {list(column.shape[2:])};".encode()
        for row, kept in zip(column, mask.cpu(), strict=True):
            tokens = row[kept].contiguous().reshape(-1)
            yield start + (tokens.view(torch.uint8).numpy().tobytes() if len(tokens) else b"")
        return
    start = f"{path} {column.dtype} {list(column.shape[1:])};".encode()
    flat = column.reshape(len(column), -1)
    if flat.shape[1] == 0:
        yield from (start for _ in range(len(column)))
        return
    for row in flat.view(torch.uint8).numpy():
        yield start + row.tobytes()
