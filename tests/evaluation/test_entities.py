import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tutelage.errors import DataError, NonFiniteError
from tutelage.evaluation import EntityF1, entities, entity_f1, tag_sentences
from tutelage.rows import Rows

TAGS = ["O", *(f"{prefix}-{kind}" for prefix in "BIES" for kind in ("PER", "A-B"))]
IOB = [tag for tag in TAGS if tag[0] in "OBI"]


def sentences(tags):
    sentence = st.lists(st.sampled_from(tags), max_size=7)
    changed = st.lists(st.sampled_from([None, *tags]), min_size=7, max_size=7)
    both = st.tuples(sentence, changed).map(
        lambda pair: (pair[0], [b or a for a, b in zip(*pair, strict=False)])
    )
    return st.lists(both, min_size=1, max_size=4)


def spans(tags, strict):
    """Entities by trying all spans: no token may begin another one, and it cannot be longer."""

    def parts(place):
        prefix, _, kind = tags[place].partition("-")
        return ("O", None) if prefix == "O" else (prefix, kind)

    def begins(place):
        prefix, kind = parts(place)
        if strict or prefix in ("O", "B", "S"):
            return prefix in ("B", "S")
        before = parts(place - 1) if place else ("O", None)
        return before[0] in ("O", "E", "S") or before[1] != kind

    def one(start, end):
        kinds = {parts(place)[1] for place in range(start, end)}
        inner = any(begins(place) for place in range(start + 1, end))
        return begins(start) and kinds == {parts(start)[1]} and not inner

    return {
        (parts(start)[1], start, end)
        for start in range(len(tags))
        for end in range(start + 1, len(tags) + 1)
        if one(start, end) and not (end < len(tags) and one(start, end + 1))
    }


def reference(predicted, true, strict):
    """F1 of all entities as (sentence, type, start, end)."""
    ours, right = (
        {(k, *span) for k, tags in enumerate(side) for span in spans(tags, strict)}
        for side in (predicted, true)
    )
    if not ours & right:
        return 0.0
    precision, recall = len(ours & right) / len(ours), len(ours & right) / len(right)
    return 2 * precision * recall / (precision + recall)


