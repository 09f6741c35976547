"""Shards of WebDataset: archives whose members `key.jpg`, `key.cls`, … are one example.

Members are read where they lie in the archive; nothing is extracted.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from tutelage.datasets.content import Content, Inputs
from tutelage.datasets.frame import Frame
from tutelage.datasets.image_folder import SUFFIXES
from tutelage.datasets.options import DataOptions
from tutelage.datasets.pictures import Pictures, checked
from tutelage.datasets.stored import Members, pillow
from tutelage.errors import DataError, in_short

_LONGEST_FIELD = 2**24
_TEXTS = frozenset((".txt", ".text", ".cls", ".json"))


class _Member(NamedTuple):
    """A file in an archive: the archive's number, where it begins, and its length."""

    archive: int
    start: int
    length: int


def is_shards(path: Path) -> bool:
    """Tell whether a path is an archive, or a folder of archives."""
    return path.suffix.lower() == ".tar" or (path.is_dir() and any(path.glob("*.tar")))


def read_shards(argument: str, path: Path, options: DataOptions) -> Content:
    """Return the examples of an archive, or of a folder of archives.

    Images (`.jpg`, `.png` and others) are the inputs, or else texts (`.txt`); `.cls` is a label,
    and the fields of `.json` are columns.

    Raises:
        DataError: An archive is broken, compressed, or has a member that leaves it; or an example
            has no image or text.
    """
    archives = sorted(path.glob("*.tar")) if path.is_dir() else [path]
    examples: dict[str, dict[str, _Member]] = {}
    for number, archive in enumerate(archives):
        for key, suffix, member in _members(argument, archive, number):
            if suffix in examples.setdefault(key, {}):
                raise DataError(
                    f"`{argument}` must have one {suffix} of each key, got two of {key} in "
                    f"{archive}; give each example a key of its own"
                )
            examples[key][suffix] = member
    if not examples:
        raise DataError(
            f"`{argument}` must have examples key.jpg and key.cls, got {path} with none; fill it"
        )
    columns = _columns(argument, archives, examples)
    inputs = _inputs(argument, archives, examples, columns, options)
    return Content(Frame(path.name, columns), inputs, ("cls",) if "cls" in columns else ())


def _members(argument: str, archive: Path, number: int) -> Iterator[tuple[str, str, _Member]]:
    try:
        with tarfile.open(archive, "r:") as file:  # not compressed, so that members can be found
            for each in file:
                path = PurePosixPath(each.name)
                if path.is_absolute() or ".." in path.parts or "\\" in each.name:
                    raise DataError(
                        f"`{argument}` must have members within the archive, got {each.name!r} in "
                        f"{archive}; do not use it"
                    )
                if each.isdir():
                    continue
                if not each.isreg() or each.issparse():
                    raise DataError(
                        f"`{argument}` must have plain files in its archive, got {each.name!r} in "
                        f"{archive}, which is a link or a device; write the archive anew"
                    )
                stem, dot, suffix = path.name.partition(".")
                if stem:  # hidden files belong to the system that wrote the archive
                    key = str(path.with_name(stem))
                    place = _Member(number, each.offset_data, each.size)
                    yield key, f"{dot}{suffix}".lower(), place
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        raise DataError(
            f"`{argument}` must be an archive that is not compressed (.tar), got {archive} with "
            f"{in_short(error)}; write it anew, with tar -cf"
        ) from error


def _columns(
    argument: str, archives: Sequence[Path], examples: dict[str, dict[str, _Member]]
) -> dict[str, Any]:
    """Return labels, texts and the fields of JSON as columns; None where an example has none."""
    rows: list[dict[str, Any]] = []
    for key, parts in examples.items():
        row: dict[str, Any] = {}
        for suffix, member in parts.items():
            fields = {}
            if suffix in _TEXTS:
                fields = _fields(argument, archives, key, suffix, member)
            if twice := row.keys() & fields.keys():
                raise DataError(
                    f"`{argument}` must say {min(twice)!r} of each key once, got it of {key} in "
                    f"{suffix} and in another file; leave one out"
                )
            row |= fields
        rows.append(row)
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _fields(
    argument: str, archives: Sequence[Path], key: str, suffix: str, member: _Member
) -> dict[str, Any]:
    where = f"{key}{suffix} of {archives[member.archive]}"
    if member.length > _LONGEST_FIELD:
        raise DataError(
            f"`{argument}` must have texts of at most {_LONGEST_FIELD:,} bytes, got "
            f"{member.length:,} in {where}; shorten it"
        )
    with archives[member.archive].open("rb") as file:
        file.seek(member.start)
        content = file.read(member.length)
    try:
        text = content.decode()
        found = json.loads(text) if suffix == ".json" else {suffix[1:]: text.strip()}
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"`{argument}` must have texts in UTF-8 and JSON, got {where} with {in_short(error)}; "
            "correct it"
        ) from error
    return found if isinstance(found, dict) else {"json": found}


def _inputs(
    argument: str,
    archives: Sequence[Path],
    examples: dict[str, dict[str, _Member]],
    columns: dict[str, Any],
    options: DataOptions,
) -> Inputs | None:
    """Return the images; None where the inputs are columns."""
    found = {
        key: [(f"{key}{suffix}", each) for suffix, each in parts.items() if suffix in SUFFIXES]
        for key, parts in examples.items()
    }
    if not any(found.values()) or options.text or options.columns:
        return _texts(argument, list(examples), columns, options)
    other = next((key for key, each in found.items() if len(each) != 1), None)
    if other is not None:
        raise DataError(
            f"`{argument}` must have one image for each key, got {len(found[other])} of {other!r} "
            f"in {archives[0].name}; write it anew"
        )
    pillow(argument)
    names, members = zip(*(each[0] for each in found.values()), strict=True)
    return checked(Pictures(Members(archives, np.array(members), names)), argument, options.size)


def _texts(
    argument: str, keys: Sequence[str], columns: dict[str, Any], options: DataOptions
) -> Inputs | None:
    if options.text or options.columns or "txt" not in columns:
        return None
    texts = columns["txt"]
    lacking = [
        key for key, text in zip(keys, texts, strict=True) if not (isinstance(text, str) and text)
    ]
    if lacking:
        raise DataError(
            f"`{argument}` must have a text for each key, got none for {lacking[0]!r}; add it, or "
            "leave the example out"
        )
    return texts
