"""Log-probabilities of tokens as inference servers give them, and as others have stored them."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tutelage.coarse import CoarseLogits
from tutelage.errors import DataError

_NO_PROBABILITY = -9999.0  # as vLLM writes −∞, which JSON does not have
_ROUNDING = 1e-6  # of a sum of probabilities
_TOO_MUCH = 1.01  # by which a sum of rounded probabilities may exceed 1
_PREFIX = "token_id:"
_Known = list[tuple[int, float]]
"""The known tokens of a place, and the logarithms of their probabilities."""


@dataclass(frozen=True)
class TokenLogprobs:
    """The most probable tokens at each place of one text, the first of which has none.

    Args:
        ids: `[tokens − 1, k]` of int64: which tokens are known at the places from the second on;
            −1 pads short rows.
        values: `[tokens − 1, k]` of float64: the logarithms of their probabilities; −∞ for −1.
    """

    ids: NDArray[np.int64]
    values: NDArray[np.float64]

    @classmethod
    def of(cls, record: Any, tokens: Sequence[int]) -> TokenLogprobs:
        """Read those of a text, in any of the forms that are known.

        - vLLM: `prompt_logprobs`, one entry for each token: null for the first, then a dict from
          the id, a string, to `{"logprob": …}` or a number.
        - Completions as of OpenAI, with tokens as "token_id:123": `logprobs` with `top_logprobs`,
          and `tokens` with `token_logprobs`.
        - SGLang: `meta_info` with `input_top_logprobs`, one list `[logprob, id, text]` for each
          token known, or as flat arrays, also in Base64.
        - A list of `{"token": "token_id:123", "logprob": …}` for each token, under `logprobs`, or
          `target_token_ids` and `target_logprobs`, as training tools write them.

        Whatever is around (`choices`, a list with one answer) is opened. The token of the text
        itself, which servers add to the k most probable ones, is kept.

        Raises:
            DataError: The form is none of these, the number of entries is not that of the tokens,
                or they are no probabilities.
        """
        if len(tokens) < 2:  # noqa: PLR2004 - nothing comes next
            return cls._of_rows([])
        try:
            rows = _rows(_opened(record), len(tokens))
        except (ValueError, TypeError, LookupError) as error:
            raise DataError(
                f"log-probabilities of a text must be complete, got an answer that cannot be read "
                f"({type(error).__name__}: {error}); ask again, or write it again"
            ) from error
        if len(rows) != len(tokens) - 1:
            raise DataError(
                f"a text of {len(tokens)} tokens must have log-probabilities for all but the "
                f"first, got {len(rows)}; ask for those of the prompt, with the same tokens and "
                "without special tokens added"
            )
        return cls._of_rows(rows)

    @classmethod
    def _of_rows(cls, rows: Sequence[_Known]) -> TokenLogprobs:
        # NaN stays, to be refused; what pads a row by a known id is not that token's probability.
        kept = [dict(pair for pair in row if not pair[1] <= _NO_PROBABILITY) for row in rows]
        width = max(map(len, rows), default=0)
        ids = np.full((len(rows), width), -1, dtype=np.int64)
        values = np.full((len(rows), width), -np.inf)
        for place, known in enumerate(kept):
            ids[place, : len(known)] = list(known)
            values[place, : len(known)] = list(known.values())
        sums = np.exp(values).sum(axis=1)
        bad = np.isnan(sums) | (sums > _TOO_MUCH) | ~(ids >= 0).any(axis=1)
        bad |= ((ids < 0) & (values != -np.inf)).any(axis=1)
        if bool(bad.any()):
            place = int(bad.argmax())
            raise DataError(
                "log-probabilities of a token must be of ids from 0 on, and their probabilities "
                f"must add up to 1 or less, got a sum of {sums[place]:.4g} for token {place + 1}; "
                "ask for logarithms of probabilities, at temperature 1"
            )
        return cls(ids, values)

    def at(self, positions: int, columns: Sequence[int], width: int) -> CoarseLogits:
        """Return what is said of the next token at each position of a padded text.

        Positions without a next token have no class, and all mass in the others.

        Args:
            positions: Their number.
            columns: The position of each token of the text.
            width: Of the ids; at least that of these.
        """
        ids = torch.full((positions, width), -1, dtype=torch.int64)
        logits = torch.full((positions, width), -torch.inf)
        other = torch.zeros(positions)
        places = torch.tensor(list(columns[:-1]), dtype=torch.int64)
        k = self.ids.shape[1]
        ids[places, :k] = torch.from_numpy(self.ids)
        logits[places, :k] = torch.from_numpy(self.values).float()
        left = 1 - np.exp(self.values).sum(axis=1)
        left[left < _ROUNDING] = 0  # else a teacher of all tokens would know of others
        with np.errstate(divide="ignore"):
            other[places] = torch.from_numpy(np.log(left)).float()
        return CoarseLogits(ids, logits, other)


def _opened(record: Any) -> Any:
    """Return the part of an answer that has log-probabilities."""
    while True:
        if isinstance(record, list) and len(record) == 1 and isinstance(record[0], Mapping):
            record = record[0]
        elif isinstance(record, Mapping) and record.get("choices"):
            record = record["choices"]
        elif isinstance(record, Mapping) and isinstance(record.get("meta_info"), Mapping):
            record = record["meta_info"]
        else:
            return record


def _rows(record: Any, tokens: int) -> list[_Known]:
    """Return the known tokens of each place after the first."""
    known = record if isinstance(record, Mapping) else {}
    if known.get("prompt_logprobs") is not None:
        return [_of_dict(each) for each in _after_first(known["prompt_logprobs"])]
    if "input_top_logprobs_val_flat" in known or "input_top_logprobs_val_flat_b64" in known:
        return _of_flat(known, tokens)
    if known.get("input_top_logprobs") is not None:
        return [
            [(_id(entry[1]), _value(entry[0])) for entry in each or ()]
            for each in _after_first(known["input_top_logprobs"])
        ]
    if "target_token_ids" in known and "target_logprobs" in known:
        pairs = zip(known["target_token_ids"], known["target_logprobs"], strict=True)
        rows = [
            [(_id(a), _value(b)) for a, b in zip(ids, values, strict=True)] for ids, values in pairs
        ]
        return _without_first(rows, tokens)
    logprobs = known.get("logprobs")
    if isinstance(logprobs, Mapping) and logprobs.get("top_logprobs") is not None:
        return _of_completion(logprobs)
    if isinstance(logprobs, list) and all(
        isinstance(each, (list, type(None))) for each in logprobs
    ):
        rows = [[(_id(e["token"]), _value(e["logprob"])) for e in each or ()] for each in logprobs]
        return _without_first(rows, tokens)
    raise DataError(
        "an answer must have log-probabilities of its prompt in a form that is known (vLLM's "
        "prompt_logprobs, SGLang's input_top_logprobs, logprobs with top_logprobs), got "
        f"{sorted(known) if known else type(record).__name__}; ask the server for them"
    )


def _without_first(rows: list[_Known], tokens: int) -> list[_Known]:
    """Return the rows after the first token's, which must be empty if it is there.

    Else rows may be of the token at their place or of the next one, and nothing would tell.
    """
    if len(rows) != tokens:
        return rows
    if rows[0]:
        raise DataError(
            "log-probabilities of a text must leave its first token without any, as nothing is "
            "before it, got some: they may be those of the next token at each place; give one list "
            "for each token but the first, of that token"
        )
    return rows[1:]


def _after_first(entries: Any) -> list[Any]:
    """Return the entries after the first token's, which is null."""
    if not isinstance(entries, list) or not entries or any(each is None for each in entries[1:]):
        raise DataError(
            "log-probabilities of a prompt must be a list with an entry for each token, null for "
            f"the first alone, got {str(entries)[:60]}; some servers answer so when they do not "
            "support them"
        )
    return entries[1:]


