"""A teacher whose outputs were computed before and are read from disk."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tutelage.errors import DataError, ModelError, StoreError
from tutelage.identity import dataset_fingerprint
from tutelage.positions import rows_of, stored_by_row
from tutelage.rows import Rows
from tutelage.signals import Batch, CoarseLogits, Signals
from tutelage.store import TargetStore
from tutelage.teachers._teacher import AnyTeacher, Teacher, as_teacher
from tutelage.wants import Fields

_TOKENS = 3  # dimensions of [batch, tokens, classes]


class Stored(Teacher):
    """Targets that `tl.label` stored, found by each example's index in the data set.

    The data must be the data set that was labelled, with the same indices; it may be shuffled in
    training. Targets are read as float32. Validation data has targets only if it has a store of its
    own among those given; without, the student is evaluated by labels only.

    Args:
        stores: Stores, or their folders: that of the training data, and of other data such as the
            validation data.
        teacher: The module or `Teacher` that must have computed them; None for any.

    Raises:
        ModelError: No store is given, or something that is not a store.
        StoreError: A store is damaged or not finished, or another teacher computed its targets.

    >>> import tempfile, tutelage as tl
    >>> data = torch.utils.data.TensorDataset(torch.eye(3))
    >>> store = tl.label(torch.nn.Identity(), data, out=tempfile.mkdtemp())
    >>> batch = Batch(torch.eye(3)[2:], index=torch.tensor([2]))
    >>> Stored(store).signals(batch, Fields(output=True)).output
    tensor([[0., 0., 1.]])
    """

    def __init__(
        self, *stores: TargetStore | str | Path, teacher: AnyTeacher | None = None
    ) -> None:
        if not stores or not all(isinstance(each, (TargetStore, str, Path)) for each in stores):
            raise ModelError(
                "Stored must be given the stores that tl.label returned, or their folders, got "
                f"{stores!r}; give at least one"
            )
        self.stores = tuple(
            each if isinstance(each, TargetStore) else TargetStore.open(each) for each in stores
        )
        self.views = self.stores[0].views
        expected = None if teacher is None else as_teacher(teacher).fingerprint()
        for store in self.stores:
            if expected not in (None, store.manifest.teacher):
                raise StoreError(
                    f"the targets in {store.path} must be those of the teacher {expected!r}, got "
                    f"those of {store.manifest.teacher!r}; label with this teacher, into another "
                    "folder"
                )

    def __repr__(self) -> str:
        return f"Stored({', '.join(map(repr, self.stores))})"

    def signals(self, batch: Batch, fields: Fields) -> Signals:
        """Return the targets of the batch's examples, in float32 on the device of its inputs."""
        if not fields:
            return Signals()
        store, *others = self.stores
        if others:
            raise StoreError(
                f"targets must be read from the store of the batch's data set, got {self!r}, of "
                "several; in a loop of your own choose it: teacher.for_data('train', dataset)"
            )
        if batch.index is None:
            raise DataError(
                "a stored teacher needs the index of each example in its data set, got a batch "
                "without `index`; give distill the data set itself, or a DataLoader over "
                "tl.data.Indexed(dataset), and no `transform` that changes the inputs"
            )
        if batch.view >= store.views:
            raise StoreError(
                f"the store {store.path} has targets for {store.views} views, got a batch of view "
                f"{batch.view} (counted from 0); use tl.data.Views(..., count={store.views})"
            )
        rows = _rows(store, batch.index, batch.view)
        device = batch.index.device
        features: Any = {
            path: _float(store.read(path, rows), device) for path in sorted(fields.features)
        }
        if not fields.output:
            return Signals(None, features)
        found = Signals(_float(store.read("output", rows), device), features)
        field = next(each for each in store.fields if each.name == "output")
        if field.by_answer:
            return replace(found, rows=_same_answers(store, rows, batch))
        return stored_by_row(found, field.positions, batch) if field.positions else found

    def is_traceable(self) -> bool:
        """Return False: it reads files."""
        return False

    def fingerprint(self) -> str:
        """Return a hash of the manifests, which contain the checksums of all targets."""
        digest = hashlib.blake2b(digest_size=16)
        for store in self.stores:
            digest.update(store.manifest.text())
        return f"Stored {digest.hexdigest()}"

    def for_data(self, name: str, data: object) -> Stored:
        """Return a teacher with only the store of this data, which must be one of its own."""
        found = dataset_fingerprint(data)
        for store in self.stores:
            if store.manifest.data.fingerprint == found:
                return Stored(store)
        raise StoreError(_other_data(name, data, self.stores))


def _rows(store: TargetStore, index: Tensor, view: int) -> Tensor:
    """Return the row numbers of examples in a view; refuse indices that are out of range."""
    indices = index.detach().cpu()
    if len(indices) and not (int(indices.min()) >= 0 and int(indices.max()) < len(store)):
        raise StoreError(
            f"the store {store.path} has targets for examples 0 to {len(store) - 1}, got example "
            f"{int(indices.min())} to {int(indices.max())}; label the data that is trained on"
        )
    return indices + view * len(store)


def _same_answers(store: TargetStore, numbers: Tensor, batch: Batch) -> Rows:
    """Return the rows of a batch, which must have as many answers as were labelled."""
    rows, expected = rows_of(batch, _TOKENS), store.answers(numbers).tolist()
    found = None if rows is None else rows.counts.tolist()
    if rows is None or found != expected:
        raise DataError(
            f"each example must have the tokens that were labelled, {expected[:4]} of them in "
            f"{store.path}, got {'none' if found is None else found[:4]}; give the same texts, cut "
            "off and labelled as they were, or label these into another folder"
        )
    return rows


def _float(stored: Tensor | CoarseLogits, device: torch.device) -> Tensor | CoarseLogits:
    if isinstance(stored, CoarseLogits):
        logits, other = stored.logits.float(), stored.other.float()
        return CoarseLogits(stored.ids, logits, other, stored.sampled_at).to(device)
    return stored.to(device).float()


def _other_data(name: str, data: Any, stores: tuple[TargetStore, ...]) -> str:
    """Return the message for data that is not that of any store, with what differs."""
    inner = getattr(data, "dataset", data) if not hasattr(data, "__getitem__") else data
    length = len(inner)
    held = " or ".join(f"{len(store):,}" for store in stores)
    differs = (
        f"{length:,} examples instead of {held}"
        if all(len(store) != length for store in stores)
        else "as many examples with other content or in another order"
    )
    return (
        f"`{name}` must be the data set that was labelled ({stores[0].path}), got {differs}; give "
        "that data set, in the same order, or label this one too, into another folder, and pass "
        "all stores together: tl.teachers.Stored(store, val_store); a study needs one for each of "
        "`train`, `val` and `test`"
    )
