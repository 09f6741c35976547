"""The tokens of two tokenizers for one text: spans of equal bytes, and strings that both have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from tutelage.aligned import Cells
from tutelage.errors import ArgumentError, DataError
from tutelage.teachers._token_bytes import TokenBytes

Spans = NDArray[np.int64]
"""`[spans, 4]`: the first of the student's tokens, the one behind its last, and the teacher's."""


def spans(student: Sequence[int], teacher: Sequence[int], alike: int = 0) -> Spans:
    """Return the shortest spans of tokens of two sides that cover the same bytes.

    A token that covers none, such as a space added before a text, belongs to the span of the next
    token, or behind the last byte to the last span.

    Args:
        student: How many bytes each of the student's tokens covers.
        teacher: The same of the teacher's, with the same sum.
        alike: With how many tokens that cover none both sides begin alike, as with an added space:
            these are spans of their own.

    >>> spans([1, 2, 3], [3, 1, 2]).tolist()
    [[0, 2, 0, 1], [2, 3, 1, 3]]
    """
    ends, their_ends = (np.cumsum(each, dtype=np.int64) for each in (student, teacher))
    if ends[-1:].sum() != their_ends[-1:].sum():
        raise ValueError(f"spans of {sum(student)} and {sum(teacher)} bytes")
    # Of several tokens with one end, the first is found: the others cover no byte.
    common, *found = np.intersect1d(ends, their_ends, return_indices=True)
    lasts = np.stack(found, axis=1)[common > 0] + 1
    lasts[-1:] = len(student), len(teacher)
    lasts = np.concatenate([np.arange(1, alike + 1)[:, None].repeat(2, axis=1), lasts])
    firsts = np.concatenate([np.zeros((1, 2), dtype=np.int64), lasts])[: len(lasts)]
    return np.stack([firsts[:, 0], lasts[:, 0], firsts[:, 1], lasts[:, 1]], axis=1)


class Vocabularies:
    """The tokenizers of a student and a teacher.

    Args:
        student: The student's.
        teacher: The teacher's.
        special: From the student's special tokens to the teacher's; None for none.
    """

    def __init__(
        self, student: TokenBytes, teacher: TokenBytes, special: Mapping[str, str | None]
    ) -> None:
        self.student, self.teacher = student, teacher
        self.special = self._counterparts(special)
        self.cells = self._cells()
        self._cell_of = [each.numpy() for each in (self.cells.student, self.cells.teacher)]
        self._special = np.isin(
            np.arange(len(student.table)), [*({*student.special} - {student.unknown})]
        )

    def same(self, student: NDArray[np.int64], teacher: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tell which tokens of the student and of the teacher are one string, pair by pair."""
        cells, others = self._cell_of[0][student], self._cell_of[1][teacher]
        return (cells == others) & (cells != self.cells.number)

    def aligned(self, ids: Sequence[int], strict: bool = True) -> tuple[list[int], Spans]:
        """Return the teacher's tokens for a text given as the student's, and the spans of both.

        The teacher's tokens begin as its tokenizer begins a text; if it adds nothing, they begin
        with the counterpart of a special token with which the student's begin.

        Args:
            ids: Of the text.
            strict: Whether to refuse what the teacher cannot read, as below. Else it is left out of
                its text: of texts that a student writes, which may have any token.

        Raises:
            DataError: A special token of the student has no counterpart; the teacher's tokenizer
                changes the text.
        """
        found, aligned = list(self.teacher.prefix), [np.zeros((0, 4), dtype=np.int64)]
        for first, last in self._parts(ids):
            at = len(found)
            if self._marks(ids[first : first + 1])[0]:
                other = self._counterpart(ids[first], strict)
                if other is not None and not (first == 0 and at):
                    found.append(other)
                    aligned.append(np.array([[first, last, at, at + 1]]))
                continue
            text, lengths, broken = self.student.decoded(ids[first:last])
            try:
                encoded = self.teacher.encoded(text)
            except DataError:
                if strict:
                    raise
                continue
            found += encoded.ids
            added = self.student.is_added_space(ids[first], lengths[0])
            added &= bool(encoded.ids) and self.teacher.is_added_space(
                encoded.ids[0], encoded.lengths[0]
            )
            own = spans(lengths, encoded.lengths, int(added))
            if broken:
                before = np.isin(np.arange(-1, len(lengths)), [*broken]).cumsum()
                own = own[before[own[:, 1]] == before[own[:, 0]]]
            aligned.append(own + np.array([first, first, at, at]))
        return found, np.concatenate(aligned)

    def _marks(self, ids: Sequence[int]) -> NDArray[np.bool_]:
        """Tell which tokens are special, or beyond the student's tokenizer."""
        numbers, beyond = np.asarray(ids, dtype=np.int64), len(self._special)
        return np.append(self._special, True)[np.minimum(numbers, beyond)]

    def _parts(self, ids: Sequence[int]) -> Iterator[tuple[int, int]]:
        """Yield the parts of a text: special tokens, and tokens between them."""
        first = 0
        for mark in self._marks(ids).nonzero()[0].tolist():
            if first < mark:
                yield first, mark
            yield mark, mark + 1
            first = mark + 1
        if first < len(ids):
            yield first, len(ids)

    def _counterparts(self, given: Mapping[str, str | None]) -> dict[int, int | None]:
        """Return the teacher's special token for each of the student's; None for none."""
        ours, theirs = (
            {name: number for number, name in side.special.items()}
            for side in (self.student, self.teacher)
        )
        found: dict[int, int | None] = {
            number: theirs[name] for name, number in ours.items() if name in theirs
        }
        if self.student.eos is not None and self.teacher.eos is not None:
            found.setdefault(self.student.eos, self.teacher.eos)
        if self.student.bos is not None:  # only one side may have one
            found.setdefault(self.student.bos, self.teacher.bos)
        for name, other in given.items():
            unknown = [
                each for each, side in ((name, ours), (other, theirs))
                if each is not None and each not in side
            ]  # fmt: skip
            if unknown:
                raise ArgumentError(
                    "`special_tokens` must map special tokens of the student's tokenizer to those "
                    f"of the teacher's, or None, got {unknown}; the student's are {sorted(ours)}, "
                    f"the teacher's {sorted(theirs)}"
                )
            found[ours[name]] = None if other is None else theirs[other]
        return found

    def _counterpart(self, number: int, strict: bool) -> int | None:
        if strict and number not in self.special:
            name = self.student.special[number]
            raise DataError(
                f"each special token in a text must have one of the teacher's tokenizer, got "
                f"{name!r}, which has none; name it, special_tokens={{{name!r}: '…'}}, or leave "
                f"it out of the teacher's text, special_tokens={{{name!r}: None}}"
            )
        return self.special.get(number)

    def _cells(self) -> Cells:
        """Group both vocabularies by the strings that both have.

        A token that the other side does not have counts for the longest shared string with which it
        begins: where one side writes "123" at once, the other begins with "1".
        """
        ours, theirs = _by_string(self.student), _by_string(self.teacher)
        pairs = [
            pair
            for string in ours
            if string in theirs
            for pair in zip(ours[string], theirs[string], strict=False)
        ]
        used: set[int] = set()  # of a token that begins and ends texts
        for number, other in self.special.items():
            if other is not None and other not in used:
                pairs.append((number, other))
                used.add(other)
        if not pairs:
            raise ArgumentError(
                "the two tokenizers must have strings in common, got none; give tokenizers of "
                "texts in one language"
            )
        shared: dict[bytes, int] = {}
        sides = [[len(pairs)] * len(each.table) for each in (self.student, self.teacher)]
        for cell, (number, other) in enumerate(pairs):
            sides[0][number] = sides[1][other] = cell
            string = self.student.table[number]
            if string is not None:
                shared.setdefault(string, cell)
        for cells, side in zip(sides, (self.student, self.teacher), strict=True):
            for number, string in enumerate(side.table):
                if string is not None and cells[number] == len(pairs):
                    ends = range(len(string), 0, -1)
                    known = (shared[string[:end]] for end in ends if string[:end] in shared)
                    cells[number] = next(known, len(pairs))
        student, teacher = (torch.tensor(each) for each in sides)
        return Cells(student, teacher, len(pairs))


def _by_string(side: TokenBytes) -> dict[bytes, list[int]]:
    """Return the tokens of each string; those of one byte for characters without one are last."""
    found: dict[bytes, list[int]] = {}
    for number, string in enumerate(side.table):
        if string:
            found.setdefault(string, []).append(number)
    return {
        string: sorted(several, key=side.is_byte) if len(several) > 1 else several
        for string, several in found.items()
    }
