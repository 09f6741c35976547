"""The file of a tokenizer of the Rust library, and the same with fewer tokens."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

from tutelage.errors import ArgumentError

_KINDS = ("BPE", "WordPiece", "Unigram", "WordLevel")
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")


@dataclass(frozen=True)
class TokenizerFile:
    """What `tokenizer.json` has: `model` with the vocabulary, `added_tokens` and what is around.

    Args:
        content: The file's content.
    """

    content: dict[str, Any]

    @classmethod
    def of(cls, tokenizer: Any) -> TokenizerFile:
        """Read it from a tokenizer.

        Raises:
            ArgumentError: The tokenizer has none, or is of a kind that is not known.
        """
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise ArgumentError(
                "`tokenizer` must be a fast tokenizer of transformers, got "
                f"{type(tokenizer).__name__}; load it by AutoTokenizer.from_pretrained"
            )
        content = json.loads(backend.to_str())
        kind = content["model"].get("type")
        if kind not in _KINDS:
            raise ArgumentError(
                f"`tokenizer` must be one of {', '.join(_KINDS)}, got {kind}; keep its vocabulary"
            )
        return cls(content)

    @cached_property
    def ids(self) -> dict[str, int]:
        """The id of each token, added ones among them."""
        vocabulary = self.content["model"]["vocab"]
        if isinstance(vocabulary, list):  # Unigram: pieces and scores
            found = {piece: number for number, (piece, _) in enumerate(vocabulary)}
        else:
            found = dict(vocabulary)
        return found | {each["content"]: each["id"] for each in self.content["added_tokens"]}

    @cached_property
    def merges(self) -> list[tuple[str, str]]:
        """The pairs that a BPE joins, in their order; empty for others."""
        pairs = self.content["model"].get("merges", [])
        both = [each.split(" ") if isinstance(each, str) else each for each in pairs]
        return [(one, other) for one, other in both]

    def needed(self) -> set[int]:
        """Return the tokens that are never left out: added ones, single characters and bytes."""
        model = self.content["model"]
        unknown = {model.get("unk_token")}
        if isinstance(model.get("unk_id"), int):
            unknown.add(model["vocab"][model["unk_id"]][0])
        found = {each["id"] for each in self.content["added_tokens"]}
        for token, number in self.ids.items():
            bare = token.removeprefix(self._prefix).removesuffix(self._suffix)
            is_byte = model.get("byte_fallback") and _BYTE.fullmatch(token)
            if len(bare) <= 1 or token in unknown or is_byte:
                found.add(number)
        return found

    def parts(self, number: int) -> set[int]:
        """Return a token and, of a BPE, those that are joined on the way to it, as in a text.

        Several pairs may make one token, as in the tokenizers of sentencepiece: which of them does
        is decided by the order of merges alone, from the token's characters on.
        """
        token = self._tokens.get(number)
        if token is None:
            return set()
        bare = token.removeprefix(self._prefix).removesuffix(self._suffix)
        pieces = [self._prefix + each for each in bare]
        if pieces and not token.startswith(self._prefix):
            pieces[0] = bare[0]
        if pieces and token.endswith(self._suffix):
            pieces[-1] += self._suffix
        found = {number}
        while pairs := [each for each in pairwise(pieces) if each in self._ranks]:
            one, other = pair = min(pairs, key=self._ranks.__getitem__)
            at = list(pairwise(pieces)).index(pair)
            pieces[at : at + 2] = [one + other.removeprefix(self._prefix)]
            found.add(self.ids[pieces[at]])
        return found

    @cached_property
    def _tokens(self) -> dict[int, str]:
        return {number: token for token, number in self.ids.items()}

    @cached_property
    def _ranks(self) -> dict[tuple[str, str], int]:
        """The place of each pair in the order of merges: the first is joined first."""
        return {pair: rank for rank, pair in enumerate(self.merges)}

    @cached_property
    def _prefix(self) -> str:
        return self.content["model"].get("continuing_subword_prefix") or ""

    @cached_property
    def _suffix(self) -> str:
        return self.content["model"].get("end_of_word_suffix") or ""

    def pruned(self, tokenizer: Any, kept: list[int]) -> Any:
        """Return a copy of the tokenizer with some of its tokens, numbered in their order."""
        from tokenizers import Tokenizer  # noqa: PLC0415 - comes with transformers

        numbers = {old: new for new, old in enumerate(kept)}
        content = copy.deepcopy(self.content)
        model = content["model"]
        if isinstance(model["vocab"], list):
            added = {each["id"] for each in content["added_tokens"]}
            pieces = [each for old, each in enumerate(model["vocab"]) if old in numbers]
            if any(old >= len(model["vocab"]) for old in kept if old not in added):
                raise ArgumentError("`tokenizer` has ids beyond its vocabulary; load it again")
            unknown = model.get("unk_id")
            model |= {"vocab": pieces, "unk_id": None if unknown is None else numbers[unknown]}
        else:
            model["vocab"] = {
                token: numbers[old] for token, old in model["vocab"].items() if old in numbers
            }
        if model["type"] == "BPE":
            model["merges"] = [
                [one, other] for one, other in self.merges if self._is_kept(one, other, numbers)
            ]
        for each in content["added_tokens"]:
            each["id"] = numbers[each["id"]]
        content["added_tokens"].sort(key=lambda each: each["id"])
        content["post_processor"] = _renumbered(content.get("post_processor"), numbers)
        if isinstance(content.get("padding"), dict):
            content["padding"]["pad_id"] = numbers.get(content["padding"]["pad_id"], 0)
        smaller = copy.deepcopy(tokenizer)
        smaller._tokenizer = Tokenizer.from_str(json.dumps(content))  # noqa: SLF001 - no setter
        return smaller

    def _is_kept(self, one: str, other: str, numbers: dict[int, int]) -> bool:
        tokens = (one, other, one + other.removeprefix(self._prefix))
        return all(self.ids.get(each) in numbers for each in tokens)


def _renumbered(part: Any, numbers: dict[int, int]) -> Any:
    """Return a post-processor with new ids, in templates and in pairs of a token and its id."""
    if isinstance(part, list):
        pair = len(part) == 2 and isinstance(part[0], str) and type(part[1]) is int  # noqa: PLR2004
        return (
            [part[0], numbers[part[1]]] if pair else [_renumbered(each, numbers) for each in part]
        )
    if not isinstance(part, dict):
        return part
    return {
        name: [numbers[each] for each in value]
        if name == "ids" and isinstance(value, list)
        else _renumbered(value, numbers)
        for name, value in part.items()
    }