# Checked with seqeval 1.2.2: `f1_score(true, predicted)`, and with mode="strict", scheme=IOB2.
KNOWN = [
    ([["O", "B-PER", "I-PER"]], [["O", "B-PER", "I-PER"]], 1.0, 1.0),
    (
        [["O", "O", "B-MISC", "I-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]],
        [["O", "O", "O", "B-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]],
        0.5,
        0.5,
    ),
    ([["I-PER", "I-PER", "O"]], [["B-PER", "I-PER", "O"]], 1.0, 0.0),
    ([["B-PER", "I-LOC", "I-PER"]], [["B-PER", "O", "O"]], 0.5, 1.0),
    ([["B-PER"], ["I-PER"]], [["B-PER"], ["B-PER"]], 1.0, 2 / 3),
    ([["O", "O"]], [["O", "O"]], 0.0, 0.0),
    ([["O", "O"]], [["O", "B-PER"]], 0.0, 0.0),
]


@pytest.mark.parametrize(("predicted", "true", "loose", "strict"), KNOWN)
def test_known_values_of_seqeval(predicted, true, loose, strict):
    assert entity_f1(predicted, true) == pytest.approx(loose)
    assert entity_f1(predicted, true, strict=True) == pytest.approx(strict)


def test_by_hand():
    # Predicted: PER 0–2, LOC 3–4, LOC 5–6. True: PER 0–2, LOC 3–5. One of three and of two.
    predicted = [["B-PER", "I-PER", "O", "B-LOC", "O", "B-LOC"]]
    true = [["B-PER", "I-PER", "O", "B-LOC", "I-LOC", "O"]]
    assert entity_f1(predicted, true) == 2 / 5


@given(sentences(TAGS))
def test_equals_a_plain_reference(both):
    predicted, true = ([pair[side] for pair in both] for side in (0, 1))
    assert entity_f1(predicted, true) == pytest.approx(reference(predicted, true, strict=False))
    assert [set(entities(each)) for each in true] == [spans(each, strict=False) for each in true]


@given(sentences(IOB))
def test_strictly_equals_a_plain_reference(both):
    predicted, true = ([pair[side] for pair in both] for side in (0, 1))
    expected = reference(predicted, true, strict=True)
    assert entity_f1(predicted, true, strict=True) == pytest.approx(expected)
    found = [set(entities(each, strict=True)) for each in true]
    assert found == [spans(each, strict=True) for each in true]


@given(sentences(IOB))
def test_is_symmetric_and_1_for_equal_sides_with_an_entity(both):
    predicted, true = ([pair[side] for pair in both] for side in (0, 1))
    assert entity_f1(predicted, true) == entity_f1(true, predicted)
    assert entity_f1(true, true) == float(any(entities(each) for each in true))


def test_entities_end_with_their_sentence():
    assert entity_f1([["B-PER"], ["I-PER"]], [["B-PER"], ["I-PER"]]) == 1.0
    assert entities(["B-PER", "I-PER", "I-PER"]) == [("PER", 0, 3)]
    assert entities([]) == []


def test_the_schemes_other_prefixes():
    tags = ["S-PER", "B-PER", "I-PER", "E-PER", "I-PER", "E-PER", "S-LOC"]
    assert entities(tags) == [("PER", 0, 1), ("PER", 1, 4), ("PER", 4, 6), ("LOC", 6, 7)]


class TestTagSentences:
    NAMES = ("O", "B-PER", "I-PER")

    def test_gives_each_sentence_its_tokens_without_those_that_have_no_label(self):
        predicted = torch.tensor([1, 0, 2, 0, 1, 2])
        labels = torch.tensor([1, -100, 2, -100, 0, 1])
        ours, true = tag_sentences(predicted, labels, [4, 0, 2], self.NAMES)
        assert ours == [["B-PER", "I-PER"], [], ["B-PER", "I-PER"]]
        assert true == [["B-PER", "I-PER"], [], ["O", "B-PER"]]
        assert entity_f1(ours, true) == 0.5

    def test_predictions_without_a_label_need_no_name(self):
        found = tag_sentences(torch.tensor([9, 0]), torch.tensor([-100, 0]), [2], self.NAMES)
        assert found == ([["O"]], [["O"]])

    @pytest.mark.parametrize(
        ("predicted", "labels", "lengths", "match"),
        [
            ([0, 1], [0], [2], r"must be class ids \[rows\], one of each for a token"),
            ([[0, 1]], [[0, 1]], [2], r"must be class ids \[rows\]"),
            ([0.0, 1.0], [0, 1], [2], r"must be class ids \[rows\].*argmax"),
            ([0, 1], [0, 1], [1], "must add up to the number of rows, 2, got 1 from 1 sentences"),
            ([0, 3], [0, 1], [2], "must lie from 0 to 2, .* got 0 to 3"),
            ([0, 1], [0, -1], [2], "must lie from 0 to 2, .* got -1 to 1"),
        ],
    )
    def test_bad_input(self, predicted, labels, lengths, match):
        with pytest.raises(DataError, match=match):
            tag_sentences(torch.tensor(predicted), torch.tensor(labels), lengths, self.NAMES)


class TestBadInput:
    @pytest.mark.parametrize("tag", ["L-PER", "U-PER", "PER", "B", "B-", ""])
    def test_tags_of_other_schemes_are_refused(self, tag):
        """seqeval reads them otherwise than they are meant: U-PER U-PER would be one entity."""
        with pytest.raises(DataError, match="must be 'O' or a prefix"):
            entity_f1([[tag, tag]], [["O", "O"]])

    @pytest.mark.parametrize("tag", ["E-PER", "S-PER"])
    def test_prefixes_beyond_iob2_are_refused_strictly(self, tag):
        assert entity_f1([[tag]], [[tag]]) == 1.0
        with pytest.raises(DataError, match=r"a prefix \(B, I\) and a type"):
            entity_f1([[tag]], [[tag]], strict=True)

    @pytest.mark.parametrize(
        ("predicted", "true", "match"),
        [
            ([["O"]], [["O"], ["O"]], r"sentences of \[1\] and \[1, 1\] tokens"),
            ([["O"], ["O"]], [["O"], ["O", "O"]], r"sentences of \[1, 1\] and \[1, 2\]"),
        ],
    )
    def test_other_sentences_are_refused(self, predicted, true, match):
        with pytest.raises(DataError, match=match):
            entity_f1(predicted, true)

    @pytest.mark.parametrize("tags", [["B-PER", "O"]])
    def test_one_sentence_alone_is_refused(self, tags):
        with pytest.raises(DataError, match="must be a list of sentences"):
            entity_f1(tags, tags)


class TestLogits:
    METRIC = EntityF1(["O", "B-PER"])
    ROWS = Rows.counted(torch.tensor([1, 2]))

    def test_nan_has_no_class(self):
        output, labels = torch.eye(2)[[0, 1, 1]], torch.tensor([0, 1, 1])
        assert self.METRIC.of_rows(output, labels, self.ROWS) == 1.0
        output[1, 0] = torch.nan
        assert math.isnan(self.METRIC.of_rows(output, labels, self.ROWS))
        for each in (self.METRIC.counts, self.METRIC.by_class):
            with pytest.raises(NonFiniteError, match="must be numbers, got NaN"):
                each(output, labels, self.ROWS)
        labels[1] = -100
        assert self.METRIC.of_rows(output, labels, self.ROWS) == 1.0
