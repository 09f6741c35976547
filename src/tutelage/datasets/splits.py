"""Training, validation and test data that were loaded by reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset, TensorDataset

from tutelage._checks import integer
from tutelage.data import Domains
from tutelage.data.sets import Extended
from tutelage.datasets.columns import Columns
from tutelage.datasets.options import Kind
from tutelage.datasets.table_inputs import TableInputs
from tutelage.errors import ArgumentError, DataError
from tutelage.labels import UNLABELLED
from tutelage.nested import DomainExample

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, repr=False)
class Splits:
    """Data sets of raw inputs and labels, and what is known of them.

    Args:
        train: What a run trains on, with the unlabelled examples.
        val: None for none.
        test: Likewise.
        labelled: The training data without the unlabelled examples.
        classes: The names of the classes in the order of their ids, or of the binary labels.
        labels: The columns of the labels.
        kind: What labels are; None without labels, and for data sets of Python.
        form: What inputs are: "text", "image", "columns" (of a table) or "arrays"; None if it is
            not known.
        columns: What the columns of a table are.
        rows: The inputs of a network among the labelled training data's rows, if it is a table.
        groups: What each test example belongs to, by `split.group`.
        described: What was read and decided, in one sentence.
        warnings: What should be seen to, such as columns that are not inputs.
    """

    train: Any
    val: Any = None
    test: Any = None
    labelled: Any = None
    classes: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    kind: Kind | None = None
    form: str | None = None
    columns: Columns | None = None
    rows: Tensor | None = None
    groups: tuple[str, ...] | None = None
    described: str = ""
    warnings: tuple[str, ...] = ()
    _read: Callable[[str], tuple[Any, pd.DataFrame]] | None = field(default=None, repr=False)
    _make: Callable[[int], Any] | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        return f"Splits({self.described})"

    def table_inputs(self, thresholds: Mapping[str, Sequence[float]] | None = None) -> TableInputs:
        """Return the preprocessing of a network on this table, fitted on its training data.

        Args:
            thresholds: Of the steps of numbers, as for `TableInputs.fit`.

        Raises:
            DataError: The data is not a table.
        """
        if self.columns is None or self.rows is None:
            raise DataError(
                "TableInputs need the columns of a table, got data without; leave `text` and "
                "`image` out of the data"
            )
        return TableInputs.fit(self.columns, self.rows, thresholds=thresholds)

    def with_synthetic(self, count: int) -> Splits:
        """Return the splits with that many rows more to train on, made by `munge`; for a teacher.

        Raises:
            ArgumentError: Inputs are not rows of a table in a file, or `count` is below 1.
        """
        if self._make is None:
            raise ArgumentError(
                "`synthetic` is for tables in files, got other data; give more inputs as "
                "`unlabelled`, or a transform"
            )
        integer("count", count, 1, "it counts the rows that are made")
        described = f"{self.described}; {count:,} synthetic rows"
        return replace(self, train=Extended(self.train, self._make(count)), described=described)

    def examples(self, reference: str) -> tuple[Any, pd.DataFrame]:
        """Return the examples of another file, read as the training data was, and its columns.

        Examples are inputs alone, with domains if the file has these; labels are not read. Rows
        that cannot be used, such as empty ones, are left out of both, which the log says.

        Args:
            reference: A file, a folder or the name of a data set, as in a recipe.

        Raises:
            DataError: It cannot be read, or has not the columns of the training data.
        """
        if self._read is None:
            raise DataError(
                "other examples can be read for data in files, got data sets of Python; load them "
                "as you loaded these"
            )
        return self._read(reference)


class Examples(Dataset[Any]):
    """Texts or images with labels and domains.

    Args:
        inputs: Texts, or images.
        labels: `[examples, …]`; None for none.
        domains: A name for each example; None for no domains.
        by_word: Whether labels are those of words, of which each text has as many as words.
    """

    def __init__(
        self,
        inputs: Any,
        labels: Tensor | None = None,
        domains: Sequence[str] | None = None,
        by_word: bool = False,
    ) -> None:
        self.inputs, self.labels, self.domains, self.by_word = inputs, labels, domains, by_word

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> Any:
        """Return `(input, label)`, `DomainExample`, or an input alone."""
        at = range(len(self))[index]
        if self.labels is None:
            return self.inputs[at]
        label = self.labels[at]
        label = label[: len(self.inputs[at].split())] if self.by_word else label
        example = self.inputs[at], label
        return example if self.domains is None else DomainExample(*example, self.domains[at])


def examples_of(
    inputs: Any, labels: Tensor | None, domains: list[str] | None, by_word: bool = False
) -> Dataset[Any]:
    """Return a data set; rows of numbers become tensors, which are fast."""
    if domains is not None and labels is None:  # the domain stands behind a label
        labels = torch.full((len(inputs),), UNLABELLED)
    if not isinstance(inputs, Tensor):
        return Examples(inputs, labels, domains, by_word)
    if domains is None or labels is None:
        return TensorDataset(inputs) if labels is None else TensorDataset(inputs, labels)
    rows = {name: [] for name in domains}
    for row, name in enumerate(domains):
        rows[name].append(row)
    joined = Domains({name: TensorDataset(inputs[own], labels[own]) for name, own in rows.items()})
    order = torch.tensor([row for own in rows.values() for row in own])
    return Subset(joined, order.argsort().tolist())  # in the order of the data
