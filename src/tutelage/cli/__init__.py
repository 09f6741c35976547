"""The command line: parse, call, print. Heavy modules are imported only when a command runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.console import Console

from tutelage import __version__
from tutelage.cli import jobs
from tutelage.cli.screen import errors_told

app = typer.Typer(
    name="tutelage",
    help="Knowledge distillation: train a small, fast model from a large trained one, with proof.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
Targets = Annotated[Path, typer.Argument(help="Folder of targets that tl.label wrote.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tutelage {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and stop.", callback=_print_version),
    ] = False,
) -> None:
    """Take the options without a command."""


@app.command()
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
) -> None:
    """Train a small classifier of handwritten digits by three methods, and compare.

    Takes less than a minute on two CPU cores and downloads nothing.
    """
    with errors_told():
        from tutelage.demo.settings import demo_settings  # noqa: PLC0415 - imports torch
        from tutelage.demo.show import show_demo  # noqa: PLC0415

        show_demo(demo_settings(seeds, temperature, quick), out)


@app.command()
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
) -> None:
    """Write the HTML report of a run or a study from its folder.

    For a run, metrics that run.report() measured before are kept. Without them the report shows
    what is in the log, since the code of the models is not available.
    """
    with errors_told():
        from tutelage.reports import read_record  # noqa: PLC0415 - imports torch
        from tutelage.reports.report import report_record  # noqa: PLC0415
        from tutelage.reports.writing import check_path  # noqa: PLC0415
        from tutelage.training.read_run import read_run  # noqa: PLC0415

        study, page = run / "results.json", out or run / "report.html"
        check_path(page)
        report_record(read_record(study) if study.exists() else read_run(run), page)
    typer.echo(f"Report: {page}")


@app.command()
def label(  # noqa: PLR0913 - the verb's options
    teacher: Annotated[
        str, typer.Argument(help="The teacher: package.module:name or folder/file.py:name.")
    ],
    data: Annotated[str, typer.Argument(help="The data set, likewise.")],
    *,
    out: Annotated[Path, typer.Option(help="Folder of the targets.")],
    views: Annotated[int, typer.Option(help="Number of views of augmented examples.")] = 1,
    top_k: Annotated[
        int | None, typer.Option(help="Number of classes to keep.", show_default="all")
    ] = None,
    sampled_classes: Annotated[
        int | None, typer.Option(help="Number of classes to sample.", show_default="none")
    ] = None,
    temperature: Annotated[float, typer.Option(help="Temperature for sampling classes.")] = 1.0,
    dtype: Annotated[str, typer.Option(help="float16, bfloat16 or float32.")] = "float16",
    batch_size: Annotated[int, typer.Option(help="Examples in a batch.")] = 256,
    precision: Annotated[
        str, typer.Option(help="Precision of the teacher: fp32, bf16 or fp16.")
    ] = "fp32",
    verify: Annotated[
        bool, typer.Option("--verify", help="Check what is stored and recompute what is damaged.")
    ] = False,
) -> None:
    """Store a teacher's predictions for all examples of a data set on disk.

    A reference names the object, or a function without arguments that returns it. After a kill or a
    full disk, the same command resumes.
    """
    with errors_told():
        from tutelage import training  # noqa: PLC0415 - imports torch
        from tutelage.references import load  # noqa: PLC0415
        from tutelage.reports.numbers import file_size  # noqa: PLC0415

        engine = training.Engine(precision=precision)
        store = training.label(
            cast("Any", load("TEACHER", teacher)),
            load("DATA", data),
            out=out,
            views=views,
            top_k=top_k,
            sampled_classes=sampled_classes,
            temperature=temperature,
            dtype=dtype,
            batch_size=batch_size,
            verify=verify,
            engine=engine,
        )
        size = file_size(store.bytes)
    typer.echo(f"Targets: {out} ({len(store):,} examples, views: {store.views}, {size})")


@app.command()
def show(store: Targets) -> None:
    """Print a summary of stored targets: sizes, the teacher's confusions, a few examples."""
    with errors_told():
        from tutelage.reports.store_screen import show_store  # noqa: PLC0415 - imports torch

        show_store(store, Console())


@app.command()
def verify(store: Targets) -> None:
    """Check all stored targets and list what is damaged; exit with 1 if anything is."""
    with errors_told():
        from tutelage.reports.store_screen import verify_store  # noqa: PLC0415 - imports torch

        sound = verify_store(store, Console())
    if not sound:
        raise typer.Exit(1)


app.command()(jobs.distill)


def main() -> None:
    """Run the command line."""
    app()
