"""Metrics of named entities: F1 over entities in tagged sentences, which seqeval finds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from tutelage._checks import installed
from tutelage.errors import ArgumentError, DataError
from tutelage.labels import UNLABELLED
from tutelage.nested import describe
from tutelage.rows import Rows
from tutelage.tasks.metrics import MetricOfCounts, check_class_ids, check_numbers

Tags = Sequence[Sequence[str]]
"""The tags of each sentence: `"O"`, or a prefix and a type, such as `"B-PER"`."""


class Entity(NamedTuple):
    """An entity in a sentence: tokens `start` to `end`, without `end`."""

    kind: str
    start: int
    end: int


def entity_f1(predicted: Tags, true: Tags, *, strict: bool = False) -> float:
    """2·TP/(P + T): F1 over the entities of all sentences (micro average), in [0, 1].

    TP counts the predicted entities whose type, start and end are those of a true one, P the
    predicted and T the true entities. Without any entity on either side it is 0, as in seqeval.

    Tjong Kim Sang and Buchholz 2000, "Introduction to the CoNLL-2000 Shared Task: Chunking",
    https://aclanthology.org/W00-0726 (conlleval); the entities are those of seqeval.

    Args:
        predicted: Tags of each sentence.
        true: Those that are right, for the same tokens.
        strict: Which tags make an entity; see `entities`.

    Raises:
        DataError: The numbers of sentences or tokens differ.
        ArgumentError: seqeval is not installed.

    >>> entity_f1([["B-PER", "I-PER", "O"]], [["B-PER", "I-PER", "B-LOC"]])  # one of one, of two
    0.6666666666666666
    """
    if any(isinstance(each, str) for each in (*predicted, *true)):
        raise DataError("tags must be a list of sentences, each a list of tags: [['B-PER', 'O']]")
    ours, right = [len(each) for each in predicted], [len(each) for each in true]
    if ours != right:
        raise DataError(
            "predicted and true tags must be of the same sentences and tokens, got sentences of "
            f"{ours[:9]} and {right[:9]} tokens; give one tag on each side for every token"
        )
    found, expected = (
        {(place, each) for place, tags in enumerate(side) for each in entities(tags, strict=strict)}
        for side in (predicted, true)
    )
    total = len(found) + len(expected)
    return 2 * len(found & expected) / total if total else 0.0


class EntityF1(MetricOfCounts):
    """`entity_f1` as a metric of a tagger: `metrics={"entity F1": tl.evaluation.EntityF1(names)}`.

    Tokens without a label (−100), such as the later parts of a word, are left out. A study then
    compares the F1 of each type of entity too, and shows both in per cent.

    Args:
        names: The tag of each class id.
        strict: Which tags make an entity; see `entities`.
    """

    is_fraction = True

    def __init__(self, names: Sequence[str], *, strict: bool = False) -> None:
        self.names, self.strict = tuple(names), strict

    def counts(self, output: Tensor, labels: Tensor, rows: Rows | None) -> Tensor:
        """Return how many entities each sentence has, `[sentences, types, 3]`.

        Those predicted, the true ones, and those on both sides; a row is a sentence without `rows`.

        Raises:
            NonFiniteError: A logit of a labelled row is NaN.
        """
        rows = Rows.single(len(output)) if rows is None else rows
        check_numbers(output, labels)
        sides = tag_sentences(output.argmax(dim=1), labels, rows.counts.tolist(), self.names)
        place = {kind: number for number, kind in enumerate(self._kinds)}
        counts = torch.zeros(len(rows.counts), len(place), 3, dtype=torch.int64)
        for own, *sentence in zip(counts, *sides, strict=True):
            found, expected = (set(entities(each, strict=self.strict)) for each in sentence)
            for column, side in enumerate((found, expected, found & expected)):
                for each in side:
                    own[place[each.kind], column] += 1
        return counts

    def of_counts(self, counts: Tensor) -> Tensor:
        """Return F1 over the entities of all types; 0 without any."""
        return _f1_of(counts.sum(dim=-2)).nan_to_num()

    def by_class_of_counts(self, counts: Tensor) -> dict[str, Tensor]:
        """Return each type's F1; NaN without any of its entities."""
        return dict(zip(self._kinds, _f1_of(counts).unbind(dim=-1), strict=True))

    @property
    def _kinds(self) -> list[str]:
        """The types of entities, ascending."""
        return sorted({each.partition("-")[2] for each in self.names} - {""})


