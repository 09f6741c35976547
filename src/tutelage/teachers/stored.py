"""A teacher that was asked before: its answers are read from the disk."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.data import dataset_fingerprint
from tutelage.errors import DataError, ModelError, StoreError
from tutelage.signals import Batch, CoarseLogits, Fields, Signals
from tutelage.store import TargetStore
from tutelage.teachers._teacher import Teacher


class Stored(Teacher):
    """What `tl.label` wrote: each example is answered by its place in the data set.

    The data must be the very examples that were labelled, in the same places; their order in
    training does not matter. Answers come back in float32. Validation data has answers only if it
    has a store of its own among those given; without, the student is judged by labels alone.

    Args:
        stores: Of the training data, and of others such as the validation data.
        teacher: The module or `Teacher` that must have filled them; None for any.

    Raises:
        ModelError: There is no store among what is given.
        StoreError: A store is damaged or not finished, or another teacher filled it.

    >>> import tempfile, tutelage as tl
    >>> data = torch.utils.data.TensorDataset(torch.eye(3))
    >>> store = tl.label(nn.Identity(), data, out=tempfile.mkdtemp())
    >>> batch = Batch(torch.eye(3)[2:], index=torch.tensor([2]))
    >>> Stored(store).signals(batch, Fields(output=True)).output
    tensor([[0., 0., 1.]])
    """

    def __init__(
        self, *stores: TargetStore | str | Path, teacher: nn.Module | Teacher | None = None
    ) -> None:
        if not stores or not all(isinstance(each, (TargetStore, str, Path)) for each in stores):
            raise ModelError(
                f"Stored must have the stores that tl.label returned, or their folders, got "
                f"{stores!r}; give one at least"
            )
        self.stores = tuple(
            each if isinstance(each, TargetStore) else TargetStore.open(each) for each in stores
        )
        self.views = self.stores[0].views
        if teacher is not None:
            for store in self.stores:
                _check_teacher(store, teacher)

    def __repr__(self) -> str:
        return f"Stored({', '.join(map(repr, self.stores))})"

    def signals(self, batch: Batch, fields: Fields) -> Signals:
        """Return what was said of the batch's examples, in float32 on the device of its inputs.

        Raises:
            DataError: The batch does not say which examples it holds.
            StoreError: A field or an example is not in the store.
        """
        if not fields:
            return Signals()
        store = self.stores[0]
        if batch.index is None:
            raise DataError(
                "a stored teacher must know the place of each example in its data set, got a batch "
                "without `index`; give distill the data set itself, or a DataLoader over "
                "tl.data.Indexed(dataset), and no `transform` that changes the inputs"
            )
        if batch.view >= store.views:
            raise StoreError(
                f"the store {store.path} has answers for {store.views} views, got a batch of view "
                f"{batch.view} (counted from 0); let so many take turns: "
                f"tl.data.Views(..., count={store.views})"
            )
        rows = _rows(store, batch.index, batch.view)
        output = store.read("output", rows) if fields.output else None
        features = {place: store.read(place, rows) for place in fields.features}
        device = batch.index.device
        moved: Any = {place: _float(each, device) for place, each in features.items()}
        return Signals(None if output is None else _float(output, device), moved)

    def fingerprint(self) -> str:
        """Return a hash of the manifests, which have the checksums of all answers."""
        digest = hashlib.blake2b(digest_size=16)
        for store in self.stores:
            digest.update(store.manifest.text())
        return f"Stored {digest.hexdigest()}"

    def answering(self, name: str, data: object) -> Stored:
        """Return the teacher with the store of this data alone.

        Raises:
            StoreError: None of the stores is of this data.
        """
        found = dataset_fingerprint(data)
        for store in self.stores:
            if store.manifest.data.fingerprint == found:
                return Stored(store)
        raise StoreError(_other_data(name, data, self.stores))


def _check_teacher(store: TargetStore, teacher: nn.Module | Teacher) -> None:
    from tutelage.teachers import as_teacher  # noqa: PLC0415 - which knows this module

    asked = as_teacher(teacher).fingerprint()
    if store.manifest.teacher != asked:
        raise StoreError(
            f"the store {store.path} must be filled by the teacher {asked!r}, got one of "
            f"{store.manifest.teacher!r}; label with this teacher, into another folder"
        )


def _rows(store: TargetStore, index: Tensor, view: int) -> Tensor:
    """Return the rows of examples in a view, none of them in a neighbouring view."""
    places = index.detach().cpu()
    if len(places) and not (int(places.min()) >= 0 and int(places.max()) < len(store)):
        raise StoreError(
            f"the store {store.path} has answers for examples 0 to {len(store) - 1}, got example "
            f"{int(places.min())} to {int(places.max())}; label the data that is trained on"
        )
    return places + view * len(store)


def _float(kept: Tensor | CoarseLogits, device: torch.device) -> Tensor | CoarseLogits:
    if isinstance(kept, CoarseLogits):
        logits, rest = kept.logits.float(), kept.rest.float()
        return CoarseLogits(kept.ids, logits, rest, kept.drawn_at).to(device)
    return kept.to(device).float()


def _other_data(name: str, data: Any, stores: tuple[TargetStore, ...]) -> str:
    """Say in what way data is not that of the stores."""
    inner = getattr(data, "dataset", data) if not hasattr(data, "__getitem__") else data
    length = len(inner)
    held = " or ".join(f"{len(store):,}" for store in stores)
    differs = (
        f"{length:,} examples in place of {held}"
        if all(len(store) != length for store in stores)
        else "as many examples with another content or in another order"
    )
    return (
        f"`{name}` must be the data set that was labelled ({stores[0].path}), got {differs}; give "
        "that very data set, in the order it had, or label this one into another folder"
    )
