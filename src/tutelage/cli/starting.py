"""`tutelage init`: write a commented recipe to start from."""

from __future__ import annotations

import re
import sys
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from tutelage.cli.questions import asked, line_of, one_of
from tutelage.cli.screen import AsJson, told
from tutelage.errors import RecipeError, RunFolderError
from tutelage.files import writing

TASKS = ("text", "table", "regression", "image", "sentence-encoder", "specialists")


def init(  # noqa: PLR0913 - the verb's options
    path: Annotated[Path, typer.Argument(metavar="RECIPE", help="The file to write.")] = Path(
        "recipe.yaml"
    ),
    *,
    task: Annotated[
        str | None, typer.Option(help=f"One of: {', '.join(TASKS)}.", show_default="asks")
    ] = None,
    train: Annotated[str | None, typer.Option(help="The training data.")] = None,
    label: Annotated[str | None, typer.Option(help="The column of the labels.")] = None,
    text: Annotated[str | None, typer.Option(help="The column of the texts.")] = None,
    teacher: Annotated[str | None, typer.Option(help="The model to learn from.")] = None,
    student: Annotated[str | None, typer.Option(help="The model to train.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a commented recipe for a task, to be edited and run by `tutelage distill`.

    In a terminal, it asks for the data, its columns and the teacher, unless they are given.
    """
    with told(as_json) as result:
        if path.exists() and not force:
            raise RecipeError(f"{path} must not exist yet; choose another name, or add --force")
        chosen = task or _asked()
        if chosen not in TASKS:
            raise typer.BadParameter(
                f"must be one of {', '.join(TASKS)}, got {chosen!r}", param_hint="--task"
            )
        content = _starter(chosen).replace("recipe.yaml", str(path))
        given = {"train": train, "text": text, "label": label, "teacher": teacher}
        given |= {"student": student}
        if sys.stdin.isatty():
            given = asked(content, given)
        for name, value in given.items():
            content = _replaced(content, chosen, name, value)
        with writing(path.parent, RunFolderError):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
        result |= {"recipe": path, "task": chosen}
        typer.echo(f"Wrote {path}. Read it, then: tutelage distill {path}")


def _replaced(content: str, task: str, name: str, value: str | None) -> str:
    """Return a recipe with another value on the line of a key; comments stay."""
    if value is None:
        return content
    line = line_of(name)
    if not line.search(content):
        raise typer.BadParameter(
            f"is not for {task}, whose recipe has no line for it; edit the recipe",
            param_hint=f"--{name}",
        )
    quoted = value if _is_plain(value) else "'" + value.replace("'", "''") + "'"
    return line.sub(lambda found: f"{found[1]}{quoted}{found[3] or ''}", content, count=1)


def _is_plain(value: str) -> bool:
    """Tell whether YAML reads a text as itself without quotes."""
    return re.fullmatch(r"[A-Za-z./_][\w./:@?=+-]*", value) is not None and not (
        value.endswith(":") or value in ("true", "false", "null")
    )


def _asked() -> str:
    if not sys.stdin.isatty():
        raise typer.BadParameter(f"must be given: {', '.join(TASKS)}", param_hint="--task")
    for task in TASKS:
        about = _starter(task).splitlines()[0].removeprefix("# ")
        typer.echo(f"{task:18}{about}", err=True)
    check = partial(one_of, TASKS)
    return typer.prompt("What is the task?", default="table", value_proc=check, err=True)


def _starter(task: str) -> str:
    return (files("tutelage.recipes") / "starters" / f"{task}.yaml").read_text("utf-8")
