"""What all commands share: errors in one line, results as text or as JSON, exit codes.

A command ends with 0 if it did what was asked, with 1 after an error that tutelage raised on
purpose, and with 2 if its arguments are wrong.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from tutelage.errors import RecipeError, TutelageError

AsJson = Annotated[
    bool, typer.Option("--json", help="Print the result, or the error, as JSON for programs.")
]


@contextmanager
def errors_told(as_json: bool = False) -> Iterator[None]:
    """Print an error that tutelage raised on purpose, and exit with 1."""
    try:
        yield
    except TutelageError as error:
        if as_json:
            tell_json({"error": {"type": type(error).__name__, "message": str(error)}})
        else:
            several = isinstance(error, RecipeError)
            lines = str(error).splitlines() if several else [" ".join(str(error).split())]
            console = Console(stderr=True)
            for line in lines:
                console.print(Text(f"Error: {line}", style="red"), soft_wrap=True)
        raise typer.Exit(1) from error


def tell(as_json: bool, text: str, result: Mapping[str, Any]) -> None:
    """Print a result as text, or as JSON."""
    tell_json(result) if as_json else typer.echo(text)


def tell_json(result: Mapping[str, Any]) -> None:
    """Print one JSON object; what is no number in JSON is null."""
    typer.echo(json.dumps(_plain(result), default=str, allow_nan=False))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
