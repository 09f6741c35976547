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
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt, TypeAdapter, ValidationError

from tutelage.errors import StoreError
from tutelage.files import write_whole
from tutelage.store.fields import Column, Entry, Field, Float
from tutelage.store.layout import Layout
from tutelage.wants import Fields

FORMAT = 2
NAME = "manifest.json"
_AGAIN = "call tl.label with the same arguments and another folder, or remove this one"


class Settings(Entry):
    """The arguments of `label`, which must be equal for a call to resume a store.

    The batch size is one of them, since another may change the last bit of the teacher's outputs.
    """

    output: bool
    features: tuple[str, ...]
    top_k: PositiveInt | None
    sampled_classes: PositiveInt | None = None
    temperature: PositiveFloat = 1.0
    dtype: Float
    batch_size: PositiveInt
    precision: str
    compile: bool

    @property
    def fields(self) -> Fields:
        """The signals that are required of the teacher."""
        return Fields(self.output, frozenset(self.features))


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
    checksums: dict[str, str] | None = None

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
        numbers = np.frombuffer(zlib.decompress(base64.b64decode(self.answers)), "<u4")
        return np.concatenate([[0], numbers.astype(np.int64).cumsum()])

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of all fields, in order."""
        return tuple(
            column for number, field in enumerate(self.fields) for column in field.columns(number)
        )

    @property
    def file_bytes(self) -> int:
        """The size of all files of rows."""
        layout = self.layout
        return sum(
            column.file_bytes(len(layout.shard_entries(shard, column.by_answer)))
            for column in self.columns
            for shard in range(layout.shards)
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

    def write(self, folder: Path) -> None:
        """Write the manifest atomically."""
        write_whole(folder / NAME, self.text())

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
            if manifest.text() == text:
                return manifest
            fault = "content that differs from its checksum"
        except ValidationError as error:
            first = error.errors()[0]
            fault = f"{'.'.join(map(str, first['loc'])) or 'it'}: {first['msg']}"
        raise StoreError(f"{path} must be as it was written, got {fault}; {_AGAIN}")


def packed_numbers(numbers: NDArray[np.int64]) -> str:
    """Return integers as text: four bytes each, compressed by zlib, in Base64."""
    return base64.b64encode(zlib.compress(numbers.astype("<u4").tobytes(), 9)).decode("ascii")


def _rendered(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()
