"""Prepare raw texts for a model: tokens by the tokenizer of a Hugging Face model."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tutelage._checks import integer
from tutelage.errors import ArgumentError, DataError
from tutelage.nested import describe

WORDS = "words"
"""The key under which `TextInputs(words=True)` returns the word of each token."""


class TextInputs:
    """From a list of texts to a model's inputs: `input_ids`, `attention_mask` and so on.

    The texts of a batch are padded to the longest of them, and cut at `max_length` tokens.

    Args:
        tokenizer: A tokenizer of the library transformers; it is copied.
        max_length: Number of tokens after which a text is cut, with the special ones.
        words: Whether a text is a sequence of words with spaces between them, each of which has an
            output (`tl.layers.ByWord`). The inputs then have the key `"words"`: the word of each
            token, −1 for special tokens and padding. A text with more tokens than `max_length`
            is refused, since its last words would have no output.

    Raises:
        ArgumentError: `tokenizer` is none, it has no padding token, or, with `words`, does not know
            the words of its tokens; `max_length` is below 1.
    """

    def __init__(self, tokenizer: Any, max_length: int, words: bool = False) -> None:
        if not (callable(tokenizer) and hasattr(tokenizer, "pad_token")):
            raise ArgumentError(
                f"`tokenizer` must be one of transformers, got {tokenizer!r}; for instance "
                "transformers.AutoTokenizer.from_pretrained(folder)"
            )
        if getattr(tokenizer, "pad_token", None) is None:
            raise ArgumentError(
                "`tokenizer` must have a padding token, got one without; set tokenizer.pad_token "
                "(and the pad_token_id of the model's config)"
            )
        if words and not getattr(tokenizer, "is_fast", False):
            raise ArgumentError(
                f"`words` needs a tokenizer that knows the words of its tokens, got "
                f"{type(tokenizer).__name__}; use the fast version of it"
            )
        self.tokenizer: Any = copy.deepcopy(tokenizer)
        self.max_length = integer("max_length", max_length, 1, "it is a number of tokens")
        self.words = words
        # Where it was loaded from is not part of what it does.
        self.tokenizer.name_or_path = ""
        kept = getattr(self.tokenizer, "init_kwargs", {})
        for name in [
            name for name in kept if name.endswith(("_path", "_file", "local_files_only"))
        ]:
            del kept[name]
        # A fast tokenizer keeps the settings of its last call. With this one, its state, by which
        # runs are compared, is the same before the first batch and after it.
        self._tokens(["a"])

    def __call__(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Return the model's inputs, each `[batch, tokens]`.

        Raises:
            DataError: The texts are no list of str, or, with `words`, one is too long.
        """
        if not isinstance(texts, (list, tuple)) or not all(isinstance(each, str) for each in texts):
            raise DataError(
                f"raw texts must be a list of str, got {describe(texts)}; let the data set yield "
                "a str for each example"
            )
        tokens = self._tokens(list(texts))
        inputs = dict(tokens)
        if self.words:
            inputs[WORDS] = self._words(list(texts), tokens, inputs["input_ids"].shape[1])
        return inputs

    def _tokens(self, texts: list[str]) -> Any:
        return self.tokenizer(
            [each.split() for each in texts] if self.words else texts,
            is_split_into_words=self.words,
            padding=True,
            truncation=True,
            max_length=self.max_length,
            return_tensors="pt",
        )

    def _words(self, texts: list[str], tokens: Any, length: int) -> Tensor:
        """Return the word of each token, `[batch, tokens]`."""
        rows = []
        for place, text in enumerate(texts):
            ids = tokens.word_ids(place)
            row = [-1 if each is None else each for each in ids]
            if max(row, default=-1) + 1 < len(text.split()):
                raise DataError(
                    f"a text whose words have an output each must have at most {self.max_length} "
                    f"tokens, got one of {len(text.split())} words, {text[:40]!r}…; split it, or "
                    "raise `max_length`"
                )
            rows.append(row + [-1] * (length - len(row)))
        return torch.tensor(rows)

    def save(self, folder: str | Path) -> None:
        """Write the tokenizer's files into a folder."""
        self.tokenizer.save_pretrained(folder)

    def __repr__(self) -> str:
        words = ", words=True" if self.words else ""
        return f"TextInputs({type(self.tokenizer).__name__}, max_length={self.max_length}{words})"
