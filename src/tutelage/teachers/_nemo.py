"""The most probable tokens as NeMo-Aligner writes them, in JSON lines with padded rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tutelage.errors import DataError

_COLUMNS = ("topk_logits", "topk_token_ids", "log_sum_exp_logits")
_TEXT = ("tokens", "labels")


def is_nemo(record: Any) -> bool:
    """Tell whether a record is one of `compute_topk_logits.py`."""
    return isinstance(record, Mapping) and _COLUMNS[0] in record


def of_text(record: Mapping[str, Any], tokens: Sequence[int]) -> dict[str, Any]:
    """Return the ids and log-probabilities of a record, for each token of a text but the first.

    Row i of `topk_logits`, less `log_sum_exp_logits`, is about `labels[i]`, the token that follows
    `tokens[i]`; all of them are padded.

    Raises:
        DataError: Columns are missing, or the record is of another text.
    """
    missing = [each for each in (*_COLUMNS, *_TEXT) if record.get(each) is None]
    if missing:
        raise DataError(
            f"a record of NeMo-Aligner must have the columns {[*_COLUMNS, *_TEXT]}, got none of "
            f"{missing}; compute it again by compute_topk_logits.py"
        )
    places = len(tokens) - 1
    read, following = (list(record[name])[:places] for name in _TEXT)
    if read != list(tokens[:-1]) or following != list(tokens[1:]):
        raise DataError(
            f"a record of NeMo-Aligner must be of the text's own tokens, got {read[:6]} "
            f"followed by {following[-1:]} for {list(tokens)[:6]}; give the data that it was "
            "computed for, in its order and with the same tokenizer and template"
        )
    logits, ids, sums = (record[name][:places] for name in _COLUMNS)
    try:
        values = np.asarray(logits, dtype=np.float64) - np.asarray(sums, dtype=np.float64)[:, None]
    except (ValueError, TypeError, IndexError) as error:
        raise DataError(f"`topk_logits` must be rows of numbers, got {error}") from error
    return {"target_token_ids": ids, "target_logprobs": values.tolist()}