def _of_dict(entry: Any) -> _Known:
    if not isinstance(entry, Mapping):
        raise DataError(
            "log-probabilities of a token must be a dict from ids, got "
            f"{type(entry).__name__}; ask for ids (return_tokens_as_token_ids)"
        )
    return [
        (_id(key), _value(each["logprob"] if isinstance(each, Mapping) else each))
        for key, each in entry.items()
    ]


def _of_completion(logprobs: Mapping[str, Any]) -> list[_Known]:
    rows = [_of_dict(each) for each in _after_first(logprobs["top_logprobs"])]
    own = zip(logprobs.get("tokens") or (), logprobs.get("token_logprobs") or (), strict=True)
    for row, (token, value) in zip(rows, list(own)[1:], strict=False):
        if isinstance(token, str) and token.startswith(_PREFIX) and value is not None:
            row.append((_id(token), _value(value)))
    return rows


def _of_flat(known: Mapping[str, Any], tokens: int) -> list[_Known]:
    """Read SGLang's flat arrays, with or without the places that have no entry."""

    def flat(name: str, dtype: str) -> NDArray[Any]:
        text = known.get(f"input_top_logprobs_{name}_flat_b64")
        if text is not None:
            return np.frombuffer(base64.b64decode(text), dtype)
        return np.asarray(known[f"input_top_logprobs_{name}_flat"], dtype)

    values, ids = flat("val", "<f4"), flat("idx", "<i4")
    *_, k = known["input_top_logprobs_shape"]
    if len(values) != len(ids) or k < 1 or len(ids) % k:
        raise DataError(
            f"flat log-probabilities must be rows of {k} values and ids, got {len(values)} and "
            f"{len(ids)} of them; ask again"
        )
    rows = [
        [(int(a), float(b)) for a, b in zip(*row, strict=True)]
        for row in zip(ids.reshape(-1, k), values.reshape(-1, k), strict=True)
    ]
    return _without_first(rows, tokens)


def _id(key: Any) -> int:
    text = key.removeprefix(_PREFIX) if isinstance(key, str) else key
    try:
        return int(text)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"tokens must be named by their ids, as 123 or {_PREFIX}123, got {key!r}: several "
            "tokens may have one text; ask for ids (return_tokens_as_token_ids)"
        ) from error


def _value(number: Any) -> float:
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        raise DataError(f"a log-probability must be a number, got {number!r}; ask again")
    return float(number)
