"""Log-probabilities that others have stored in a file, as a teacher."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from tutelage._checks import integer
from tutelage.errors import DataError
from tutelage.teachers._logprobs import TokenLogprobs
from tutelage.teachers.served import Tokens

_IDS = ("prompt_token_ids", "input_ids", "token_ids")


class Recorded(Tokens):
    """The outputs of a language model for a data set, in a file of JSON lines or Parquet.

    Record i is about text i of the data set, as inference servers answer it (see `Served`) or as
    training tools write it: `prompt_logprobs`, `choices`, `meta_info`, `logprobs` with
    `top_logprobs`, or `target_token_ids` with `target_logprobs`. Where a record has the text's ids
    (`prompt_token_ids`, `input_ids` or `token_ids`), they must be those of the data set.

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
            if self.path.suffix == ".parquet":
                import pyarrow.parquet as pq  # noqa: PLC0415 - an extra

                self._records: list[Any] = pq.read_table(self.path).to_pylist()
            else:
                lines = self.path.read_bytes().splitlines()
                self._records = [json.loads(line) for line in lines if line.strip()]
        except (OSError, ValueError) as error:
            raise DataError(
                f"{self.path} must be a file of records, JSON lines or Parquet, got {error}; give "
                "one record for each text"
            ) from error

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

    def _of(self, place: int, tokens: Sequence[int]) -> TokenLogprobs:
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
        """Return a hash of the file."""
        return f"Recorded {hashlib.blake2b(self.path.read_bytes(), digest_size=16).hexdigest()}"
