"""A report as Markdown: its text and tables, and descriptions of its figures."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tutelage.reports.page import Page, Section, Table

_SPECIAL = re.compile(r"([\\`*_\[\]<>|])")
_LIST = re.compile(r"^(#+|[+-]|\d+[.)])(?=\s)")


def render_markdown(page: Page) -> str:
    """Return the page as Markdown, with GitHub's tables; all text is escaped."""
    return "\n\n".join(_blocks(page)) + "\n"


def _blocks(page: Page) -> Iterator[str]:
    yield f"# {_text(page.title)}"
    if page.lead:
        yield _text(page.lead)
    if page.warning:
        yield f"**{_text(page.warning)}**"
    yield f"> **Verdict.** {_text(page.verdict)}"
    if page.highlights:
        yield "\n".join(
            f"- **{_text(each.value)}** {_text(each.label)}" for each in page.highlights
        )
    for section in page.sections:
        yield from _section(section)
    if page.footer:
        yield _text(page.footer)


def _section(section: Section) -> Iterator[str]:
    yield f"## {_text(section.heading)}"
    yield from map(_text, section.text)
    if section.code:
        fence = max(re.findall("`+", section.code), key=len, default="``") + "`"
        fence = max(fence, "```", key=len)
        yield f"{fence}\n{section.code}\n{fence}"
    if section.table:
        yield _table(section.table)
        if section.table.note:
            yield _text(section.table.note)
    for figure in section.figures:
        yield f"### {_text(figure.title)}"
        if figure.caption:
            yield _text(figure.caption)
        if figure.description:
            yield f"*Figure:* {_text(figure.description)}"
    if section.caption:
        yield _text(section.caption)


def _table(table: Table) -> str:
    heads = [
        _text(f"{column.name}, {column.unit}" if column.unit else column.name)
        for column in table.columns
    ]
    rules = ["---:" if column.numeric else "---" for column in table.columns]
    rows = [[_text(str(cell)) for cell in row] for row in table.rows]
    if table.emphasis is not None:
        rows[table.emphasis] = [cell and f"**{cell}**" for cell in rows[table.emphasis]]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, rules, *rows))


def _text(text: str) -> str:
    """Return a text as one line, escaped for Markdown."""
    escaped = _SPECIAL.sub(r"\\\1", " ".join(text.split()))
    return _LIST.sub(lambda found: f"{found[1][:-1]}\\{found[1][-1]}", escaped)
