"""The whole demo as the shell runs it: experiment, table, files."""

from __future__ import annotations

import os
from pathlib import Path

from rich.console import Console

from tutelage.demo.experiment import run_demo
from tutelage.demo.page import demo_page
from tutelage.demo.results import DemoResults
from tutelage.demo.screen import progress_line, show
from tutelage.demo.settings import DemoSettings
from tutelage.errors import RunFolderError
from tutelage.reports import write_page


def show_demo(settings: DemoSettings, out: Path) -> DemoResults:
    """Run the demo, print its table and verdict, write `results.json` and `report.html`.

    Args:
        settings: What to do.
        out: The folder for both files; it is made before any work is done.

    Raises:
        RunFolderError: The folder cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        if not os.access(out, os.W_OK):
            raise PermissionError(f"{out} is not to be written")
    except OSError as error:
        raise RunFolderError(
            f"`out` must be a folder that can be written, got {error}; give another with --out"
        ) from error
    console = Console()
    with progress_line() as tell:
        results = run_demo(settings, tell)
        tell(0.99, "drawing the report")
        record = results.write(out / "results.json")
        page = write_page(demo_page(results), out / "report.html")
    show(results, console)
    console.print(f"\nReport: {page}\nFigures as JSON: {record}", highlight=False, soft_wrap=True)
    return results
