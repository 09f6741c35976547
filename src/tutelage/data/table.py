"""Data held in tensors, or in several that follow each other, looked up by whole batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import accumulate

import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Subset, TensorDataset

from tutelage.data.domains import Domains
from tutelage.data.unlabelled import Unlabelled


@dataclass(frozen=True, slots=True)
class Column:
    """Tensors that follow each other and are looked up as one, without a copy of them all.

    Args:
        parts: `[rows, …]` each, alike but for the rows.
    """

    parts: tuple[Tensor, ...]

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def row_bytes(self) -> int:
        """Return what a row takes."""
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
            places = ((rows >= start) & (rows < start + len(part))).nonzero().squeeze(1)
            chosen = part.index_select(0, (rows[places] - start).to(part.device))
            found.index_copy_(0, places.to(found.device), chosen.to(kind))
        return found

    def fits(self, other: Column) -> bool:
        """Tell whether both can be one column; labels may be whole numbers of several sizes."""
        mine, theirs = self.parts[0], other.parts[0]
        whole = not (mine.dtype.is_floating_point or theirs.dtype.is_floating_point)
        alike = mine.shape[1:] == theirs.shape[1:] and mine.device == theirs.device
        return alike and (mine.dtype == theirs.dtype or whole)


@dataclass(frozen=True, slots=True)
class Table:
    """Inputs and labels of a data set in tensors.

    Args:
        columns: Inputs, or inputs and labels, of equal length.
        rows: Which rows of them are the data, `[examples]`; None for all.
        domain: `[rows of the columns]`: the number of each one's domain; None for no domains.
        names: Of the domains, by number.
    """

    columns: tuple[Column, ...]
    rows: Tensor | None = None
    domain: Tensor | None = None
    names: tuple[str, ...] = ()

    def chosen(self, rows: Tensor) -> Table:
        """Return the table of some of the examples."""
        inner = rows if self.rows is None else self.rows[rows]
        return Table(self.columns, inner, self.domain, self.names)

    def named(self, name: str) -> Table:
        """Return the table with all rows in one domain."""
        domain = torch.zeros(len(self.columns[0]), dtype=torch.int64)
        return Table(self.columns, self.rows, domain, (name,))


def table_of(data: object) -> Table | None:
    """Return what a data set holds in tensors, if that is all it is.

    That is so for a `TensorDataset` of one or two tensors, for sets of domains and unlabelled sets
    of such, for several of one kind after each other (`ConcatDataset`), and for a `Subset` of any
    of these (what `random_split` returns); anything else, a subclass too, may compute its
    examples: None.
    """
    if type(data) is TensorDataset:
        fits = 1 <= len(data.tensors) <= 2  # noqa: PLR2004 - inputs, labels
        return Table(tuple(Column((each,)) for each in data.tensors)) if fits else None
    if type(data) is Subset:
        inner = table_of(data.dataset)
        return None if inner is None else inner.chosen(torch.as_tensor(data.indices).long())
    if type(data) is Unlabelled:
        return _without_labels(data)
    if type(data) is ConcatDataset:
        return _joined([table_of(each) for each in data.datasets])
    return _with_domains(data.sets) if type(data) is Domains else None


def _with_domains(sets: Mapping[str, object]) -> Table | None:
    found = [(name, table_of(each)) for name, each in sets.items()]
    # One of inputs alone is left to the set itself, which says what it misses.
    complete = all(table is not None and len(table.columns) > 1 for _, table in found)
    return _joined([each and each.named(name) for name, each in found]) if complete else None


def _without_labels(data: Unlabelled) -> Table | None:
    inner = table_of(data.inputs)
    if inner is None:
        return None
    inputs = inner.columns[0]
    labels = data.label.expand(len(inputs), *data.label.shape)
    return Table((inputs, Column((labels,))), inner.rows, inner.domain, inner.names)


def _joined(tables: Sequence[Table | None]) -> Table | None:
    """Return tables after each other as one, if they are of one kind."""
    whole = [table for table in tables if table is not None]
    if not whole or len(whole) < len(tables) or not all(_fits(whole[0], each) for each in whole):
        return None
    columns = tuple(
        Column(tuple(part for each in column for part in each.parts))
        for column in zip(*(table.columns for table in whole), strict=True)
    )
    lengths = [len(table.columns[0]) for table in whole]
    starts = accumulate(lengths[:-1], initial=0)
    rows = [_rows(table) + start for table, start in zip(whole, starts, strict=True)]
    names = tuple(dict.fromkeys(name for table in whole for name in table.names))
    domains = [_renumbered(table, names) for table in whole if table.domain is not None]
    return Table(columns, torch.cat(rows), torch.cat(domains) if domains else None, names)


def _fits(one: Table, other: Table) -> bool:
    same = len(one.columns) == len(other.columns) and bool(one.names) == bool(other.names)
    pairs = zip(one.columns, other.columns, strict=False)
    return same and all(mine.fits(theirs) for mine, theirs in pairs)


def _rows(table: Table) -> Tensor:
    return torch.arange(len(table.columns[0])) if table.rows is None else table.rows


def _renumbered(table: Table, names: tuple[str, ...]) -> Tensor:
    """Return the domains' numbers by the names of a larger table."""
    numbers = torch.tensor([names.index(name) for name in table.names])
    assert table.domain is not None  # noqa: S101 - the caller asks those that have one
    return numbers[table.domain]
