"""A report as data, and its rendering: one HTML file that needs no other, or Markdown."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from html import unescape
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from tutelage.reports.numbers import NONE, sort_value


@dataclass(frozen=True, slots=True)
class Column:
    """The head of a table's column; the unit, or a qualification, is a second, quieter line."""

    name: str
    unit: str = ""
    numeric: bool = True


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell that is not sorted by its text but by its value; None for last."""

    text: str
    value: float | None = None

    def __str__(self) -> str:
        return self.text

    __rich__ = __str__  # for a table on a terminal


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text; the first cell of each names the row.

    The caption is for screen readers, the note below the table says how to read it, and `emphasis`
    is the number of the primary row. Where there are several rows, a click on a head sorts them:
    numbers such as `96.7 ± 1.2` or `363 kB` by value.
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

        def of(cell: str | Cell, column: Column) -> Cell:
            if isinstance(cell, Cell):
                return cell
            return Cell(cell, sort_value(cell) if column.numeric else None)

        return [list(map(of, row, self.columns)) for row in self.rows]


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawing of `tutelage.reports.figures`, which is taken as it is, with its title.

    One that is `wide` takes the whole width of the page.
    """

    svg: str
    title: str
    caption: str = ""
    wide: bool = False

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
    """One number of the page in large type, such as "+3.1 points", and what it is."""

    value: str
    label: str


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a page: paragraphs, code to be copied, a table, and figures with their caption."""

    heading: str
    text: tuple[str, ...] = ()
    table: Table | None = None
    figures: tuple[Figure, ...] = ()
    caption: str = ""
    code: str = ""

    @property
    def fenced(self) -> Markup:
        """The code for Markdown, within a fence that it does not contain."""
        fence = max(["``", *re.findall("`+", self.code)], key=len) + "`"
        return Markup(f"{fence}\n{self.code}\n{fence}")  # noqa: S704 - no HTML


@dataclass(frozen=True, slots=True)
class Page:
    """A whole page: title, lead (what this is), warning, verdict, highlights, sections, footer.

    The `outcome`, "gain", "loss" or "open", colours the verdict.
    """

    title: str
    verdict: str
    sections: tuple[Section, ...]
    lead: str = ""
    warning: str = ""
    highlights: tuple[Highlight, ...] = ()
    footer: str = ""
    outcome: str = "open"

    @property
    def sorts(self) -> bool:
        """Whether any of its tables can be sorted, which needs a script."""
        return any(section.table is not None and section.table.sorts for section in self.sections)


_SPECIAL = re.compile(r"([\\`*_\[\]<>|])")
_LIST = re.compile(r"^(#+|[+-]|\d+[.)])(?=\s)")


def render(page: Page) -> str:
    """Return the page as HTML; all text is escaped."""
    return _template("page.html.j2", autoescape=True, finalize=_unbroken).render(page=page)


def render_markdown(page: Page) -> str:
    """Return the page as Markdown, with GitHub's tables and figures in words; text is escaped."""
    text = _template("page.md.j2", autoescape=False, finalize=_escaped).render(page=page)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _template(name: str, **options: Any) -> Template:
    environment = Environment(  # noqa: S701 - each says how it escapes
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        **options,
    )
    return environment.get_template(name)


def _unbroken(value: object) -> object:
    """Keep a number and its per cent sign on one line."""
    return value.replace(" %", "\N{NO-BREAK SPACE}%") if type(value) is str else value


def _escaped(value: object) -> object:
    """Return a text as one line, escaped for Markdown."""
    if isinstance(value, Markup):
        return value
    text = _SPECIAL.sub(r"\\\1", " ".join(str(value).split()))
    return _LIST.sub(lambda found: f"{found[1][:-1]}\\{found[1][-1]}", text)
