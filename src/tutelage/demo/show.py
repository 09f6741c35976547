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
from tutelage.files import writing
from tutelage.reports import Record, write_record, write_report
from tutelage.reports.writing import check_path


def show_demo(settings: DemoSettings, out: Path) -> Record:
    """Run the demo, print its table and verdict, write `results.json` and the report to a folder.

    That these can be written is made sure before any work is done.
    """
    page = out / "report.html"
    with writing(out, RunFolderError):
        out.mkdir(parents=True, exist_ok=True)
        if not os.access(out, os.W_OK):
            raise PermissionError(f"{out} is not to be written")
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
