"""The whole demo as the shell runs it: study, table, files."""

from __future__ import annotations

import os
from pathlib import Path

from rich.console import Console

from tutelage.demo.page import demo_page
from tutelage.demo.run import run_demo
from tutelage.demo.screen import show
from tutelage.demo.settings import DemoSettings
from tutelage.errors import RunFolderError
from tutelage.reports import Record, write_record, write_report
from tutelage.reports.writing import check_path


def show_demo(settings: DemoSettings, out: Path) -> Record:
    """Run the demo, print its table and verdict, write `results.json` and the report.

    Args:
        settings: What to do.
        out: The folder for `results.json` and for `report.html`, `.md` and `.json`; it is made
            before any work is done.

    Raises:
        ArgumentError: The report would overwrite files that are none.
        RunFolderError: The folder cannot be written.
    """
    page = out / "report.html"
    _make_writable(out)
    check_path(page)
    on_screen = Console(stderr=True)
    if on_screen.is_terminal:
        on_screen.print("Training the teacher, then its students", style="dim")
    results = run_demo(settings, progress=True)
    write_record(results, out / "results.json")
    write_report(demo_page(results, settings), page, results)
    console = Console()
    show(results, settings, console)
    console.print(
        f"\nReport: {page}\nResults as JSON: {out / 'results.json'}",
        highlight=False,
        soft_wrap=True,
    )
    return results


def _make_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(f"{folder} is not to be written")
    except OSError as error:
        raise RunFolderError(
            f"`out` must be a folder that can be written, got {error}; give another with --out"
        ) from error
