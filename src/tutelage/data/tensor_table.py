"""Data sets that consist of tensors, as tables that are indexed by batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import accumulate

import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Subset, TensorDataset

from tutelage.data.sets import Domains, Labelled, Unlabelled
from tutelage.errors import DataError

_ROWS_AT_ONCE = 2**14


@dataclass(frozen=True, slots=True)
class Column:
    """Tensors `[rows, …]` of consecutive rows, indexed as if they were concatenated."""

    parts: tuple[Tensor, ...]

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def row_bytes(self) -> int:
        """Return the bytes of a row."""
        return self.parts[0][:1].numel() * self.parts[0].element_size()

    def take(self, rows: Tensor) -> Tensor:
        """Return some rows, in their order."""
        first = self.parts[0]
        if len(self.parts) == 1:
            return first.index_select(0, rows.to(first.device))
        kind = reduce(torch.promote_types, (part.dtype for part in self.parts))
        found = first.new_empty((len(rows), *first.shape[1:]), dtype=kind)
        starts = accumulate(map(len, self.parts[:-1]), initial=0)
        for start, part in zip(starts, self.parts, strict=True):
            at = ((rows >= start) & (rows < start + len(part))).nonzero().squeeze(1)
            chosen = part.index_select(0, (rows[at] - start).to(part.device))
            found.index_copy_(0, at.to(found.device), chosen.to(kind))
        return found

    def fits(self, other: Column) -> bool:
        """Tell whether both can be one column; integer dtypes may differ."""
        one, two = self.parts[0], other.parts[0]
        integers = not (one.dtype.is_floating_point or two.dtype.is_floating_point)
        fit = one.shape[1:] == two.shape[1:] and one.device == two.device
        return fit and (one.dtype == two.dtype or integers)


@dataclass(frozen=True, slots=True)
class Table:
    """The parts of a data set's examples as tensors.

    Args:
        columns: Of equal length.
        inputs: Which columns are inputs.
        labels: Which one has the labels; None for none.
        rows: Which rows of the columns are the data, `[examples]`; None for all.
        domain: `[rows of the columns]`: the number of each row's domain, an index of `names`; None
            for no domains.
        names: Of the domains.
    """

    columns: tuple[Column, ...]
    inputs: tuple[int, ...] = (0,)
    labels: int | None = None
    rows: Tensor | None = None
    domain: Tensor | None = None
    names: tuple[str, ...] = ()

    def chosen(self, rows: Tensor) -> Table:
        """Return the table of some of the examples; negative positions count from the end."""
        length = len(self.columns[0]) if self.rows is None else len(self.rows)
        outside = (rows < -length) | (rows >= length)
        if outside.any():
            raise DataError(
                f"the indices of a Subset must lie within its data set of {length} examples, got "
                f"{int(rows[outside][0])}; leave it out"
            )
        rows = torch.where(rows < 0, rows + length, rows)
        return replace(self, rows=rows if self.rows is None else self.rows[rows])

    def positions(self) -> Tensor:
        """Return which rows of the columns are the data."""
        return torch.arange(len(self.columns[0])) if self.rows is None else self.rows

    def pieces(self) -> Iterator[Tensor]:
        """Yield the columns, and the domains' numbers if there are any, in pieces of some rows."""
        own = self.columns if self.domain is None else (*self.columns, Column((self.domain,)))
        for column in own:
            for piece in self.positions().split(_ROWS_AT_ONCE):
                if self.rows is None and len(column.parts) == 1:
                    yield column.parts[0][piece[0] : piece[-1] + 1]  # without a copy
                else:
                    yield column.take(piece)

    def named(self, name: str) -> Table:
        """Return the table with all rows in one domain."""
        domain = torch.zeros(len(self.columns[0]), dtype=torch.int64)
        return replace(self, domain=domain, names=(name,))


def table_of(data: object) -> Table | None:
    """Return a data set of tensors as a table; None for any other data set.

    These are a `TensorDataset`, `Domains` and `Unlabelled` sets of such, a `ConcatDataset` of
    several with equal columns, a `Subset` of any of these (what `random_split` returns), and what
    `labelled` makes of one. Anything else, a subclass too, may compute its examples.
    """
    if type(data) is TensorDataset:
        columns = tuple(Column((each,)) for each in data.tensors)
        return Table(columns, labels=1 if len(columns) > 1 else None) if columns else None
    if type(data) is Subset:
        inner = table_of(data.dataset)
        return None if inner is None else inner.chosen(torch.as_tensor(data.indices).long())
    if type(data) is Unlabelled:
        inner = table_of(data.inputs)
        if inner is None:
            return None
        inputs = [inner.columns[each] for each in inner.inputs]
        marks = Column((data.label.expand(len(inputs[0]), *data.label.shape),))
        own = tuple(range(len(inputs)))
        return replace(inner, columns=(*inputs, marks), inputs=own, labels=len(own))
    if type(data) is Labelled:
        return _named(table_of(data.dataset), data)
    tables: list[Table | None] = []
    if type(data) is ConcatDataset:
        tables = [table_of(each) for each in data.datasets]
    elif type(data) is Domains:
        found = [(name, table_of(each)) for name, each in data.sets.items()]
        # A set without labels is refused by `Domains` itself.
        if all(table is not None and table.labels is not None for _, table in found):
            tables = [table and table.named(name) for name, table in found]
    return _joined(tables)


def _named(inner: Table | None, data: Labelled) -> Table | None:
    """Return a table whose columns are named by `labelled`; None where these are no whole ones."""
    if inner is None or inner.inputs != (0,) or inner.labels not in (None, 1) or inner.names:
        return None
    if data.domain is not None or isinstance(data.labels, str):
        return None
    try:
        inputs, labels, _ = data.places(len(inner.columns))
    except IndexError:
        return None  # which reading an example tells
    return replace(inner, inputs=inputs, labels=labels)


def _joined(tables: Sequence[Table | None]) -> Table | None:
    """Return the concatenation of tables, if their columns fit."""
    known = [_used(table) for table in tables if table is not None]
    if not known or len(known) < len(tables) or not all(_fits(known[0], each) for each in known):
        return None
    columns = tuple(
        Column(tuple(part for each in column for part in each.parts))
        for column in zip(*(table.columns for table in known), strict=True)
    )
    lengths = [len(table.columns[0]) for table in known]
    starts = accumulate(lengths[:-1], initial=0)
    rows = [table.positions() + start for table, start in zip(known, starts, strict=True)]
    names = tuple(dict.fromkeys(name for table in known for name in table.names))
    domains = [
        torch.tensor([names.index(name) for name in table.names])[table.domain]
        for table in known
        if table.domain is not None
    ]
    domain = torch.cat(domains) if domains else None
    return replace(known[0], columns=columns, rows=torch.cat(rows), domain=domain, names=names)


def _used(table: Table) -> Table:
    """Return a table of inputs and labels alone, in this order."""
    own = table.inputs if table.labels is None else (*table.inputs, table.labels)
    inputs, labels = tuple(range(len(table.inputs))), None if table.labels is None else len(own) - 1
    columns = tuple(table.columns[each] for each in own)
    return replace(table, columns=columns, inputs=inputs, labels=labels)


def _fits(one: Table, other: Table) -> bool:
    same = len(one.columns) == len(other.columns) and bool(one.names) == bool(other.names)
    pairs = zip(one.columns, other.columns, strict=False)
    return same and all(column.fits(another) for column, another in pairs)
