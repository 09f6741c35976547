"""The bytes that the tokens of a tokenizer stand for."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any, NamedTuple

from tutelage.errors import ArgumentError, DataError

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_SPACE = "▁"
_LITERAL = _SPACE.encode()
_SHOWN = 24


class Encoded(NamedTuple):
    """A text's tokens, and how many of the text's bytes each covers."""

    ids: list[int]
    lengths: list[int]


class Decoded(NamedTuple):
    """The text of some tokens.

    `lengths` says how many of its bytes each covers; `broken` are tokens with bytes that are no
    part of it, since they are not characters in UTF-8.
    """

    text: str
    lengths: list[int]
    broken: set[int]


class TokenBytes:
    """The bytes of each token, so that those of a text's tokens are the bytes of the text.

    Byte-level BPE (GPT-2, Llama 3, Qwen, SmolLM2), and BPE or Unigram as sentencepiece has it, with
    "▁" for a space and `<0x0A>` for a byte (Llama 2, Gemma, Mistral). Special tokens have none. The
    space that some tokenizers add before a text is not counted.

    Args:
        name: The argument's name, for errors.
        tokenizer: A fast tokenizer of transformers.

    Raises:
        ArgumentError: It is not a fast one, or of another kind, such as WordPiece, whose tokens do
            not tell the spaces between them.
    """

    def __init__(self, name: str, tokenizer: Any) -> None:
        from tokenizers import Tokenizer  # noqa: PLC0415 - comes with transformers

        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise ArgumentError(
                f"`{name}` must be a fast tokenizer of transformers, got "
                f"{type(tokenizer).__name__}; load it by AutoTokenizer.from_pretrained"
            )
        self.name = name
        self._backend: Any = Tokenizer.from_str(backend.to_str())
        self._backend.no_truncation()  # which are settings of the tokenizer's last call
        self._backend.no_padding()
        self.file: str = self._backend.to_str()
        self._content = json.loads(self.file)
        self._check_kind()
        self._backend.encode_special_tokens = True  # "</s>" in a text is text
        self.eos: int | None = tokenizer.eos_token_id
        self.bos: int | None = tokenizer.bos_token_id
        with_special, bare = (
            tokenizer("a", add_special_tokens=each)["input_ids"] for each in (True, False)
        )
        special = [each in self.special for each in with_special]
        self.prefix: list[int] = (
            with_special[: special.index(False)] if bare and False in special else []
        )
        self._adds_space = b"".join(self._pieces(self._encoding("a").ids)).startswith(b" ")

    @cached_property
    def special(self) -> dict[int, str]:
        """The special tokens by id: markers, which cover no bytes of a text."""
        fallback = self._content["model"].get("byte_fallback")
        unknown = self._content["model"].get("unk_token")
        found = {
            each["id"]: each["content"]
            for each in self._content["added_tokens"]
            if each["special"] and not (fallback and _BYTE.fullmatch(each["content"]))
        }
        return found | {number: token for number, token in self._vocabulary if token == unknown}

    @cached_property
    def table(self) -> list[bytes | None]:
        """The bytes of each token, by id; None for special and unknown ones, and ids of none."""
        added = {each["id"]: each["content"] for each in self._content["added_tokens"]}
        tokens = dict(self._vocabulary) | added
        found: list[bytes | None] = [None] * (max(tokens) + 1)
        fallback = self._content["model"].get("byte_fallback")
        for number, token in tokens.items():
            if fallback and (byte := _BYTE.fullmatch(token)):
                found[number] = bytes([int(byte[1], 16)])
            elif number not in self.special and number != self.unknown:
                literal = self._is_byte_level and number in added
                found[number] = token.encode() if literal else self._bytes(token)
        return found

    @cached_property
    def unknown(self) -> int | None:
        """The id of the unknown token."""
        model = self._content["model"]
        token = model.get("unk_token")
        named = (number for number, each in self._vocabulary if each == token)
        found = model.get("unk_id", next(named, None))
        return None if found in (self.eos, self.bos) else found

    def is_byte(self, number: int) -> bool:
        """Tell whether a token is one byte of a character that has no token of its own."""
        return bool(_BYTE.fullmatch(self._backend.id_to_token(number) or ""))

    def is_added_space(self, number: int, length: int) -> bool:
        """Tell whether a token that covers so many bytes is nothing but a space that is added."""
        return length == 0 and self.table[number] == b" "

    def encoded(self, text: str) -> Encoded:
        """Return the tokens of a text, without special ones; "</s>" in a text is text.

        Raises:
            DataError: The tokens are of another text, apart from Unicode's normal forms.
        """
        found = self._encoding(text)
        if found is None:
            return Encoded([], [])
        pieces = self._pieces(found.ids)
        bare = self._without_space(pieces)
        lengths = _lengths(text.encode(), bare)
        if lengths is None and bare is not pieces:  # some add none where the text has one
            lengths = _lengths(text.encode(), pieces)
        if lengths is not None:
            return Encoded(found.ids, lengths)
        forms = (text, b"".join(pieces).decode(errors="replace").removeprefix(" "))
        if found.ids and _is_equal(*(each.removeprefix(" ") for each in forms)):
            return Encoded(found.ids, _by_offsets(text, found.offsets, bare))
        raise DataError(
            f"`{self.name}` must keep every character of a text, so that its tokens can be aligned "
            f"with others, got {_different(*forms)}; it does not know a character, or changes the "
            "text: change the texts in the same way first, or leave such texts out"
        )

    def decoded(self, ids: Sequence[int]) -> Decoded:
        """Return the text of tokens that are not special, or of a part of a text."""
        pieces = self._without_space(self._pieces(ids))
        whole = b"".join(pieces)
        unknown = {number for number, each in enumerate(ids) if each == self.unknown}
        with suppress(UnicodeDecodeError):
            return Decoded(whole.decode(), list(map(len, pieces)), unknown)
        # A byte that is part of no character becomes a surrogate, which no character is.
        text = whole.decode(errors="surrogateescape")
        bad = b"".join(
            b"\1" if "\udc80" <= each <= "\udcff" else bytes(len(each.encode())) for each in text
        )
        lengths, broken, at = [], unknown, 0
        for number, piece in enumerate(pieces):
            wrong = sum(bad[at : at + len(piece)])
            if wrong:
                broken.add(number)
            lengths.append(len(piece) - wrong)
            at += len(piece)
        return Decoded(text.encode(errors="ignore").decode(), lengths, broken)

    @cached_property
    def _vocabulary(self) -> list[tuple[int, str]]:
        vocabulary = self._content["model"]["vocab"]
        if isinstance(vocabulary, list):  # Unigram: pieces and scores
            return [(number, piece) for number, (piece, _) in enumerate(vocabulary)]
        return [(number, token) for token, number in vocabulary.items()]

    def _check_kind(self) -> None:
        model = self._content["model"]
        marks = [model.get(each) for each in ("continuing_subword_prefix", "end_of_word_suffix")]
        if model.get("type") not in ("BPE", "Unigram") or any(marks):
            shown = f"{model.get('type')}{' with marks of word parts' if any(marks) else ''}"
            raise ArgumentError(
                f"`{self.name}` must be a byte-level BPE, or BPE or Unigram with spaces as "
                f"'{_SPACE}', whose tokens tell every byte of a text, got {shown}; give a "
                "language model of such a tokenizer"
            )

    @cached_property
    def _is_byte_level(self) -> bool:
        parts = [self._content.get(each) for each in ("pre_tokenizer", "decoder")]
        return '"type": "ByteLevel"' in json.dumps(parts)

    def _bytes(self, token: str) -> bytes:
        if not self._is_byte_level:
            return token.replace(_SPACE, " ").encode()
        if all(each in _BYTES for each in token):
            return bytes(_BYTES[each] for each in token)
        return token.encode()

    def _encoding(self, text: str) -> Any:
        return self._backend.encode(text, add_special_tokens=False) if text else None

    def _pieces(self, ids: Sequence[int]) -> list[bytes]:
        return [self.table[each] or b"" for each in ids]

    def _without_space(self, pieces: list[bytes]) -> list[bytes]:
        """Leave out the space that is added before a text."""
        if self._adds_space and pieces and pieces[0].startswith(b" "):
            return [pieces[0][1:], *pieces[1:]]
        return pieces


def bytes_of_characters() -> dict[str, int]:
    """Return the byte for which each character of a byte-level token stands.

    Printable characters of Latin-1 stand for themselves, and others begin at 256, in their order.
    """
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [each for each in range(256) if each not in printable]
    shifted = {chr(256 + number): each for number, each in enumerate(others)}
    return {chr(each): each for each in printable} | shifted


_BYTES = bytes_of_characters()


def _lengths(whole: bytes, pieces: list[bytes]) -> list[int] | None:
    """Return how many bytes of a text each of its tokens covers; None if they are others."""
    if b"".join(pieces) == whole:
        return list(map(len, pieces))
    at, lengths = 0, []
    for piece in pieces:
        length = _length(whole, at, piece)
        if length is None:
            return None
        lengths.append(length)
        at += length
    return lengths if at == len(whole) else None


def _length(whole: bytes, at: int, piece: bytes) -> int | None:
    """Return how many bytes of a text are those of a piece, in which a space may stand for "▁"."""
    if whole.startswith(piece, at):
        return len(piece)
    end = at
    for byte in piece:
        space = byte == ord(" ") and whole.startswith(_LITERAL, end)
        if not space and whole[end : end + 1] != bytes([byte]):
            return None
        end += len(_LITERAL) if space else 1
    return end - at


def _is_equal(text: str, other: str) -> bool:
    """Tell whether two texts differ by Unicode's normal forms only, as NFC does."""
    one, another = (unicodedata.normalize("NFKC", each) for each in (text, other))
    return one == another


def _by_offsets(text: str, offsets: Sequence[tuple[int, int]], pieces: list[bytes]) -> list[int]:
    """Return how many bytes of a text its tokens cover, where these are of another normal form.

    A token that ends within a character, or where the two forms do not correspond, covers none: the
    next one that does not covers all.
    """
    lengths, at, pending = [0] * len(pieces), 0, b""
    starts = [first for first, _ in offsets[1:]] + [len(text)]
    for number, ((_, last), following, piece) in enumerate(
        zip(offsets, starts, pieces, strict=True)
    ):
        pending += piece
        for end in (last, following):
            with suppress(UnicodeDecodeError):
                if end >= at and _is_equal(text[at:end], pending.decode()):
                    lengths[number], at, pending = len(text[at:end].encode()), end, b""
                    break
    lengths[-1] += len(text[at:].encode())
    return lengths


def _different(text: str, other: str) -> str:
    """Return where two texts begin to differ, for an error."""
    pairs = enumerate(zip(text, other, strict=False))
    at = max(next((place for place, (a, b) in pairs if a != b), min(len(text), len(other))) - 8, 0)
    return f"{other[at : at + _SHOWN]!r} for {text[at : at + _SHOWN]!r}"
