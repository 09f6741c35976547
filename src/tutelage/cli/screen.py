"""What all commands share: errors in one line, results as text or as JSON."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stdout
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from tutelage.errors import RecipeError, TutelageError

AsJson = Annotated[
    bool,
    typer.Option(
        "--json", help="Print the result, or the error, as JSON; all else goes to standard error."
    ),
]


@contextmanager
def command_output(as_json: bool = False) -> Iterator[dict[str, Any]]:
    """Print the result as JSON if wanted; print an error in one line and exit with 1.

    The result is put into the dict that this yields. Texts are printed by the command; with JSON
    they go to standard error.
    """
    result: dict[str, Any] = {}
    try:
        with redirect_stdout(sys.stderr) if as_json else nullcontext():
            yield result
    except TutelageError as error:
        if as_json:
            _print_json({"error": {"type": type(error).__name__, "message": str(error)}})
        else:
            lines = str(error).splitlines()
            if not isinstance(error, RecipeError):  # which has a line for each thing that is wrong
                first, *others = (" ".join(each.split()) for each in lines)
                lines = [" ".join([first, "; ".join(others)]) if others else first]
            for line in lines:
                Console(stderr=True).print(Text(f"Error: {line}", style="red"), soft_wrap=True)
        raise typer.Exit(1) from error
    if as_json:
        _print_json(result)


def _print_json(result: Mapping[str, Any]) -> None:
    typer.echo(json.dumps(_plain(result), default=str, allow_nan=False))


def _plain(value: Any) -> Any:
    """Return data in which what JSON has no number for is None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
