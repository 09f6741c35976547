"""The manifest: the contents of a store, its teacher and data, and the checksum of each block.

It is JSON, whose last entry is a checksum of all others. The text must be exactly the serialisation
of its content, so that any flipped byte is detected.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    NonNegativeInt,
    PositiveInt,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from tutelage.errors import StoreError
from tutelage.files import write_whole
from tutelage.store.fields import Column, Entry, Field, Settings
from tutelage.store.layout import Layout

FORMAT = 2
NAME = "manifest.json"
_AGAIN = "call tl.label with the same arguments and another folder, or remove this one"


class Data(Entry):
    """The labelled data."""

    fingerprint: str
    examples: PositiveInt


class Views(Entry):
    """The views of each example, and the seed and description of their augmentation, if any."""

    count: PositiveInt = 1
    seed: NonNegativeInt | None = None
    transform: str | None = None


class Manifest(Entry):
    """The description of a store.

    `made_with` has the versions of packages, for information. `answers` has the number of answers
    of each row where examples have different numbers (see `packed_numbers`). `checksums` has for
    each file the CRC-32 of each of its blocks, as eight hexadecimal digits; None while the store is
    unfinished.
    """

    format: int = FORMAT
    made_with: dict[str, str]
    teacher: str
    data: Data
    views: Views
    settings: Settings
    fields: tuple[Field, ...]
    block_rows: PositiveInt
    shard_blocks: PositiveInt
    answers: str | None = None
    checksums: dict[str, Annotated[str, StringConstraints(pattern="^[0-9a-f]*$")]] | None = None

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if not self.fields:
            raise ValueError("there must be fields")
        if any(each.by_answer for each in self.fields) != (self.answers is not None):
            raise ValueError("the numbers of answers must be there if, and only if, they differ")
        if self.offsets is not None and len(self.offsets) != self.layout.rows + 1:
            raise ValueError("there must be a number of answers for each row")
        if self.checksums is not None:
            layout = self.layout
            due = {
                column.file(shard): 8 * len(layout.blocks_of_shard(shard))
                for column in self.columns
                for shard in range(layout.shards)
            }
            if {file: len(digits) for file, digits in self.checksums.items()} != due:
                raise ValueError("checksums must match the blocks")
        return self

    @property
    def layout(self) -> Layout:
        """How rows are divided into blocks and shards."""
        return Layout(
            self.data.examples, self.views.count, self.block_rows, self.shard_blocks, self.offsets
        )

    @cached_property
    def offsets(self) -> NDArray[np.int64] | None:
        """The first answer of each row, and the number of all; None without such columns."""
        if self.answers is None:
            return None
        return np.concatenate([[0], unpacked_numbers(self.answers).cumsum()])

    @property
    def file_bytes(self) -> int:
        """The size of all files of rows."""
        layout = self.layout
        return sum(
            column.file_bytes(len(layout.entries(layout.shard(shard), column.by_answer)))
            for column in self.columns
            for shard in range(layout.shards)
        )

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of all fields, in order."""
        return tuple(
            column for number, field in enumerate(self.fields) for column in field.columns(number)
        )

    def identity(self) -> dict[str, Any]:
        """Return the entries that must be equal for a call to resume the store."""
        content = self.model_dump(mode="json", include={"teacher", "data", "views", "settings"})
        return {"teacher": content.pop("teacher")} | {
            f"{part}.{name}": value
            for part, entries in content.items()
            for name, value in entries.items()
        }

    def text(self) -> bytes:
        """Return the file's content."""
        content = self.model_dump(mode="json")
        digest = hashlib.blake2b(_rendered(content), digest_size=16).hexdigest()
        return _rendered(content | {"checksum": digest})

    def write(self, folder: Path, *, replace: bool = True) -> None:
        """Write the manifest atomically; without `replace`, an existing one stays."""
        write_whole(folder / NAME, self.text(), replace=replace)

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read a store's manifest; refuse a damaged one, or one of another format."""
        path = folder / NAME
        try:
            text = path.read_bytes()
        except OSError as error:
            raise StoreError(
                f"a store must be a folder with {NAME}, got {folder} ({error.strerror}); make one "
                "with tl.label (to use a model in a file, load it and give the module)"
            ) from error
        try:
            content = TypeAdapter(dict[str, Any]).validate_json(text)
            found = content.get("format")
            if found != FORMAT and type(found) is int:
                raise StoreError(
                    f"{path} must have format {FORMAT}, got {found}, of another version of "
                    f"tutelage; upgrade tutelage, or {_AGAIN}"
                )
            content.pop("checksum", None)
            manifest = cls.model_validate_json(json.dumps(content))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise _damaged(path, f"{where or 'it'}: {first['msg']}") from error
        if manifest.text() != text:
            raise _damaged(path, "content that does not match its checksum")
        return manifest


def packed_numbers(numbers: NDArray[np.int64]) -> str:
    """Return whole numbers as text: four bytes each, compressed by zlib, in Base64."""
    return base64.b64encode(zlib.compress(numbers.astype("<u4").tobytes(), 9)).decode("ascii")


def unpacked_numbers(text: str) -> NDArray[np.int64]:
    """Return the numbers that `packed_numbers` packed.

    Raises:
        ValueError: The text is another one.
    """
    try:
        content = zlib.decompress(base64.b64decode(text, validate=True))
        return np.frombuffer(content, "<u4").astype(np.int64)
    except zlib.error as error:
        raise ValueError(f"the numbers of answers are damaged ({error})") from error


def _rendered(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()


def _damaged(path: Path, what: str) -> StoreError:
    return StoreError(f"{path} must be as it was written, got {what}; {_AGAIN}")
