"""Students with a smaller vocabulary: without the tokens that some texts do not need."""

from __future__ import annotations

import copy
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, pairwise
from typing import Any, Generic, NamedTuple

import torch
from torch import Tensor, nn

from tutelage._checks import integer
from tutelage.errors import ArgumentError, ModelError
from tutelage.layers import evaluating
from tutelage.students.keep_layers import Model

_AT_ONCE = 1000
_SHOWN, _TOKENS, _CLOSE = 8, 64, 1e-4
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")


class Pruned(NamedTuple, Generic[Model]):
    """A model and its tokenizer with fewer tokens.

    `ids` are the former ids of the tokens that are left, `[tokens]`, in ascending order: the
    embedding and the logit of token j are those of token ids[j] before.
    """

    model: Model
    tokenizer: Any
    ids: Tensor


def prune_vocabulary(
    model: Model, tokenizer: Any, texts: Iterable[str], keep: int | None = None
) -> Pruned[Model]:
    """Return a model and its tokenizer without the tokens that some texts do not need.

    Of small language models half or more of the parameters are embeddings. All tokens are left that
    occur in the texts, or the most frequent ones, and those that the tokenizer makes them of;
    special tokens, and single characters and bytes, so that every text is still encoded. A text
    whose tokens are all left is encoded as before, with new numbers, and the logits of these tokens
    do not change. So their probabilities are those of the whole model, given that the token is one
    of those that are left: softmax(z[ids]).

    Prune the teacher first, and make the student of what is returned (`most_influential`): then
    both have the same tokens.

    Args:
        model: A model of transformers; it is not changed.
        tokenizer: Its tokenizer, of the Rust library (a "fast" one): BPE, WordPiece or Unigram. It
            is not changed.
        texts: Those of the task.
        keep: The largest number of tokens; None for all that occur.

    Raises:
        ArgumentError: There are no texts, `keep` is too small, or the tokenizer is of another kind.
        ModelError: The model does not have an embedding for each token, or has other parts of the
            size of the vocabulary.
    """
    file, tokenizer = TokenizerFile.of(tokenizer), copy.deepcopy(tokenizer)
    size = _vocabulary(model, file)
    counts = Counter[int]()
    examples: list[str] = []
    for some in _batches(texts):
        for ids in tokenizer(some, truncation=False)["input_ids"]:
            counts.update(ids)
        examples += some[: _SHOWN - len(examples)]
    if not counts:
        raise ArgumentError("`texts` must have tokens to keep, got none; give those of the task")
    kept = _kept(file, counts, {*_special(model, tokenizer)} & {*range(size)}, keep)
    ids = torch.tensor(sorted(kept), dtype=torch.int64)
    smaller = Pruned(_pruned(model, ids, size), file.pruned(tokenizer, sorted(kept)), ids)
    _check(model, smaller, examples)
    return smaller


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    if isinstance(texts, str):
        raise ArgumentError("`texts` must be a list of strings, got a single one; write [text]")
    left = iter(texts)
    while some := list(islice(left, _AT_ONCE)):
        yield some


def _vocabulary(model: nn.Module, file: TokenizerFile) -> int:
    """Return how many embeddings a model has; refuse one without, or with fewer than tokens."""
    whole: Any = model
    found = whole.get_input_embeddings() if hasattr(model, "get_input_embeddings") else None
    if not isinstance(found, nn.Embedding) or not hasattr(model, "resize_token_embeddings"):
        raise ModelError(
            f"the model must be one of transformers with an nn.Embedding of tokens, got "
            f"{type(model).__name__}; prune the model inside of a wrapper"
        )
    if max(file.ids.values()) >= found.num_embeddings:
        raise ModelError(
            f"the model must have an embedding for each of the tokenizer's tokens, got "
            f"{found.num_embeddings} for ids up to {max(file.ids.values())}; give its own tokenizer"
        )
    return found.num_embeddings


def _kept(
    file: TokenizerFile, counts: Counter[int], special: set[int], keep: int | None
) -> set[int]:
    """Return the ids that are left: those always needed, then the most frequent and their parts."""
    kept = file.needed() | special
    if keep is not None:
        integer("keep", keep, 1, "it counts tokens")
        if keep < len(kept):
            raise ArgumentError(
                f"`keep` must leave the {len(kept)} special tokens, characters and bytes by which "
                f"every text is encoded, got {keep}; pass a larger one"
            )
    for token, _ in counts.most_common():
        more = {each for each in file.parts(token) if each not in kept}
        if keep is None or len(kept) + len(more) <= keep:
            kept |= more
    return kept


def _special(model: Any, tokenizer: Any) -> Iterator[int]:
    """Yield the ids of the tokens that tokenizer and configs name."""
    yield from tokenizer.all_special_ids
    for config in _configs(model):
        for _, value in _token_ids(config):
            yield from value if isinstance(value, list) else [value]


