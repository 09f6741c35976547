"""Log-probabilities that others have stored in a file, as a teacher."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from tutelage._checks import installed, integer
from tutelage.errors import DataError
from tutelage.teachers._distillkit import compression_of, is_captured, opened
from tutelage.teachers._logprobs import TokenLogprobs
from tutelage.teachers._nemo import is_nemo, of_text
from tutelage.teachers.served import Tokens

_AT_ONCE = 2**24
_IDS = ("prompt_token_ids", "input_ids", "token_ids")


class Recorded(Tokens):
    """The outputs of a language model for a data set, in files of JSON lines or Parquet.

    Record i is about text i of the data set, as inference servers answer it (see `Served`) or as
    training tools write it: `prompt_logprobs`, `choices`, `meta_info`, `logprobs` with
    `top_logprobs`, or `target_token_ids` with `target_logprobs`. Where a record has the text's ids
    (`prompt_token_ids`, `input_ids` or `token_ids`), they must be those of the data set.

    A folder that DistillKit has written, of Parquet files with its `compression_config.yaml`, or
    one such file beside it, is read too: its rows are in no order, and are found by their
    `input_ids`. So are the JSON lines of NeMo-Aligner's `compute_topk_logits.py`, by their `index`.
    Shards of Megatron-LM are refused: they do not say of which tokens they are.

    `tl.label(Recorded("answers.jsonl"), data, out="targets", top_k=64)` makes a store of it, which
    is far smaller and faster to read.

    Args:
        path: The file; ".parquet", or else JSON lines. Or a folder of Parquet files.
        vocabulary: The number of tokens, which is then checked, and stores take fewer bytes.

    Raises:
        DataError: The file cannot be read.
    """

    def __init__(self, path: str | Path, vocabulary: int | None = None) -> None:
        self.path = Path(path)
        self.vocabulary = (
            None if vocabulary is None else integer("vocabulary", vocabulary, 2, "it counts tokens")
        )
        folder = self.path.is_dir()
        self._files = sorted(self.path.glob("*.parquet")) if folder else [self.path]
        _refuse_shards(self.path, self._files)
        try:
            if self.path.suffix == ".parquet" or folder:
                self._records: Sequence[Any] = _Table(self._files)
            else:
                lines = self.path.read_bytes().splitlines()
                self._records = [json.loads(line) for line in lines if line.strip()]
            first = self._records[0] if self._records else None
            self._captured, self._numbered = is_captured(first), is_nemo(first)
            self._places = self._by_key() if self._captured or self._numbered else {}
        except (OSError, ValueError, TypeError) as error:
            raise DataError(
                f"{self.path} must be a file of records, JSON lines or Parquet, got {error}; give "
                "one record for each text"
            ) from error
        home = self.path if folder else self.path.parent
        self._compression = compression_of(home) if self._captured else None
        if self._compression is not None:
            self._compression.check_vocabulary(self.vocabulary)

    def __repr__(self) -> str:
        return f"Recorded({str(self.path)!r}, {len(self._records)} texts)"

    def logprobs(
        self, tokens: Sequence[Sequence[int]], index: Tensor | None
    ) -> list[TokenLogprobs]:
        """Read the records of some texts, by their index in the data set."""
        if index is None:
            raise DataError(
                "recorded answers need the index of each text in its data set, got a batch without "
                "`index`; give the data set itself, or a DataLoader over tl.data.Indexed(dataset)"
            )
        return [self._of(int(place), own) for place, own in zip(index, tokens, strict=True)]

    def _by_key(self) -> dict[bytes | int, int]:
        """Return the place of each record by its text's tokens, or by its index."""
        found: dict[bytes | int, int] = {}
        for place, record in enumerate(self._records):
            known = record if isinstance(record, Mapping) else {}
            key = known.get("input_ids" if self._captured else "index")
            if key is not None:
                found[_key(key) if self._captured else int(key)] = place
        return found

    def _found(self, number: int, tokens: Sequence[int]) -> Any:
        """Return the record of a text, of those that are in another order than the texts."""
        place = self._places.get(_key(tokens) if self._captured else number)
        if place is None:
            by = "`input_ids`" if self._captured else f"`index` {number}"
            raise DataError(
                f"{self.path} must have a record of each text, by its {by}, got none of a text of "
                f"{len(tokens)} tokens that begins with {list(tokens)[:6]}; give the data that was "
                "captured, with the same tokenizer and cut at the same length"
            )
        return self._records[place]

    def _of(self, place: int, tokens: Sequence[int]) -> TokenLogprobs:
        if self._captured:
            record = opened(self._found(place, tokens), self._compression)
            return TokenLogprobs.of(record, tokens)
        if self._numbered:
            return TokenLogprobs.of(of_text(self._found(place, tokens), tokens), tokens)
        if place >= len(self._records):
            raise DataError(
                f"{self.path} must have a record for each text, got {len(self._records)} records "
                f"and text {place}; give the data that was recorded"
            )
        record = self._records[place]
        known = record if isinstance(record, dict) else {}
        ids = next((known[name] for name in _IDS if known.get(name) is not None), None)
        if ids is not None and list(ids) != list(tokens):
            raise DataError(
                f"record {place} of {self.path} must be of the text's own tokens, got "
                f"{list(ids)[:6]} for {list(tokens)[:6]}; give the data that was recorded, with "
                "the same tokenizer"
            )
        return TokenLogprobs.of(record, tokens)

    def fingerprint(self) -> str:
        """Return a hash of the files."""
        found = hashlib.blake2b(repr(self._compression).encode(), digest_size=16)
        for path in self._files:
            with path.open("rb") as file:
                for part in iter(lambda: file.read(_AT_ONCE), b""):
                    found.update(part)
        return f"Recorded {found.hexdigest()}"


class _Table(Sequence[Any]):
    """The rows of Parquet files, each of which becomes a dict when it is asked for."""

    def __init__(self, paths: Sequence[Path]) -> None:
        pa = installed("Recorded, of a Parquet file,", "pyarrow", "data", DataError)
        from pyarrow import parquet  # noqa: PLC0415 - an optional package

        if not paths:
            raise ValueError("no Parquet file")
        self.table = pa.concat_tables([parquet.read_table(path) for path in paths])

    def __len__(self) -> int:
        return self.table.num_rows

    def __getitem__(self, place: Any) -> Any:
        return self.table.slice(place, 1).to_pylist()[0]


def _key(tokens: Sequence[int]) -> bytes:
    """Return a short key of a text's tokens."""
    return hashlib.blake2b(np.asarray(tokens, dtype="<i8").tobytes(), digest_size=16).digest()


def _refuse_shards(path: Path, files: Sequence[Path]) -> None:
    """Refuse the archives that Megatron-LM writes of a teacher."""
    found = next((each for each in (*files, *path.glob("*.tar")) if each.suffix == ".tar"), None)
    if found is not None:
        raise DataError(
            f"{path} must say of which tokens its log-probabilities are, got {found.name}, an "
            "archive as Megatron-LM writes it, in the order of its own batches; write JSON lines "
            "where those are known: one record for each text, with input_ids, target_token_ids "
            "and target_logprobs, without the row of its last token"
        )
