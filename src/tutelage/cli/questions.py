"""What `tutelage init` asks for in a terminal: the data, its columns, and the teacher."""

from __future__ import annotations

import csv
import gzip
import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from io import StringIO
from itertools import takewhile, zip_longest
from pathlib import Path

import typer

from tutelage.errors import did_you_mean

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
_MOST_BYTES = 100_000


def asked(content: str, given: Mapping[str, str | None]) -> dict[str, str | None]:
    """Return what was given, with answers for what was not and has a line in the recipe.

    Where the data is a table that can be read, columns are checked, and the most likely one is the
    default; otherwise it is that of the recipe, whose comment is shown. An answer that is the
    recipe's own is None.

    Args:
        content: Of the recipe.
        given: By key, what the command line gives.
    """
    found = dict(given)
    row: dict[str, str] = {}
    for name, question in _QUESTIONS.items():
        written = line_of(name).search(content)
        if written is None or (name == "text" and _is_lines(found["train"])):
            continue
        default = written[2].strip()
        if found[name] is None:
            known = list(row) if name in _USUAL else []
            likely = _likely(name, row, found["text"]) if known else default
            words = f"{question} It has {', '.join(known[:20])}." if known else question
            if not known:
                typer.echo(_comment(content, written), err=True)
            check = partial(_existing, content, default) if name == "train" else None
            check = check or partial(one_of, known)
            found[name] = typer.prompt(words, default=likely, value_proc=check, err=True)
            found[name] = None if found[name] == default else found[name]
        if name == "train":
            row = first_row(Path(found["train"] or default).expanduser())
    return found


def _comment(content: str, line: re.Match[str]) -> str:
    """Return the comment of a recipe's line: behind it, or above it."""
    if line[3]:
        return line[3].strip()
    before = content[: line.start()].splitlines()
    above = list(takewhile(lambda each: each.startswith("#"), reversed(before)))
    return "\n".join(reversed(above))


def _existing(content: str, default: str, answer: str) -> str:
    """Return the training data; a file that is not there, or cannot serve, is asked for again."""
    answer = answer.strip()
    if answer == default or ":" in answer:  # the recipe's own, or a name such as hf:NAME
        return answer
    path = Path(answer).expanduser()
    if not path.exists():
        hint = did_you_mean(path.name, (each.name for each in path.parent.glob("*")))
        raise typer.BadParameter(f"there is no file or folder {answer!r}; {hint or 'correct it'}")
    if _is_lines(answer) and line_of("label").search(content):
        raise typer.BadParameter(
            f"{answer!r} has texts without labels; give a table (.csv, .tsv, .jsonl) with a column "
            "of each"
        )
    return answer


def _is_lines(train: str | None) -> bool:
    return train is not None and train.endswith(".txt")


def line_of(key: str) -> re.Pattern[str]:
    """Return the pattern of a key's line: before the value, the value, and a comment."""
    return re.compile(rf"^((?:  )?{key}: )(\S[^#\n]*?)(\s+#.*)?$", re.MULTILINE)


def first_row(path: Path) -> dict[str, str]:
    """Return a table's first row by column; empty if the file is no such table, or unreadable."""
    name = path.name.lower()
    open_it: Callable[..., object] = gzip.open if name.endswith(".gz") else Path.open
    kind = Path(name.removesuffix(".gz")).suffix
    if kind not in (".csv", ".tsv", ".jsonl", ".ndjson") or not path.is_file():
        return {}
    try:
        with open_it(path, "rt", encoding="utf-8-sig") as file:  # pyright: ignore[reportGeneralTypeIssues]
            header, rest = str(file.readline(_MOST_BYTES)), str(file.read(_MOST_BYTES))
        if kind in (".jsonl", ".ndjson"):
            record = json.loads(header)
            found = record.items() if isinstance(record, dict) else ()
            return {str(key): str(value) for key, value in found}
        separator = max(",;\t", key=header.count)
        names, *rows = csv.reader(StringIO(header + rest), delimiter=separator)
        cells = next(filter(None, rows), [])
        return dict(zip_longest(map(str.strip, names), cells[: len(names)], fillvalue=""))
    except (OSError, EOFError, ValueError, csv.Error):
        return {}  # the command that reads it says what is wrong


def _likely(name: str, row: Mapping[str, str], text: str | None) -> str:
    """Return a column that is called as usual; of texts else the one with the longest."""
    usual = [each for each in row if each.lower() in _USUAL[name]]
    others = [each for each in row if each != text] or list(row)
    longest = max(others, key=lambda each: len(row[each]))
    return usual[0] if usual else longest if name == "text" else others[-1]


def one_of(known: Sequence[str], answer: str) -> str:
    """Return an answer; one that is not known is asked for again."""
    answer = answer.strip()
    if known and answer not in known:
        raise typer.BadParameter(f"must be one of {', '.join(known)}, got {answer!r}")
    return answer
