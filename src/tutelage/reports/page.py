"""A report as data, its rendering as one HTML file that needs no other, or Markdown, and its files.

Beside `report.html` stand `report.md`, and `report.json` with the record it was made from.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from tutelage.errors import ArgumentError
from tutelage.reports.numbers import NONE
from tutelage.results.record import Record, to_json, write_texts

_NUMBER, _LONGEST = re.compile(r"[+−]?\d"), 28  # characters of a cell that is no text
_SPECIAL = re.compile(r"([\\`*_\[\]<>|])")
_LIST = re.compile(r"^(#+|[+-]|\d+[.)])(?=\s)")
_MARK = "tutelage report"


Row = Sequence[tuple[str, str]]
"""Pairs of a column's head and a cell."""


class Column(NamedTuple):
    """The head of a table's column; the unit, or a qualification, is a second, quieter line."""

    name: str
    unit: str
    numeric: bool


@dataclass(frozen=True, slots=True)
class Table:
    r"""Rows of text with the heads of their columns, `[("Model", "teacher"), ("File\nMB", "363")]`.

    All rows have the same heads, of which two may be equal, since users name some of them. What
    stands in a head behind a line's end is its unit. The first cell of each row names it; columns
    without any value are left out. The caption is for screen readers, the note below the
    table says how to read it, and `emphasis` is the number of the primary row.
    """

    caption: str
    rows: Sequence[Row]
    note: str = ""
    emphasis: int | None = None

    @property
    def _shown(self) -> list[tuple[tuple[str, str], ...]]:
        """The columns that have a value, beyond the first, which is always there."""
        columns = enumerate(zip(*self.rows, strict=True))
        return [
            column
            for place, column in columns
            if place == 0 or any(cell != NONE for _, cell in column)
        ]

    @property
    def columns(self) -> list[Column]:
        """The heads in two parts; a column of numbers is aligned to the right."""

        def is_numeric(column: Row) -> bool:
            cells = [cell for _, cell in column if cell != NONE]
            return all(_NUMBER.match(cell) and len(cell) <= _LONGEST for cell in cells)

        parts = [(*column[0][0].partition("\n"), column) for column in self._shown]
        return [
            Column(name, unit, place > 0 and is_numeric(column))
            for place, (name, _, unit, column) in enumerate(parts)
        ]

    @property
    def cells(self) -> list[list[str]]:
        """The texts of the rows, in the order of the columns."""
        return [
            list(row)
            for row in zip(*([cell for _, cell in each] for each in self._shown), strict=True)
        ]


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
    """One number of the page in large type, such as "3.1 points better", and what it is."""

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

    The verdict is one sentence, what it rests on are `reasons`; the `outcome`, "gain", "loss" or
    "open", colours their box.
    """

    title: str
    verdict: str
    sections: tuple[Section, ...]
    lead: str = ""
    warning: str = ""
    highlights: tuple[Highlight, ...] = ()
    footer: str = ""
    outcome: str = "open"
    reasons: str = ""


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


def write_report(page: Page, path: Path, record: Record) -> Path:
    """Write a report as HTML, with Markdown and JSON of its record beside it; return the path.

    Each file is written atomically. Beside `report.html` the others are `report.md` and
    `report.json`; other files of these names are not overwritten.

    Raises:
        ArgumentError: The path does not end in `.html`, or other files would be overwritten.
        RunFolderError: A file cannot be written.
    """
    check_path(path)
    markdown = f"{render_markdown(page)}\n<!-- {_MARK} -->\n"
    beside = {path.with_suffix(".md"): markdown, path.with_suffix(".json"): to_json(record)}
    write_texts(beside | {path: render(page)})
    return path


def check_path(path: Path) -> None:
    """Check before any work that a report can be written, and would overwrite no other file."""
    if path.suffix != ".html":
        raise ArgumentError(
            f"`path` must end in .html, got {path}; the Markdown and the JSON are written beside it"
        )
    for other in (path.with_suffix(".md"), path.with_suffix(".json")):
        if other.is_file() and _MARK.encode() not in other.read_bytes():
            raise ArgumentError(
                f"`path` must not make a report overwrite other files, got {path}, and {other} "
                "beside it is not a report; choose another name"
            )
