"""The tokens of two tokenizers for one text: spans of equal bytes, and strings that both have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, takewhile
from typing import NamedTuple

import torch

from tutelage.aligned import Cells
from tutelage.errors import ArgumentError, DataError
from tutelage.teachers._token_bytes import TokenBytes


class Span(NamedTuple):
    """The student's tokens from `first` to `last`, exclusive, and the teacher's, of equal bytes."""

    first: int
    last: int
    teacher_first: int
    teacher_last: int


def spans(student: Sequence[int], teacher: Sequence[int]) -> list[Span]:
    """Return the shortest spans of tokens of two sides that cover the same bytes.

    A token that covers none, such as a space added before a text, belongs to the span of the next
    token, or behind the last byte to the last span. Where both sides begin with such tokens, these
    are spans of their own.

    Args:
        student: How many bytes each of the student's tokens covers.
        teacher: The same of the teacher's, with the same sum.

    >>> spans([1, 2, 3], [3, 1, 2])
    [Span(first=0, last=2, teacher_first=0, teacher_last=1), \
Span(first=2, last=3, teacher_first=1, teacher_last=3)]
    """
    if sum(student) != sum(teacher):
        raise ValueError(f"spans of {sum(student)} and {sum(teacher)} bytes")
    sides = [_ends(each) for each in (student, teacher)]
    common = sorted(sides[0].keys() & sides[1].keys())
    pairs = takewhile(lambda pair: not any(pair), zip(student, teacher, strict=False))
    found = [Span(place, place + 1, place, place + 1) for place, _ in enumerate(pairs)]
    first = teacher_first = len(found)
    for end in common:
        last, teacher_last = (side[end] for side in sides)
        if end == common[-1]:
            last, teacher_last = len(student), len(teacher)
        found.append(Span(first, last, teacher_first, teacher_last))
        first, teacher_first = last, teacher_last
    return found


def _ends(lengths: Sequence[int]) -> dict[int, int]:
    """Return how many tokens cover so many bytes: the fewest, and at least one byte."""
    found: dict[int, int] = {}
    for number, end in enumerate(accumulate(lengths), start=1):
        if end:
            found.setdefault(end, number)
    return found


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
        self.special = self._special(special)
        self.cells = self._cells()
        self._cell_of = [each.tolist() for each in (self.cells.student, self.cells.teacher)]

    def same(self, student: int, teacher: int) -> bool:
        """Tell whether a token of the student and one of the teacher are one string."""
        cell = self._cell_of[0][student]
        return cell == self._cell_of[1][teacher] != self.cells.number

    def aligned(self, ids: Sequence[int]) -> tuple[list[int], list[Span]]:
        """Return the teacher's tokens for a text given as the student's, and the spans of both.

        The teacher's tokens begin as its tokenizer begins a text; if it adds nothing, they begin
        with the counterpart of a special token with which the student's begin.

        Raises:
            DataError: A special token of the student has no counterpart; the teacher's tokenizer
                changes the text.
        """
        found, aligned = list(self.teacher.prefix), list[Span]()
        for first, last in self._parts(ids):
            at = len(found)
            if ids[first] in self.student.special:
                other = self._counterpart(ids[first])
                if other is not None and not (first == 0 and at):
                    found.append(other)
                    aligned.append(Span(first, last, at, at + 1))
                continue
            text, lengths, broken = self.student.decoded(ids[first:last])
            encoded = self.teacher.encoded(text)
            found += encoded.ids
            for each in spans(lengths, encoded.lengths):
                if broken.isdisjoint(range(each.first, each.last)):
                    aligned.append(
                        Span(each.first + first, each.last + first,
                             each.teacher_first + at, each.teacher_last + at)
                    )  # fmt: skip
        return found, aligned

    def _parts(self, ids: Sequence[int]) -> Iterator[tuple[int, int]]:
        """Yield the parts of a text: special tokens, and tokens between them."""
        first = 0
        for place, each in enumerate(ids):
            if each in self.student.special and each != self.student.unknown:
                if first < place:
                    yield first, place
                yield place, place + 1
                first = place + 1
        if first < len(ids):
            yield first, len(ids)

    def _special(self, given: Mapping[str, str | None]) -> dict[int, int | None]:
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

    def _counterpart(self, number: int) -> int | None:
        if number not in self.special:
            name = self.student.special[number]
            raise DataError(
                f"each special token in a text must have one of the teacher's tokenizer, got "
                f"{name!r}, which has none; name it, special_tokens={{{name!r}: '…'}}, or leave "
                f"it out of the teacher's text, special_tokens={{{name!r}: None}}"
            )
        return self.special[number]

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