def entities(tags: Sequence[str], *, strict: bool = False) -> list[Entity]:
    """Return the entities of one sentence, in order.

    An entity is a run of tags of one type, as seqeval finds it. By default, as in conlleval, a new
    one begins at `B-` or `S-`, after `E-` or `S-`, and wherever the type changes; so `I-` may begin
    an entity. With `strict`, tags are IOB2: an entity is `B-` and the `I-` of its type that follow,
    and an `I-` elsewhere belongs to none.

    Args:
        tags: `"O"`, or a prefix and a type: `B-`, `I-`, and if not `strict` also `E-`, `S-`.
        strict: As above.

    Raises:
        ArgumentError: seqeval is not installed.
        DataError: A tag is of another scheme.

    >>> entities(["I-PER", "I-PER", "B-PER", "I-LOC", "O"])
    [Entity(kind='PER', start=0, end=2), Entity(kind='PER', start=2, end=3), \
Entity(kind='LOC', start=3, end=4)]
    >>> entities(["I-PER", "I-PER", "B-PER", "I-LOC", "O"], strict=True)
    [Entity(kind='PER', start=2, end=3)]
    """
    prefixes = "BI" if strict else "BIES"
    wrong = next((each for each in tags if not re.fullmatch(rf"O|[{prefixes}]-.+", each)), None)
    if wrong is not None:
        raise DataError(
            f"a tag must be 'O' or a prefix ({', '.join(prefixes)}) and a type, such as 'B-PER', "
            f"got {wrong!r}; rename tags of another scheme (in BILOU, L is E and U is S)"
        )
    installed("a metric of entities", "seqeval", "metrics", ArgumentError)
    from seqeval.metrics.sequence_labeling import get_entities  # noqa: PLC0415 - slow to import
    from seqeval.scheme import IOB2, Entities  # noqa: PLC0415

    if strict:
        found = [each.to_tuple()[1:] for each in Entities([list(tags)], IOB2).entities[0]]
        return [Entity(*each) for each in found]
    return [Entity(kind, first, last + 1) for kind, first, last in get_entities(list(tags))]


def tag_sentences(
    predicted: Tensor, labels: Tensor, lengths: Sequence[int], names: Sequence[str]
) -> tuple[list[list[str]], list[list[str]]]:
    """Return the tags of each sentence by class ids of tokens: those predicted, and the true ones.

    Args:
        predicted: Class ids `[rows]`, a row for each token.
        labels: Class ids `[rows]`. Tokens with −100, such as padding and the later parts of a word,
            are left out on both sides.
        lengths: How many rows each sentence has, in order.
        names: The tag of each class id.

    Raises:
        DataError: The shapes do not match, the lengths do not add up to the rows, or a class id has
            no name.

    >>> import torch
    >>> ids, labels = torch.tensor([1, 2, 0]), torch.tensor([1, -100, 0])
    >>> tag_sentences(ids, labels, lengths=[2, 1], names=["O", "B-PER", "I-PER"])
    ([['B-PER'], ['O']], [['B-PER'], ['O']])
    """
    if labels.ndim != 1 or predicted.shape != labels.shape or predicted.is_floating_point():
        raise DataError(
            "predicted classes and labels must be class ids [rows], one of each for a token, got "
            f"{describe(predicted)} and {describe(labels)}; give output.argmax(1), and flatten "
            "[sentences, tokens]"
        )
    if sum(lengths) != len(labels):
        raise DataError(
            f"`lengths` must add up to the number of rows, {len(labels)}, got {sum(lengths)} from "
            f"{len(lengths)} sentences; give the number of rows of each, padding included"
        )
    known = labels.long() != UNLABELLED
    ids = torch.stack([predicted.long(), labels.long()])
    check_class_ids(ids[:, known], len(names))
    sides = [
        [
            [names[int(number)] for number in own[valid].tolist()]
            for own, valid in zip(
                side.split(list(lengths)), known.split(list(lengths)), strict=True
            )
        ]
        for side in ids
    ]
    return sides[0], sides[1]


def _f1_of(counts: Tensor) -> Tensor:
    """Return 2·TP/(P + T) of P, T and TP, `[…, 3]`; NaN where P and T are 0."""
    predicted, true, both = counts.double().unbind(dim=-1)
    return 2 * both / (predicted + true)
