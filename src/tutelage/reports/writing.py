"""A report as files: HTML, Markdown and JSON, of which the last can be read back."""

from __future__ import annotations

from pathlib import Path

from tutelage.errors import ArgumentError
from tutelage.reports.page import Page, render, render_markdown
from tutelage.results.record import Record, to_json, write_texts

_MARK = "tutelage report"


def write_report(page: Page, path: Path, record: Record) -> Path:
    """Write a report as HTML, with Markdown and JSON of its record beside it; return the path.

    Each file is written atomically. Beside `report.html` the others are `report.md` and
    `report.json`; other files of these names are not overwritten.
    """
    check_path(path)
    beside = {
        path.with_suffix(".md"): f"{render_markdown(page)}\n<!-- {_MARK} -->\n",
        path.with_suffix(".json"): to_json(record),
    }
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
                "beside it is no report; choose another name"
            )
