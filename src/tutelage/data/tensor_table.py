"""Data sets that consist of tensors, as tables that are indexed by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import accumulate

import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Subset, TensorDataset

from tutelage.data.sets import Domains, Extended, Labelled, Unlabelled
from tutelage.nested import warn_unused

_ROWS_AT_ONCE = 2**14


@dataclass(frozen=True, slots=True)
class Joined:
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

    def fits(self, other: Joined) -> bool:
        """Tell whether both can be one column; integer dtypes may differ."""
        one, two = self.parts[0], other.parts[0]
        integers = not (one.dtype.is_floating_point or two.dtype.is_floating_point)
        fit = one.shape[1:] == two.shape[1:] and one.device == two.device
        return fit and (one.dtype == two.dtype or integers)


@dataclass(frozen=True, slots=True)
class Table:
    """The inputs and labels of a data set's examples as tensors.

    Args:
        inputs: Columns of equal length.
        labels: Another; None where examples have no labels.
        rows: Which rows of the columns are the data, `[examples]`; None for all.
        domain: `[rows of the columns]`: the number of each row's domain, an index of `names`; None
            for no domains.
        names: Of the domains.
    """

    inputs: tuple[Joined, ...]
    labels: Joined | None = None
    rows: Tensor | None = None
    domain: Tensor | None = None
    names: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[Joined, ...]:
        """Inputs and labels."""
        return self.inputs if self.labels is None else (*self.inputs, self.labels)

    def positions(self) -> Tensor:
        """Return which rows of the columns are the data."""
        return torch.arange(len(self.inputs[0])) if self.rows is None else self.rows

    def pieces(self) -> Iterator[Tensor]:
        """Yield the columns, and the domains' numbers if there are any, in pieces of some rows."""
        own = self.columns if self.domain is None else (*self.columns, Joined((self.domain,)))
        for column in own:
            for piece in self.positions().split(_ROWS_AT_ONCE):
                if self.rows is None and len(column.parts) == 1:
                    yield column.parts[0][piece[0] : piece[-1] + 1]  # without a copy
                else:
                    yield column.take(piece)


Places = Callable[[int], tuple[tuple[int, ...], int, int | None]]
"""Callable: the number of an example's parts → those of its inputs, labels and domain."""


def table_of(data: object, places: Places | None = None) -> Table | None:
    """Return a data set of tensors as a table; None for any other data set.

    These are a `TensorDataset`, `Domains` and `Unlabelled` sets of such, a `ConcatDataset` of
    several with equal columns, a `Subset` of any of these (what `random_split` returns), and what
    `labelled` makes of one, whose `places` say which tensors are used. Anything else, a subclass
    too, may compute its examples.
    """
    found: Table | None = None
    if type(data) is TensorDataset:
        found = _of_tensors(data.tensors, places)
    elif type(data) is Subset:
        rows = torch.as_tensor(data.indices).long()
        if (inner := table_of(data.dataset, places)) is not None:
            found = replace(inner, rows=inner.positions()[rows])
    elif type(data) is ConcatDataset or type(data) is Extended:
        found = _joined([table_of(each, places) for each in data.datasets])
    elif type(data) is Labelled:
        if places is None and not isinstance(data.labels, str) and data.domain is None:
            found = table_of(data.dataset, data.places)
    elif type(data) is Unlabelled and places is None:
        if (inner := table_of(data.inputs)) is not None:
            marks = data.label.expand(len(inner.inputs[0]), *data.label.shape)
            found = replace(inner, labels=Joined((marks,)))
    elif type(data) is Domains and places is None:
        found = _joined([table_of(each) for each in data.sets.values()], tuple(data.sets))
    return found


def _of_tensors(tensors: tuple[Tensor, ...], places: Places | None) -> Table | None:
    """Return a table of tensors `(inputs, labels)`, or of those at other places."""
    columns = tuple(Joined((each,)) for each in tensors)
    if places is None:
        if len(columns) > 2:  # noqa: PLR2004
            warn_unused(len(columns) - 2)
        return Table(columns[:1], columns[1] if len(columns) > 1 else None) if columns else None
    try:
        inputs, labels, _ = places(len(columns))
    except IndexError:
        return None  # for which reading an example has the better error
    return Table(tuple(columns[each] for each in inputs), columns[labels])


def _joined(tables: Sequence[Table | None], domains: tuple[str, ...] = ()) -> Table | None:
    """Return the concatenation of tables, if their columns fit; `domains` are new names of each."""
    known = [each for each in tables if each is not None]
    if not known or len(known) < len(tables) or not all(_fits(known[0], each) for each in known):
        return None
    if domains and known[0].labels is None:
        return None  # which `Domains` itself refuses
    columns = [
        Joined(tuple(part for each in column for part in each.parts))
        for column in zip(*(table.columns for table in known), strict=True)
    ]
    lengths = [len(table.inputs[0]) for table in known]
    starts = accumulate(lengths[:-1], initial=0)
    rows = [table.positions() + start for table, start in zip(known, starts, strict=True)]
    names, domain = domains, None
    if domains:
        domain = torch.arange(len(known)).repeat_interleave(torch.tensor(lengths))
    elif known[0].domain is not None:
        names = tuple(dict.fromkeys(name for table in known for name in table.names))
        numbers = [torch.tensor([names.index(name) for name in table.names]) for table in known]
        own = [table.domain for table in known if table.domain is not None]
        domain = torch.cat([new[old] for new, old in zip(numbers, own, strict=True)])
    labels = None if known[0].labels is None else columns.pop()
    return Table(tuple(columns), labels, torch.cat(rows), domain, names)


def _fits(one: Table, other: Table) -> bool:
    """Tell whether both have inputs, labels and domains alike."""
    pairs = zip(one.columns, other.columns, strict=False)
    return (
        len(one.inputs) == len(other.inputs)
        and (one.labels is None) == (other.labels is None)
        and (one.domain is None) == (other.domain is None)
        and all(column.fits(another) for column, another in pairs)
    )
