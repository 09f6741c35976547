"""The command line: parse, call, print. Heavy modules are imported only when a command runs.

A command ends with 0 if it did what was asked, with 1 after an error that tutelage raised on
purpose (or if `verify` finds damage), and with 2 if its arguments are wrong.
"""

from __future__ import annotations

from typing import Annotated

import typer

from tutelage import __version__
from tutelage.cli import folders, recipes
from tutelage.cli.init import init

app = typer.Typer(
    name="tutelage",
    help="Knowledge distillation: train a small, fast model from a large trained one, with proof.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


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


for _command in (
    init,
    recipes.compress,
    recipes.distill,
    recipes.study,
    recipes.label,
    recipes.evaluate,
    recipes.predict,
    recipes.export,
    folders.report,
    folders.show,
    folders.verify,
    recipes.schema,
    folders.demo,
):
    app.command()(_command)


def main() -> None:
    """Run the command line."""
    app()
