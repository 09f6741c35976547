"""A report as data, and its rendering: one HTML file that needs no other."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from html import unescape
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tutelage.reports.numbers import NONE, sort_value


@dataclass(frozen=True, slots=True)
class Column:
    """The head of a table's column.

    Args:
        name: What stands above it.
        unit: A second, quieter line: a unit, or a qualification.
        numeric: Whether its cells are numbers, which are set to the right.
    """

    name: str
    unit: str = ""
    numeric: bool = True


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell that is not sorted by its text.

    Args:
        text: What is read.
        value: What it is sorted by; None for last.
    """

    text: str
    value: float | None = None

    def __str__(self) -> str:
        """Return what is read."""
        return self.text

    def __rich__(self) -> str:
        """Return what is read, for a table on a terminal."""
        return self.text


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text; the first cell of each names the row.

    Args:
        caption: What the table shows, for screen readers.
        columns: Heads, one for each cell of a row.
        rows: Texts; numbers such as `96.7 ± 1.2` or `363 kB` are sorted by value. A `Cell` has a
            sort value of its own.
        note: Below the table: how to read it.
        emphasis: Number of the primary row; None for none.
        sortable: Whether a click on a head sorts the rows, where there are several.
    """

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str | Cell, ...], ...]
    note: str = ""
    emphasis: int | None = None
    sortable: bool = True

    def without_empty(self) -> Table:
        """Return the table without empty columns, beyond the first."""
        kept = [
            place
            for place in range(len(self.columns))
            if place == 0 or any(str(row[place]) != NONE for row in self.rows)
        ]
        return replace(
            self,
            columns=tuple(self.columns[place] for place in kept),
            rows=tuple(tuple(row[place] for place in kept) for row in self.rows),
        )

    @property
    def sorts(self) -> bool:
        """Whether there is anything to sort."""
        return self.sortable and len(self.rows) > 1

    @property
    def cells(self) -> list[list[Cell]]:
        """The rows with what each cell is sorted by."""
        return [
            [
                cell if isinstance(cell, Cell) else Cell(cell, _order(cell, column))
                for cell, column in zip(row, self.columns, strict=True)
            ]
            for row in self.rows
        ]


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawing with its title.

    Args:
        svg: From `tutelage.reports.figures`: inline SVG, which is taken as it is.
        title: A few words.
        caption: A sentence or two that explain it.
    """

    svg: str
    title: str
    caption: str = ""

    @property
    def markup(self) -> Markup:
        """The drawing as markup that the template does not escape."""
        return Markup(self.svg)  # noqa: S704 - drawn by us

    @property
    def description(self) -> str:
        """What the drawing shows, in words; empty without."""
        label = re.search(r'aria-label="([^"]*)"', self.svg)
        return unescape(label[1]) if label else ""


@dataclass(frozen=True, slots=True)
class Highlight:
    """One number of the page in large type.

    Args:
        value: Such as "+3.1 points".
        label: What it is.
    """

    value: str
    label: str


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a page.

    Args:
        heading: Its head.
        text: Paragraphs of plain text.
        table: Below the text, if any.
        figures: Side by side where there is room.
        caption: A sentence or two below all of the figures.
        code: Lines to be copied, such as a command.
    """

    heading: str
    text: tuple[str, ...] = ()
    table: Table | None = None
    figures: tuple[Figure, ...] = ()
    caption: str = ""
    code: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """A whole page.

    Args:
        title: Its head.
        verdict: The result in words; it comes first.
        sections: Parts in their order.
        lead: A line below the title: what this is.
        warning: What a reader must know before the verdict.
        highlights: A few numbers in large type below the verdict.
        footer: The last line.
    """

    title: str
    verdict: str
    sections: tuple[Section, ...]
    lead: str = ""
    warning: str = ""
    highlights: tuple[Highlight, ...] = ()
    footer: str = ""

    @property
    def sorts(self) -> bool:
        """Whether any of its tables can be sorted, which needs a script."""
        return any(section.table is not None and section.table.sorts for section in self.sections)


def render(page: Page) -> str:
    """Return the page as HTML; all text is escaped."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_unbroken,
    )
    return environment.get_template("page.html.j2").render(page=page)


def _unbroken(value: object) -> object:
    """Keep a number and its per cent sign on one line."""
    return value.replace(" %", "\N{NO-BREAK SPACE}%") if type(value) is str else value


def _order(text: str, column: Column) -> float | None:
    return sort_value(text) if column.numeric else None
