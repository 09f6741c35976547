"""Log-probabilities that others have stored in a file, as a teacher."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from tutelage._checks import installed, integer
from tutelage.errors import DataError
from tutelage.teachers._logprobs import TokenLogprobs
from tutelage.teachers.served import Tokens

_IDS = ("prompt_token_ids", "input_ids", "token_ids")


class Recorded(Tokens):
    """The outputs of a language model for a data set, in a file of JSON lines or Parquet.

    A record is about one text, as inference servers answer (see `Served`) or as training tools
    write it: `prompt_logprobs`, `choices`, `meta_info`, `logprobs` with `top_logprobs`, or
    `target_token_ids` with `target_logprobs`. If records have the text's ids (`prompt_token_ids`,
    `input_ids` or `token_ids`), a text's record is found by them; otherwise record i is about text
    i of the data set. Records are read from the file when they are needed.

    `tl.label(Recorded("answers.jsonl"), data, out="targets", top_k=64)` makes a store of it, which
    is far smaller and faster to read.

    Args:
        path: The file; ".parquet", or else JSON lines.
        vocabulary: The number of tokens, which is then checked, and stores take fewer bytes.

    Raises:
        DataError: The file cannot be read.
    """

    def __init__(self, path: str | Path, vocabulary: int | None = None) -> None:
        self.path = Path(path)
        self.vocabulary = (
            None if vocabulary is None else integer("vocabulary", vocabulary, 2, "it counts tokens")
        )
        try:
            parquet = self.path.suffix == ".parquet"
            self._records: Sequence[Any] = (_Table if parquet else _Lines)(self.path)
            keys = map(_tokens_of, self._records)
            self._places = {key: place for place, key in enumerate(keys) if key is not None}
        except (OSError, ValueError, TypeError) as error:
            raise DataError(
                f"{self.path} must be a file of records, JSON lines or Parquet, got {error}; give "
                "one record for each text"
            ) from error

    def __repr__(self) -> str:
        return f"Recorded({str(self.path)!r}, {len(self._records)} texts)"

    def logprobs(
        self, tokens: Sequence[Sequence[int]], index: Tensor | None
    ) -> list[TokenLogprobs]:
        """Return the records of some texts, by their ids, or by their index in the data set."""
        if index is None and not self._places:
            raise DataError(
                "recorded outputs without ids need the index of each text in its data set, got a "
                "batch without `index`; give the data set itself, or a DataLoader over "
                "tl.data.Indexed(dataset)"
            )
        numbers = [None] * len(tokens) if index is None else index.tolist()
        return [
            TokenLogprobs.of(self._records[self._place(number, own)], own)
            for number, own in zip(numbers, tokens, strict=True)
        ]

    def _place(self, number: int | None, tokens: Sequence[int]) -> int:
        """Return the place of a text's record."""
        place = self._places.get(_key(tokens)) if self._places else number
        if place is None or place >= len(self._records):
            by = "its ids" if self._places else "its number"
            raise DataError(
                f"{self.path} must have a record of each text, by {by}, got none of text {number}, "
                f"whose {len(tokens)} tokens begin with {list(tokens)[:6]}; give the data that was "
                "recorded, with the same tokenizer and cut at the same length"
            )
        return place

    def fingerprint(self) -> str:
        """Return a hash of the file."""
        with self.path.open("rb") as file:
            return f"Recorded {hashlib.file_digest(file, 'sha256').hexdigest()[:32]}"


class _Lines(Sequence[Any]):
    """The records of JSON lines, each of which is read when it is needed."""

    def __init__(self, path: Path) -> None:
        self.path, self.spans, start = path, list[tuple[int, int]](), 0
        with path.open("rb") as file:
            for line in file:
                if line.strip():
                    self.spans.append((start, len(line)))
                start += len(line)

    def __len__(self) -> int:
        return len(self.spans)

    def __iter__(self) -> Iterator[Any]:
        with self.path.open("rb") as file:
            yield from (json.loads(line) for line in file if line.strip())

    def __getitem__(self, place: Any) -> Any:
        start, length = self.spans[place]
        with self.path.open("rb") as file:
            file.seek(start)
            return json.loads(file.read(length))


class _Table(Sequence[Any]):
    """The rows of a Parquet file, each of which becomes a dict when it is needed."""

    def __init__(self, path: Path) -> None:
        installed("Recorded, of a Parquet file,", "pyarrow", "data", DataError)
        from pyarrow import parquet  # noqa: PLC0415 - an optional package

        self.table = parquet.read_table(path)

    def __len__(self) -> int:
        return self.table.num_rows

    def __getitem__(self, place: Any) -> Any:
        return self.table.slice(place, 1).to_pylist()[0]


def _tokens_of(record: Any) -> bytes | None:
    """Return a key of the text that a record is about; None where it does not tell."""
    known = record if isinstance(record, Mapping) else {}
    ids = next((known[name] for name in _IDS if known.get(name) is not None), None)
    return None if ids is None else _key(ids)


def _key(tokens: Sequence[int]) -> bytes:
    """Return a short key of a text's tokens."""
    return hashlib.blake2b(np.asarray(tokens, dtype="<i8").tobytes(), digest_size=16).digest()