def _configs(model: Any) -> list[Any]:
    """Return the configs of a model and of its parts, without repetitions."""
    found = {id(each): each for part in model.modules() if (each := getattr(part, "config", None))}
    text = [each.get_text_config() for each in found.values() if hasattr(each, "get_text_config")]
    generation = [getattr(model, "generation_config", None)]
    known = [*found.values(), *text, *generation]
    return list({id(each): each for each in known if each is not None}.values())


def _token_ids(config: Any) -> Iterator[tuple[str, int | list[int]]]:
    for name, value in list(vars(config).items()):
        several = isinstance(value, list) and value and all(type(each) is int for each in value)
        if name.endswith(("_token_id", "_token_ids")) and (type(value) is int or several):
            yield name, value


def _pruned(model: Any, ids: Tensor, size: int) -> Any:
    """Return a copy of a model with the embeddings and logits of some tokens, in their order."""
    smaller = copy.deepcopy(model)
    order = torch.cat(
        [ids, torch.tensor(sorted({*range(size)} - {*ids.tolist()}), dtype=torch.int64)]
    )
    head = smaller.get_output_embeddings()
    parts = [smaller.get_input_embeddings(), head]
    tensors = [getattr(each, name, None) for each in parts for name in ("weight", "bias")]
    tensors += [getattr(smaller, "final_logits_bias", None)]
    places = {id(each): each for each in tensors if isinstance(each, Tensor) and size in each.shape}
    with torch.no_grad():
        for each in places.values():
            dim = 0 if each.shape[0] == size else 1
            each.copy_(each.index_select(dim, order.to(each.device)))
    smaller.resize_token_embeddings(len(ids), mean_resizing=False)
    numbers = {old: new for new, old in enumerate(ids.tolist())}
    for config in _configs(smaller):
        for name, value in _token_ids(config):
            if isinstance(value, list):
                setattr(config, name, [numbers[each] for each in value if each in numbers])
            else:
                setattr(config, name, numbers.get(value))
        _renumber_suppressed(config, numbers)
    embedding = smaller.get_input_embeddings()
    former = model.get_input_embeddings().padding_idx
    embedding.padding_idx = None if former is None else numbers.get(former % size)
    return smaller


def _renumber_suppressed(config: Any, numbers: dict[int, int]) -> None:
    """Give the tokens that a model does not write their new ids, without those that are gone."""
    for name in ("suppress_tokens", "begin_suppress_tokens"):
        if isinstance(known := vars(config).get(name), list):
            setattr(config, name, [numbers[each] for each in known if each in numbers] or None)
    if isinstance(known := vars(config).get("bad_words_ids"), list):
        left = [each for each in known if all(part in numbers for part in each)]
        config.bad_words_ids = [[numbers[part] for part in each] for each in left] or None


def _check(model: Any, pruned: Pruned[Any], texts: list[str]) -> None:
    """Refuse a smaller model whose outputs are not those of the model, for some texts."""
    for text in texts:
        new = pruned.tokenizer(text, truncation=True, max_length=_TOKENS)["input_ids"]
        if not new:
            continue
        ids = torch.tensor([new])
        device = next(model.parameters()).device
        with evaluating(model, pruned.model), torch.no_grad():
            whole, ours = (
                _answer(each, own.to(device))
                for each, own in ((model, pruned.ids[ids]), (pruned.model, ids))
            )
        if whole.shape != ours.shape:
            whole = whole[..., pruned.ids.to(device)]
        scale = whole.abs().max().clamp(min=1).item()
        # A layer of another size may round another way, which bfloat16 shows.
        close = max(_CLOSE, 4 * torch.finfo(whole.dtype).eps) * scale
        if not torch.allclose(whole.float(), ours.float(), rtol=0, atol=close):
            raise ModelError(
                f"the smaller {type(model).__name__} must return the same for the same tokens, got "
                f"another output, by up to {(whole - ours).abs().max().item():.3g}; it has further "
                "parts of the size of the vocabulary, which are not known here"
            )


def _answer(model: Any, ids: Tensor) -> Tensor:
    """Return what a model says of ids, `[1, tokens, …]` or `[1, classes]`."""
    named = {"decoder_input_ids": ids} if model.config.is_encoder_decoder else {}
    found = model(input_ids=ids, attention_mask=torch.ones_like(ids), **named)
    return next(each for each in found.values() if isinstance(each, Tensor) and each.ndim > 1)


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
            ArgumentError: The tokenizer has none.
        """
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise ArgumentError(
                "`tokenizer` must be a fast tokenizer of transformers, got "
                f"{type(tokenizer).__name__}; load it by AutoTokenizer.from_pretrained"
            )
        return cls(json.loads(backend.to_str()))

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
            pieces = [each for old, each in enumerate(model["vocab"]) if old in numbers]
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
