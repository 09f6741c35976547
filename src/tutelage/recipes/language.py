"""Language models of a recipe: texts in the student's tokens, and teachers with others."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from tutelage.datasets import Splits
from tutelage.datasets.python_data import is_python
from tutelage.errors import ArgumentError, ModelError
from tutelage.layers import TextInputs
from tutelage.layers.language import is_causal
from tutelage.references import text_inputs_of
from tutelage.teachers import Retokenized

_LOG = logging.getLogger(__name__)


def in_tokens(data: Splits, tokens: TextInputs, ends: bool) -> Splits:
    """Return data whose examples are dicts of the tokens of texts, with the domains of these.

    Args:
        data: Texts without labels.
        tokens: Of the student.
        ends: Whether a text that is not cut gets the token that ends texts, to be learned too.
    """
    end, most = tokens.tokenizer.eos_token_id, tokens.max_length

    def examples(name: str, split: Any) -> list[dict[str, Any]]:
        rows = [
            each if isinstance(each, tuple) else (each,)
            for each in map(split.__getitem__, range(len(split)))
        ]
        made = tokens.tokenizer([row[0] for row in rows], verbose=False)["input_ids"]
        cut = sum(len(ids) > most for ids in made)
        if cut:
            words = "%d of %d texts of `%s` have more than %d tokens and are cut"
            _LOG.warning(words, cut, len(made), name, most)
        found = []
        for row, ids in zip(rows, made, strict=True):
            due = ends and end is not None and len(ids) < most and ids[-1:] != [end]
            example: dict[str, Any] = {"input_ids": torch.tensor([*ids[:most], *([end] * due)])}
            found.append(example | {"domain": row[2]} if len(row) > 1 else example)
        return found

    splits = {"train": data.train, "val": data.val, "test": data.test}
    made = {name: each and examples(name, each) for name, each in splits.items()}
    return replace(data, **made, labelled=made["train"])


def _same_tokens(one: TextInputs, other: TextInputs) -> bool:
    """Tell whether two tokenizers have the same tokens under the same ids."""
    return one.tokenizer.get_vocab() == other.tokenizer.get_vocab()


def check_tokenizer(
    argument: str, reference: str, tokens: TextInputs | None, *, trust: bool = False
) -> None:
    """Refuse a student of another tokenizer than that in whose tokens the data is."""
    own = None if tokens is None else text_inputs_of(argument, reference, trust=trust)
    if tokens is not None and own is not None and not _same_tokens(own, tokens):
        raise ArgumentError(
            f"`{argument}` must have the tokenizer of the recipe's student, in whose tokens the "
            f"texts are, got {reference!r} with another; write a recipe for each tokenizer"
        )


def read_as_student(
    argument: str, found: Any, reference: str, tokens: TextInputs | None, *, trust: bool = False
) -> Any:
    """Return a teacher as it reads data in the student's tokens: `Retokenized` if it has others.

    Args:
        argument: Its name in the recipe.
        found: The teacher.
        reference: Of it.
        tokens: The student's; None where the data is not texts in tokens.
        trust: As of `load_model`.

    Raises:
        ModelError: It is a language model, and the data has no tokens.
    """
    if not isinstance(found, nn.Module) or is_python(reference) or not is_causal(found):
        return found
    if tokens is None:
        raise ModelError(
            f"`{argument}` {reference!r} is a causal language model, which needs texts without "
            "labels and a student of its kind, by hf: or made of its layers; to make a classifier "
            "of it write ?task=texts behind its name and fine-tune it (fine_tune:)"
        )
    theirs = text_inputs_of(argument, reference, trust=trust)
    if theirs is None or _same_tokens(theirs, tokens):
        return found
    return Retokenized(found, **tokenizers(argument, reference, tokens, trust=trust))


def tokenizers(
    argument: str, reference: Any, tokens: TextInputs | None, *, trust: bool = False
) -> dict[str, Any]:
    """Return the arguments of `Retokenized` that follow from teacher and student."""
    named = isinstance(reference, str)
    theirs = text_inputs_of(argument, reference, trust=trust) if named else None
    if tokens is None or theirs is None:
        raise ArgumentError(
            f"`{argument}` must be a causal language model of hf: for a student of hf: and texts "
            f"without labels, got {reference!r}; or name a function file.py:name that returns "
            "tl.teachers.Retokenized(model, tokenizer, student_tokenizer)"
        )
    return {
        "tokenizer": theirs.tokenizer,
        "student_tokenizer": tokens.tokenizer,
        "max_length": theirs.max_length,
    }
