"""`tutelage init`: write a commented recipe to start from, with answers filled in."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from functools import partial
from importlib.resources import files
from itertools import takewhile
from pathlib import Path
from typing import Annotated

import typer

from tutelage.cli.screen import AsJson, command_output
from tutelage.errors import RecipeError, RunFolderError, did_you_mean
from tutelage.files import writing

STARTERS = ("text", "table", "regression", "image", "sentence-encoder", "specialists")
_QUESTIONS = {
    "train": "Which file or folder holds the training data?",
    "text": "Which column holds the texts?",
    "label": "Which column holds the labels?",
    "teacher": "Which model is the teacher?",
}
_USUAL = {
    "text": ("text", "sentence", "content", "body", "message", "review", "tweet", "question"),
    "label": ("label", "labels", "target", "class", "category", "intent", "y"),
}


def init(  # noqa: PLR0913 - the verb's options
    path: Annotated[Path, typer.Argument(metavar="RECIPE", help="The file to write.")] = Path(
        "recipe.yaml"
    ),
    *,
    task: Annotated[
        str | None, typer.Option(help=f"One of: {', '.join(STARTERS)}.", show_default="asks")
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
    with command_output(as_json) as result:
        if path.exists() and not force:
            raise RecipeError(f"{path} must not exist yet; choose another name, or add --force")
        starters = {
            name: (files("tutelage") / "recipes/starters" / f"{name}.yaml").read_text("utf-8")
            for name in STARTERS
        }
        asks = sys.stdin.isatty()
        if task is None and asks:
            for name, content in starters.items():
                typer.echo(f"{name:18}{content.splitlines()[0].removeprefix('# ')}", err=True)
            check = partial(_one_of, STARTERS)
            task = typer.prompt("What is the task?", default="table", value_proc=check, err=True)
        if task not in STARTERS:
            raise typer.BadParameter(
                f"must be one of {', '.join(STARTERS)}, got {task!r}", param_hint="--task"
            )
        content = starters[task].replace("recipe.yaml", str(path))
        given = {"train": train, "text": text, "label": label, "teacher": teacher}
        given |= {"student": student}
        for name, value in (_prompt_for_missing(content, given) if asks else given).items():
            if value is not None:
                content = _filled(content, task, name, value)
        with writing(path.parent, RunFolderError):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
        result |= {"recipe": path, "task": task}
        typer.echo(f"Wrote {path}. Read it, then: tutelage distill {path}")


def _line_of(key: str) -> re.Pattern[str]:
    """Return the pattern of a key's line: before the value, the value, and a comment."""
    return re.compile(rf"^((?:  )?{key}: )(\S[^#\n]*?)(\s+#.*)?$", re.MULTILINE)


def _filled(content: str, task: str, name: str, value: str) -> str:
    """Return a recipe with another value on the line of a key; comments stay."""
    line = _line_of(name)
    if not line.search(content):
        raise typer.BadParameter(
            f"is not for {task}, whose recipe has no line for it; edit the recipe",
            param_hint=f"--{name}",
        )
    is_plain = re.fullmatch(r"(?!(true|false|null)$)[A-Za-z./_][\w./:@?=+-]*(?<!:)", value)
    quoted = value if is_plain else "'" + value.replace("'", "''") + "'"
    return line.sub(lambda found: f"{found[1]}{quoted}{found[3] or ''}", content, count=1)


def _prompt_for_missing(content: str, given: dict[str, str | None]) -> dict[str, str | None]:
    """Return what was given, with answers for what was not and has a line in the recipe.

    Where the data is a table that can be read, columns are checked, and the most likely one is the
    default; otherwise it is that of the recipe, whose comment is shown. An answer that is the
    recipe's own is None.
    """
    found, row = dict(given), dict[str, str]()
    for name, question in _QUESTIONS.items():
        line = _line_of(name).search(content)
        if line is None or (name == "text" and str(found["train"]).endswith(".txt")):
            continue
        default = line[2].strip()
        if found[name] is None:
            known = list(row) if name in _USUAL else []
            if known:
                question = f"{question} It has {', '.join(known[:20])}."  # noqa: PLW2901
            else:
                above = takewhile(
                    lambda each: each.startswith("#"), content[: line.start()].splitlines()[::-1]
                )
                typer.echo((line[3] or "\n".join([*above][::-1])).strip(), err=True)
            check = partial(_one_of, known)
            if name == "train":
                check = partial(_existing, content, default)
            likely = _likely(name, row, found["text"]) if known else default
            answer = typer.prompt(question, default=likely, value_proc=check, err=True)
            found[name] = None if answer == default else answer
        if name == "train":
            row = _first_row(Path(found["train"] or default).expanduser())
    return found


def _one_of(known: Sequence[str], answer: str) -> str:
    """Return an answer; one that is not known is asked for again."""
    answer = answer.strip()
    if known and answer not in known:
        raise typer.BadParameter(f"must be one of {', '.join(known)}, got {answer!r}")
    return answer


def _existing(content: str, default: str, answer: str) -> str:
    """Return the training data; a file that is not there, or cannot serve, is asked for again."""
    answer = answer.strip()
    if answer == default or ":" in answer:  # the recipe's own, or a name such as hf:NAME
        return answer
    path = Path(answer).expanduser()
    if not path.exists():
        hint = did_you_mean(path.name, (each.name for each in path.parent.glob("*")))
        raise typer.BadParameter(
            f"the file or folder {answer!r} does not exist; {hint or 'correct it'}"
        )
    if answer.endswith(".txt") and _line_of("label").search(content):
        raise typer.BadParameter(
            f"{answer!r} has texts without labels; give a table (.csv, .tsv, .jsonl) with a column "
            "of each"
        )
    return answer


def _first_row(path: Path) -> dict[str, str]:
    """Return a table's first row by column; empty if the file is not such a table."""
    if not path.is_file():
        return {}
    import pandas as pd  # noqa: PLC0415 - heavy

    lines = any(each in (".jsonl", ".ndjson") for each in path.suffixes)
    try:
        if lines:
            frame = pd.read_json(path, lines=True, nrows=1)
        else:
            frame = pd.read_csv(path, sep=None, engine="python", nrows=1, dtype=str)
    except Exception:  # noqa: BLE001 - the command that reads it says what is wrong
        return {}
    return (
        {str(name).strip(): str(each) for name, each in frame.iloc[0].items()} if len(frame) else {}
    )


def _likely(name: str, row: dict[str, str], text: str | None) -> str:
    """Return a column that is called as usual; of texts else the one with the longest."""
    usual = [each for each in row if each.lower() in _USUAL[name]]
    others = [each for each in row if each != text] or list(row)
    longest = max(others, key=lambda each: len(row[each]))
    return usual[0] if usual else longest if name == "text" else others[-1]
