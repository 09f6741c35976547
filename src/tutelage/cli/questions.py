"""What `tutelage init` asks for in a terminal: the data, its columns, and the teacher."""

from __future__ import annotations

import csv
import gzip
import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import typer

_QUESTIONS = {
    "train": "Which file or folder holds the training data?",
    "text": "Which column holds the texts?",
    "label": "Which column holds the labels?",
    "teacher": "Which model is the teacher? (a reference: docs/models.md)",
}
_USUAL = {
    "text": ("text", "sentence", "content", "body", "message", "review", "tweet", "question"),
    "label": ("label", "labels", "target", "class", "category", "intent", "y"),
}
_MOST_BYTES = 100_000


def asked(content: str, given: Mapping[str, str | None]) -> dict[str, str | None]:
    """Return what was given, with answers for what was not and has a line in the recipe.

    Where the data is a table that can be read, columns are checked, and the most likely one is the
    default; otherwise it is that of the recipe. An answer that is the recipe's own is None.

    Args:
        content: Of the recipe.
        given: By key, what the command line gives.
    """
    found = dict(given)
    columns: list[str] = []
    for name, question in _QUESTIONS.items():
        written = line_of(name).search(content)
        if written is None:
            continue
        if found[name] is None:
            known = columns if name in _USUAL else []
            default = _likely(name, columns, found["text"]) if known else written[2].strip()
            words = f"{question} It has {', '.join(columns[:20])}." if known else question
            check = partial(one_of, known)
            found[name] = typer.prompt(words, default=default, value_proc=check, err=True)
            found[name] = None if found[name] == written[2].strip() else found[name]
        if name == "train":
            columns = columns_of(Path(found["train"] or written[2].strip()).expanduser())
    return found


def line_of(key: str) -> re.Pattern[str]:
    """Return the pattern of a key's line: before the value, the value, and a comment."""
    return re.compile(rf"^((?:  )?{key}: )(\S[^#\n]*?)(\s+#.*)?$", re.MULTILINE)


def columns_of(path: Path) -> list[str]:
    """Return the columns of a table; none where the file is no such table, or cannot be read."""
    name = path.name.lower()
    open_it: Callable[..., object] = gzip.open if name.endswith(".gz") else Path.open
    kind = Path(name.removesuffix(".gz")).suffix
    if kind not in (".csv", ".tsv", ".jsonl", ".ndjson") or not path.is_file():
        return []
    try:
        with open_it(path, "rt", encoding="utf-8-sig") as file:  # pyright: ignore[reportGeneralTypeIssues]
            line = str(file.readline(_MOST_BYTES))
        if kind in (".jsonl", ".ndjson"):
            record = json.loads(line)
            return list(map(str, record)) if isinstance(record, dict) else []
        separator = max(",;\t", key=line.count)
        return [each.strip() for each in next(csv.reader([line], delimiter=separator), [])]
    except (OSError, EOFError, ValueError, csv.Error):
        return []  # the command that reads it says what is wrong


def _likely(name: str, columns: list[str], text: str | None) -> str:
    usual = [each for each in columns if each.lower() in _USUAL[name]]
    others = [each for each in columns if each != text] or columns
    return usual[0] if usual else others[0] if name == "text" else others[-1]


def one_of(known: Sequence[str], answer: str) -> str:
    """Return an answer; one that is not known is asked for again."""
    answer = answer.strip()
    if known and answer not in known:
        raise typer.BadParameter(f"must be one of {', '.join(known)}, got {answer!r}")
    return answer
