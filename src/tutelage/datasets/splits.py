"""Training, validation and test data that were loaded by reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from tutelage.datasets.columns import Columns
from tutelage.datasets.options import Kind
from tutelage.datasets.table_inputs import TableInputs
from tutelage.errors import DataError


@dataclass(frozen=True)
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
        form: What inputs are: texts, images, rows of a table or arrays; None if it is not known.
        columns: What the columns of a table are.
        rows: The rows of the labelled training data, if they are a table's.
        groups: What each test example belongs to, by `split.group`.
        described: What was read and decided, in one sentence.
        warnings: What should be seen to, such as examples that are also in the test data.
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

    def table_inputs(self) -> TableInputs:
        """Return the preprocessing of a network on this table, fitted on its training data.

        Raises:
            DataError: The data is no table.
        """
        if self.columns is None or self.rows is None:
            raise DataError(
                "TableInputs need the columns of a table, got data without; leave `text` and "
                "`image` out of the data"
            )
        return TableInputs.fit(self.columns, self.rows)
