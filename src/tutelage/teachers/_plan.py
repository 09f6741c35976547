"""Where a teacher with another tokenizer predicts a student's tokens."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tutelage.teachers._spans import Spans, Vocabularies

Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]


class Plan(NamedTuple):
    """The teacher's texts, and where in them it predicts the student's spans.

    The positions of the student's tokens are numbered through the batch, row by row. A token is
    predicted at the position before it.

    Args:
        texts: The teacher's tokens of each text.
        positions: Where the student predicts a token of a span, `[tokens of spans]`.
        tokens: That token.
        spans: Its span.
        starts: Where the student predicts the first token of each span, `[spans]`.
        ends: Where it predicts the last one.
        shared: Which of `places` predicts the first token of a span, where the first tokens of both
            sides count for one string; −1 elsewhere, `[spans]`.
        whole: Whether that is the whole span, one token on both sides.
        places: Text and position where the teacher predicts a token of a span, `[places, 2]`.
        their_tokens: That token.
        their_spans: Its span.
    """

    texts: list[list[int]]
    positions: Integers
    tokens: Integers
    spans: Integers
    starts: Integers
    ends: Integers
    shared: Integers
    whole: Mask
    places: Integers
    their_tokens: Integers
    their_spans: Integers

    @classmethod
    def of(
        cls,
        known: Vocabularies,
        ids: Integers,
        within: Mask,
        learned: Mask,
        longest: int | None,
        strict: bool = True,
    ) -> Plan:
        """Align all texts of a batch.

        Args:
            known: Both vocabularies.
            ids: The student's tokens, `[batch, tokens]`.
            within: Which of them are followed by a token of the same text.
            learned: Which of them are followed by a token that is learned.
            longest: Number of tokens after which the teacher's texts are cut.
            strict: As in `Vocabularies.aligned`.
        """
        none = _part(known, [], [], np.zeros((0, 4), dtype=np.int64))
        parts, spans, places = [none._replace(texts=[])], 0, 0
        for number, row in enumerate(ids):
            for first, last in _texts(within[number]):
                own = row[first:last].tolist()
                theirs, found = known.aligned(own, strict)
                theirs = theirs[:longest]
                chosen = found[_predicted(found, learned[number, first:last], len(theirs))]
                part, start = _part(known, own, theirs, chosen), number * ids.shape[1] + first
                part.places[:, 0] = len(parts) - 1
                parts.append(
                    part._replace(
                        positions=part.positions + start,
                        spans=part.spans + spans,
                        starts=part.starts + start,
                        ends=part.ends + start,
                        shared=np.where(part.shared < 0, -1, part.shared + places),
                        their_spans=part.their_spans + spans,
                    )
                )
                spans, places = spans + len(part.ends), places + len(part.places)
        texts, *columns = zip(*parts, strict=True)
        return cls([*chain.from_iterable(texts)], *map(np.concatenate, columns))


def _predicted(spans: Spans, learned: Mask, length: int) -> Mask:
    """Return which spans are predicted by both sides, and learned as a whole."""
    first, last, teacher_first, teacher_last = spans.T
    # How many positions before each one are not learned; a token is predicted before its own.
    missing = np.concatenate([[0], np.cumsum(~learned)])
    whole = missing[last - 1] == missing[np.maximum(first, 1) - 1]
    return whole & (first > 0) & (teacher_first > 0) & (teacher_last <= length)


def _part(known: Vocabularies, own: list[int], theirs: list[int], spans: Spans) -> Plan:
    """Return the plan of one text, in which everything is counted from the text's own start."""
    first, last, teacher_first, teacher_last = spans.T
    ours, others = (np.array(each, dtype=np.int64) for each in (own, theirs))
    tokens, number = _ranges(first, last)
    their_tokens, their_number = _ranges(teacher_first, teacher_last)
    same = known.same(ours[first], others[teacher_first])
    single = (last - first == 1) & (teacher_last - teacher_first == 1)
    places = np.cumsum(teacher_last - teacher_first) - (teacher_last - teacher_first)
    return Plan(
        [theirs],
        tokens - 1,
        ours[tokens],
        number,
        first - 1,
        last - 2,
        np.where(same, places, -1),
        same & single,
        np.stack([np.zeros_like(their_tokens), their_tokens - 1], axis=1),
        others[their_tokens],
        their_number,
    )


def _ranges(first: Integers, last: Integers) -> tuple[Integers, Integers]:
    """Return the integers of all ranges, one range after another, and the range of each."""
    lengths = last - first
    number = np.repeat(np.arange(len(first)), lengths)
    before = np.cumsum(lengths) - lengths
    return np.arange(len(number)) + (first - before)[number], number


def _texts(within: Mask) -> Iterator[tuple[int, int]]:
    """Yield where texts of two tokens and more begin and end, from which are followed by one."""
    edges = np.flatnonzero(np.diff(within, prepend=False, append=False))
    for first, last in edges.reshape(-1, 2).tolist():
        yield first, last + 1
