"""A teacher whose outputs were computed before and are read from disk."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tutelage.errors import ArgumentError, DataError, StoreError
from tutelage.identity import dataset_fingerprint
from tutelage.positions import rows_of, stored_by_row
from tutelage.signals import Batch, CoarseLogits, Signals
from tutelage.store import TargetStore
from tutelage.teachers._teacher import AnyTeacher, Teacher, as_teacher
from tutelage.wants import Fields

_TOKENS = 3  # dimensions of [batch, tokens, classes]


class Stored(Teacher):
    """Targets that `tl.label` stored, found by each example's index in the data set.

    The data must be the data set that was labelled, with the same indices; it may be shuffled in
    training. Targets are read as float32. Validation data needs a store of its own; without one,
    the student is evaluated by labels only.

    Args:
        stores: Stores, or their folders: that of the training data, and of other data such as the
            validation data.
        teacher: The module or `Teacher` that must have computed them; None for any.

    Raises:
        ArgumentError: There is no store.
        StoreError: A store is damaged or not finished, or another teacher computed its targets.

    >>> import tempfile, tutelage as tl
    >>> data = torch.utils.data.TensorDataset(torch.eye(3))
    >>> store = tl.label(torch.nn.Identity(), data, out=tempfile.mkdtemp())
    >>> batch = Batch(torch.eye(3)[2:], index=torch.tensor([2]))
    >>> Stored(store).signals(batch, Fields(output=True)).output
    tensor([[0., 0., 1.]])
    """

    traceable = False  # it reads files

    def __init__(
        self, *stores: TargetStore | str | Path, teacher: AnyTeacher | None = None
    ) -> None:
        if not stores:
            raise ArgumentError(
                "a stored teacher needs a store or its folder, got none; give what "
                "tl.label returned"
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
        device, index = batch.index.device, batch.index.detach().cpu()
        first, last = (0, 0) if not len(index) else (int(index.min()), int(index.max()))
        # Beyond its examples are those of the next view.
        if first < 0 or last >= len(store) or batch.view >= store.views:
            raise StoreError(
                f"the store {store.path} has targets for examples 0 to {len(store) - 1} in views "
                f"0 to {store.views - 1}, got examples {first} to {last} in view {batch.view}; "
                f"give the data that was labelled, with tl.data.Views(..., count={store.views})"
            )
        rows = index + batch.view * len(store)
        features: Any = {
            path: _float(store.read(path, rows), device) for path in sorted(fields.features)
        }
        if not fields.output:
            return Signals(None, features)
        found = Signals(_float(store.read("output", rows), device), features)
        field = next(each for each in store.fields if each.name == "output")
        if field.by_answer:
            expected, of_batch = store.answers(rows).tolist(), rows_of(batch, _TOKENS)
            given = None if of_batch is None else of_batch.counts.tolist()
            if given != expected:
                raise DataError(
                    f"each example must have the tokens that were labelled, {expected[:4]} of them "
                    f"in {store.path}, got {'none' if given is None else given[:4]}; give the same "
                    "texts, cut off and labelled as they were, or label these into another folder"
                )
            return replace(found, rows=of_batch)
        return stored_by_row(found, field.positions, batch) if field.positions else found

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
        inner: Any = data if hasattr(data, "__getitem__") else getattr(data, "dataset", data)
        held = " or ".join(f"{len(store):,}" for store in self.stores)
        differs = f"{len(inner):,} examples instead of {held}"
        if any(len(store) == len(inner) for store in self.stores):
            differs = "as many examples with other content or in another order"
        raise StoreError(
            f"`{name}` must be the data set that was labelled ({self.stores[0].path}), got "
            f"{differs}; give that data set, or label this one into another folder, and pass all "
            "stores together: tl.teachers.Stored(store, val_store); a study needs one for each of "
            "`train`, `val` and `test`"
        )


def _float(stored: Tensor | CoarseLogits, device: torch.device) -> Tensor | CoarseLogits:
    if isinstance(stored, CoarseLogits):
        return replace(stored, logits=stored.logits.float(), other=stored.other.float()).to(device)
    return stored.to(device).float()
