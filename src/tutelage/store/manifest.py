"""The manifest: the contents of a store, its teacher and data, and the checksum of each block.

It is JSON, whose last entry is a checksum of all others. The text must be exactly the serialisation
of its content, so that any flipped byte is detected.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import NonNegativeInt, PositiveInt, ValidationError

from tutelage.errors import StoreError
from tutelage.files import write_whole
from tutelage.store.fields import Column, Entry, Field, Settings
from tutelage.store.layout import Layout

FORMAT = 1
NAME = "manifest.json"
_AGAIN = "call tl.label with the same arguments and another folder, or remove this one"


class Data(Entry):
    """The labelled data: a fingerprint of its content, and the number of examples."""

    fingerprint: str
    examples: PositiveInt


class Views(Entry):
    """The views of each example, and the source of their augmentation.

    Args:
        count: 1 where there is no augmentation.
        seed: Seeds the augmentation, with example and view; None for no augmentation.
        transform: A description of the augmentation; None for no augmentation.
    """

    count: PositiveInt = 1
    seed: NonNegativeInt | None = None
    transform: str | None = None


class Manifest(Entry):
    """The description of a store.

    Args:
        format: The version of the format.
        made_with: Versions of packages when the store was begun; for information.
        teacher: The teacher's fingerprint.
        data: The labelled data.
        views: The views of each example.
        settings: The arguments of `label`.
        fields: What is stored, and how.
        block_rows: See `Layout`.
        shard_blocks: See `Layout`.
        checksums: For each file, the CRC-32 of each of its blocks, as eight hexadecimal digits
            each. None while the store is unfinished.
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
    checksums: dict[str, str] | None = None

    @property
    def layout(self) -> Layout:
        """How rows are divided into blocks and shards."""
        return Layout(self.data.examples, self.views.count, self.block_rows, self.shard_blocks)

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
        """Read and check a store's manifest.

        Raises:
            StoreError: There is none, it is of another format, or it is damaged.
        """
        path = folder / NAME
        try:
            text = path.read_bytes()
        except OSError as error:
            raise StoreError(
                f"a store must be a folder with {NAME}, got {folder} ({error.strerror}); make one "
                "with tl.label (to use a model in a file, load it and give the module)"
            ) from error
        content = _parsed(path, text)
        _check_format(path, content)
        content.pop("checksum", None)
        try:
            manifest = cls.model_validate_json(json.dumps(content))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise _damaged(path, f"{where or 'it'}: {first['msg']}") from error
        if manifest.text() != text:
            raise _damaged(path, "content that does not match its checksum")
        _check_complete(path, manifest)
        return manifest


def _rendered(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()


def _damaged(path: Path, what: str) -> StoreError:
    return StoreError(f"{path} must be as it was written, got {what}; {_AGAIN}")


def _parsed(path: Path, text: bytes) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise _damaged(path, f"invalid JSON ({error})") from error
    if not isinstance(content, dict):
        raise _damaged(path, f"a {type(content).__name__}")
    return content


def _check_format(path: Path, content: dict[str, Any]) -> None:
    found = content.get("format")
    if type(found) is not int:
        raise _damaged(path, f"format {found!r}")
    if found > FORMAT:
        raise StoreError(
            f"{path} must have format {FORMAT}, got {found}, of a newer tutelage; upgrade tutelage"
        )
    if found < FORMAT:
        raise StoreError(f"{path} must have format {FORMAT}, got the older {found}; {_AGAIN}")


def _check_complete(path: Path, manifest: Manifest) -> None:
    """Refuse a manifest whose parts contradict each other, as after a manual edit."""
    if not manifest.fields:
        raise _damaged(path, "no fields")
    if manifest.checksums is None:
        return
    layout = manifest.layout
    due = {
        column.file(shard): 8 * len(layout.blocks_of_shard(shard))
        for column in manifest.columns
        for shard in range(layout.shards)
    }
    if {name: len(digits) for name, digits in manifest.checksums.items()} != due:
        raise _damaged(path, "checksums that do not match its blocks")
    if any(set(digits) - set("0123456789abcdef") for digits in manifest.checksums.values()):
        raise _damaged(path, "checksums that are not hexadecimal")
