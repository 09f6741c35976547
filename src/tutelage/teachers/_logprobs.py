"""Log-probabilities of tokens as inference servers give them, and as others have stored them."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
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
"""The known tokens of a position, and the logarithms of their probabilities."""


@dataclass(frozen=True)
class TokenLogprobs:
    """The most probable tokens at each position of one text, the first of which has none.

    Args:
        ids: `[tokens − 1, k]` of int64: which tokens are known at the positions from the second on;
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

        Wrappers (`choices`, a list of one answer) are unwrapped. The token of the text
        itself, which servers add to the k most probable ones, is kept. Where a form tells these
        (all that servers write but SGLang's without `input_token_logprobs`), they must be those of
        this text: log-probabilities of another one, or of other positions, would be learned else.

        Raises:
            DataError: The form is none of these, the number of entries is not that of the tokens,
                they are of another text's tokens, or they are not probabilities.
        """
        rows: list[_Known] = []
        own: list[int | None] | None = None
        if len(tokens) > 1:  # else nothing comes next
            try:
                record = _inner(record)
                rows, own = _rows(record), _own(record, tokens)
            except (ValueError, TypeError, LookupError, AttributeError) as error:
                raise DataError(
                    "log-probabilities of a text must be complete, in a form that is known, with "
                    f"tokens as ids, got {type(error).__name__}: {error}; ask the server for those "
                    "of the prompt, and for ids (return_tokens_as_token_ids)"
                ) from error
            if len(rows) == len(tokens):
                # Else rows may be of the token at their position or of the next one.
                if rows[0]:
                    raise DataError(
                        "log-probabilities of a text must leave its first token without any, as "
                        "nothing is before it, got some: they may be those of the next token; give "
                        "one list for each token but the first, of that token"
                    )
                rows = rows[1:]
            if len(rows) != len(tokens) - 1:
                raise DataError(
                    f"a text of {len(tokens)} tokens must have log-probabilities for all but the "
                    f"first, got {len(rows)}; ask for those of the prompt, with the same tokens "
                    "and without special tokens added"
                )
        # NaN stays, to be refused; what pads a row by a known id is not that token's probability.
        kept = [dict(pair for pair in row if not pair[1] <= _NO_PROBABILITY) for row in rows]
        width = max(map(len, rows), default=0)
        ids = np.full((len(rows), width), -1, dtype=np.int64)
        values = np.full((len(rows), width), -np.inf)
        for position, known in enumerate(kept):
            ids[position, : len(known)] = list(known)
            values[position, : len(known)] = list(known.values())
        sums = np.exp(values).sum(axis=1)
        bad = np.isnan(sums) | (sums > _TOO_MUCH) | ~(ids >= 0).any(axis=1)
        bad |= ((ids < 0) & (values != -np.inf)).any(axis=1)
        if bool(bad.any()):
            position = int(bad.argmax())
            raise DataError(
                "log-probabilities of a token must be of ids from 0 on, and their probabilities "
                f"must add up to 1 or less, got a sum of {sums[position]:.4g} for token "
                f"{position + 1}; ask for logarithms of probabilities, at temperature 1"
            )
        if own is not None and own[-len(rows) :] != [*tokens[1:]]:
            raise DataError(
                "log-probabilities of a text must have those of its own tokens at their positions, "
                "got others: they are of another text, shifted, or of another tokenizer; send the "
                "server these token ids, without special tokens added"
            )
        return cls(ids, values)

    def at(self, positions: int, columns: Sequence[int], width: int) -> CoarseLogits:
        """Return the known next tokens at each position of a padded text.

        Positions without a next token have no class, and all mass in the others.

        Args:
            positions: Their number.
            columns: The position of each token of the text.
            width: Of the ids; at least that of these.
        """
        ids = torch.full((positions, width), -1, dtype=torch.int64)
        logits = torch.full((positions, width), -torch.inf)
        other = torch.zeros(positions)
        predicting = torch.tensor(list(columns[:-1]), dtype=torch.int64)
        k = self.ids.shape[1]
        ids[predicting, :k] = torch.from_numpy(self.ids)
        logits[predicting, :k] = torch.from_numpy(self.values).float()
        left = 1 - np.exp(self.values).sum(axis=1)
        left[left < _ROUNDING] = 0  # else a teacher of all tokens would know of others
        with np.errstate(divide="ignore"):
            other[predicting] = torch.from_numpy(np.log(left)).float()
        return CoarseLogits(ids, logits, other)


def _inner(record: Any) -> Mapping[str, Any]:
    """Return what has the log-probabilities in a server's answer."""
    if isinstance(record, list):
        [record] = record
    for outer in ("choices", "meta_info"):
        if record.get(outer):
            return _inner(record[outer])
    return record


def _own(record: Mapping[str, Any], tokens: Sequence[int]) -> list[int | None] | None:
    """Return the text's own tokens as told beside the others; None where a form does not tell.

    vLLM adds the own token to the most probable ones; where it is not, None is in its place.
    """
    if record.get("input_token_logprobs"):
        return [_id(each[1]) for each in record["input_token_logprobs"]]
    if entries := record.get("prompt_logprobs"):
        rows = [each or {} for each in entries]
        by_vllm = any(isinstance(value, Mapping) for row in rows for value in row.values())
        known = [{_id(key) for key in row} for row in rows]
        pairs = zip(reversed(tokens), reversed(known), strict=False)
        return [token if token in row else None for token, row in pairs][::-1] if by_vllm else None
    found = record.get("logprobs")
    own = (found.get("tokens") if isinstance(found, Mapping) else None) or ()
    told = own and all(str(each).startswith(_PREFIX) for each in own)
    return [_id(each) for each in own] if told else None


def _rows(record: Mapping[str, Any]) -> list[_Known]:
    """Return the known tokens of each position; that of the first may be left out."""
    read = next((read for key, read in _READERS.items() if record.get(key) is not None), None)
    if read is None:
        raise KeyError(f"none of {', '.join(_READERS)}")
    return read(record)


def _of_vllm(record: Mapping[str, Any]) -> list[_Known]:
    return [_of_dict(each) for each in record["prompt_logprobs"]]


def _of_sglang(record: Mapping[str, Any]) -> list[_Known]:
    return [
        [(_id(entry[1]), float(entry[0])) for entry in each or ()]
        for each in record["input_top_logprobs"]
    ]


def _of_flat(record: Mapping[str, Any]) -> list[_Known]:
    k, found = record["input_top_logprobs_shape"][-1], []
    for name, dtype in (("idx", "<i4"), ("val", "<f4")):
        text = record.get(f"input_top_logprobs_{name}_flat_b64")
        if text is not None:
            flat = np.frombuffer(base64.b64decode(text), dtype)
        else:
            flat = np.asarray(record[f"input_top_logprobs_{name}_flat"], dtype)
        found.append(flat.reshape(-1, k).tolist())
    return [list(zip(*row, strict=True)) for row in zip(*found, strict=True)]


def _of_columns(record: Mapping[str, Any]) -> list[_Known]:
    return [
        [(_id(a), float(b)) for a, b in zip(ids or (), values or (), strict=True)]
        for ids, values in zip(record["target_token_ids"], record["target_logprobs"], strict=True)
    ]


def _of_logprobs(record: Mapping[str, Any]) -> list[_Known]:
    """Read a list for each token, or a completion of OpenAI."""
    found = record["logprobs"]
    if isinstance(found, list):
        return [[(_id(e["token"]), float(e["logprob"])) for e in each or ()] for each in found]
    rows = [_of_dict(each) for each in found["top_logprobs"]]
    own = list(zip(found.get("tokens") or (), found.get("token_logprobs") or (), strict=True))
    # The first token has an entry in both or in one of them: they end together.
    for row, (token, value) in zip(reversed(rows), reversed(own), strict=False):
        if value is not None and str(token).startswith(_PREFIX):
            row.append((_id(token), float(value)))
    return rows


_READERS: dict[str, Callable[[Mapping[str, Any]], list[_Known]]] = {
    "prompt_logprobs": _of_vllm,
    "input_top_logprobs_shape": _of_flat,
    "input_top_logprobs": _of_sglang,
    "target_token_ids": _of_columns,
    "logprobs": _of_logprobs,
}
"""How a record is read, by the key that it has."""


def _of_dict(entry: Mapping[str, Any] | None) -> _Known:
    return [
        (_id(key), float(each["logprob"] if isinstance(each, Mapping) else each))
        for key, each in (entry or {}).items()
    ]


def _id(key: Any) -> int:
    """Return a token's id; a token's text is refused, since several tokens may have the same."""
    return int(key.removeprefix(_PREFIX) if isinstance(key, str) else key)
