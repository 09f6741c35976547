"""A report as files: HTML, Markdown and JSON, of which the last can be read back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tutelage.errors import ArgumentError, RunFolderError
from tutelage.files import write_whole
from tutelage.reports.page import Page, render, render_markdown
from tutelage.reports.record import FORMAT, Record

_MARK = "tutelage report"


def write_report(page: Page, path: Path, record: Record) -> Path:
    """Write a report as HTML, with Markdown and JSON of its record beside it; return the path.

    Each file is written atomically. Beside `report.html` the others are `report.md` and
    `report.json`; other files of these names are not overwritten.
    """
    check_path(path)
    beside = {
        path.with_suffix(".md"): f"{render_markdown(page)}\n<!-- {_MARK} -->\n",
        path.with_suffix(".json"): _json(record),
    }
    _write(beside | {path: render(page)})
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


def write_record(record: Record, path: Path) -> Path:
    """Write a record as JSON; return the path."""
    _write({path: _json(record)})
    return path


def read_record(path: Path) -> Record:
    """Read a record back.

    Raises:
        RunFolderError: The file is no record that this version reads.
    """
    from pydantic import TypeAdapter, ValidationError  # noqa: PLC0415 - loaded where used

    try:
        return TypeAdapter(Record).validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise RunFolderError(
            f"{path} must be a record of the format {FORMAT!r}, got {error}; make it again: call "
            "the study again, whose finished trials are not repeated, or report() of the run"
        ) from error


def _json(record: Record) -> str:
    from pydantic import TypeAdapter  # noqa: PLC0415 - loaded where used

    return TypeAdapter(Record).dump_json(record, indent=2).decode() + "\n"


def _write(contents: Mapping[Path, str]) -> None:
    for path, text in contents.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, text.encode())
        except OSError as error:
            raise RunFolderError(
                f"the report must be written to {path}, got {error}; choose another path"
            ) from error
