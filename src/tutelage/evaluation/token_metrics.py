"""Perplexity and bits per byte as metrics of runs and studies."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from tutelage.errors import ArgumentError, DataError
from tutelage.evaluation.token_scores import TokenScores, token_scores
from tutelage.rows import Rows


class _Ratio(ABC):
    """A metric of two sums over the tokens with a label, which are counted example by example."""

    higher_is_better = False
    reads_scores: Literal[True] = True

    def of_rows(self, output: TokenScores | Tensor, labels: Tensor, rows: Rows) -> float:
        """Return the metric of scores, or logits `[rows, classes]`, of all labelled rows."""
        return self.of_counts(self.counts(output, labels, rows).sum(dim=0)).item()

    def counts(self, output: TokenScores | Tensor, labels: Tensor, rows: Rows | None) -> Tensor:
        """Return the two sums of each example, `[examples, 2]` in float64."""
        scores = token_scores(output, None, labels) if isinstance(output, Tensor) else output
        rows = Rows.single(len(scores)) if rows is None else rows
        nll = scores.column("nll")
        sums = nll.new_zeros(len(rows.counts)).index_add(0, rows.examples, nll)
        return torch.stack([sums, self._sizes(labels, rows)], dim=1)

    @abstractmethod
    def of_counts(self, counts: Tensor) -> Tensor:
        """Return the metric of such sums, `[…, 2]`."""

    def by_class_of_counts(self, counts: Tensor) -> dict[int | str, Tensor]:
        """Return nothing: it is not told class by class."""
        return {}

    @abstractmethod
    def _sizes(self, labels: Tensor, rows: Rows) -> Tensor:
        """Return the second sum of each example, `[examples]` in float64."""


class Perplexity(_Ratio):
    """exp of the mean of −log p(token | those before) over all tokens with a label.

    A metric of runs and studies: `metrics={"perplexity": tl.evaluation.Perplexity()}`. Language
    models have it by that name anyway. Those of different tokenizers cannot be compared: see
    `BitsPerByte`. Intervals are over examples (texts), by the jackknife.

    >>> logits = torch.tensor([[0.9, 0.1], [0.4, 0.6]]).log()
    >>> one_text = Rows.counted(torch.tensor([2]))
    >>> round(Perplexity().of_rows(logits, torch.tensor([0, 0]), one_text), 4)
    1.6667
    """

    def of_counts(self, counts: Tensor) -> Tensor:
        """Return exp(nats / tokens)."""
        return (counts[..., 0] / counts[..., 1]).exp()

    def _sizes(self, labels: Tensor, rows: Rows) -> Tensor:
        return rows.counts.double()


class BitsPerByte(_Ratio):
    """−Σ log2 p(token | those before) / Σ bytes of the text of these tokens.

    Unlike perplexity it can be compared between tokenizers, on equal texts. The tokens are those
    with a label, such as an answer without its prompt, and their bytes are those of the text that
    the tokenizer makes of them, without special tokens: of a tokenizer that loses something, such
    as upper case, these are not the bytes of the original text.

    Args:
        tokenizer: The model's own, or a function from a list of token ids to text.

    Raises:
        ArgumentError: It is neither.
    """

    def __init__(self, tokenizer: Any) -> None:
        if not callable(tokenizer) and not callable(getattr(tokenizer, "decode", None)):
            raise ArgumentError(
                "`tokenizer` must have a method `decode`, or be a function from token ids to text, "
                f"got {type(tokenizer).__name__}; give the model's own tokenizer"
            )
        self.tokenizer = tokenizer

    def of_counts(self, counts: Tensor) -> Tensor:
        """Return nats / log 2 / bytes."""
        return counts[..., 0] / math.log(2) / counts[..., 1]

    def _sizes(self, labels: Tensor, rows: Rows) -> Tensor:
        texts = labels.split(rows.counts.tolist())
        sizes = [len(self._text(own.tolist()).encode()) for own in texts]
        if not any(sizes):
            raise DataError(
                "tokens with a label must have a text for bits per byte, got none that the "
                "tokenizer makes a text of; give the tokenizer of these texts"
            )
        return torch.tensor(sizes, dtype=torch.float64)

    def _text(self, ids: Sequence[int]) -> str:
        """Return the text of some tokens, as it was written."""
        decode = getattr(self.tokenizer, "decode", None)
        if not callable(decode):
            return str(self.tokenizer(ids))
        options = {"skip_special_tokens": True}
        if hasattr(self.tokenizer, "clean_up_tokenization_spaces"):
            options["clean_up_tokenization_spaces"] = False
        return str(decode(ids, **options))
