"""Commands that need no recipe: the demo, and reports of what was trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tutelage.cli.screen import AsJson, told


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the report and results.json.")] = Path(
        "demo"
    ),
    seeds: Annotated[
        int | None,
        typer.Option(help="Repetitions, at least 2.", show_default="5, with --quick 2"),
    ] = None,
    temperature: Annotated[
        float, typer.Option(help="Temperature of the soft targets, above 0.")
    ] = 4.0,
    quick: Annotated[
        bool, typer.Option("--quick", help="A shorter demo, with fewer seeds and steps.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train a small classifier of handwritten digits by three methods, and compare.

    Takes one to two minutes on two CPU cores and downloads nothing.
    """
    with told(as_json) as result:
        from tutelage.demo import demo_settings  # noqa: PLC0415 - imports torch
        from tutelage.demo.show import show_demo  # noqa: PLC0415

        show_demo(demo_settings(seeds, temperature, quick), out)
        result |= {"report": out / "report.html", "results": out / "results.json"}


def report(
    run: Annotated[
        Path, typer.Argument(help="Folder of a run, finished or still running, or of a study.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="The HTML report; Markdown and JSON go beside it.", show_default="RUN/report.html"
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the HTML report of a run or a study from its folder.

    For a run, metrics that run.report() measured before are kept. Without them the report shows
    what is in the log, since the code of the models is not available.
    """
    with told(as_json) as result:
        from tutelage.reports import read_record  # noqa: PLC0415 - imports torch
        from tutelage.reports.page import check_path  # noqa: PLC0415
        from tutelage.reports.report import report_record  # noqa: PLC0415
        from tutelage.training.record import read_run  # noqa: PLC0415

        study, page = run / "results.json", out or run / "report.html"
        check_path(page)
        report_record(read_record(study) if study.exists() else read_run(run), page)
        typer.echo(f"Report: {page}")
        result["report"] = page
