"""Spans of equal bytes, and the strings that two vocabularies share."""

from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import normalizers

from tokenizing import byte_level, sentencepiece
from tutelage.errors import ArgumentError, DataError
from tutelage.teachers import _spans
from tutelage.teachers._spans import Vocabularies
from tutelage.teachers._token_bytes import TokenBytes


class Span(NamedTuple):
    first: int
    last: int
    teacher_first: int
    teacher_last: int


def spans(student, teacher, alike=0):
    return [Span(*each) for each in _spans.spans(student, teacher, alike).tolist()]


CUTS = st.lists(st.integers(0, 12), max_size=10).map(sorted)


def lengths(cuts, total=12):
    ends = [0, *cuts, total]
    return [last - first for first, last in pairwise(ends)]


@given(student=CUTS, teacher=CUTS)
@example(student=[0, 0, 5, 5, 12], teacher=[0, 5, 12, 12])
def test_spans_part_both_sides_at_every_common_boundary(student, teacher):
    ours, theirs = lengths(student), lengths(teacher)
    found = spans(ours, theirs)
    assert [each.first for each in found] == [0, *(each.last for each in found[:-1])]
    assert found[-1].last == len(ours)
    assert [each.teacher_first for each in found] == [0, *(x.teacher_last for x in found[:-1])]
    assert found[-1].teacher_last == len(theirs)
    parts = [(ours[each.first : each.last], theirs[each.teacher_first : each.teacher_last])
             for each in found]  # fmt: skip
    assert all(sum(one) == sum(other) for one, other in parts)
    common = {*accumulate(ours)} & {*accumulate(theirs)} - {0}
    ends = list(accumulate(sum(one) for one, _ in parts))
    assert ends == sorted(common)  # as many as possible: none can be shorter
    alike = spans([0, *ours], [0, *theirs], alike=1)
    assert alike == [(0, 1, 0, 1), *(tuple(place + 1 for place in each) for each in found)]


def test_no_text_has_no_spans():
    assert spans([], []) == spans([0], []) == spans([0, 0], [0]) == []
    assert spans([0], [0], alike=1) == [Span(0, 1, 0, 1)]
    with pytest.raises(ValueError, match="3 and 4 bytes"):
        spans([3], [4])


def aligned(student, teacher, ids, **special):
    known = Vocabularies(
        TokenBytes("student_tokenizer", student), TokenBytes("tokenizer", teacher), special
    )
    theirs, found = known.aligned(ids)
    found = [Span(*each) for each in found.tolist()]
    pairs = [
        (ids[each.first : each.last], theirs[each.teacher_first : each.teacher_last])
        for each in found
    ]
    return known, theirs, [
        ("|".join(map(one, mine)), "|".join(map(other, others)))
        for one, other in [(student.convert_ids_to_tokens, teacher.convert_ids_to_tokens)]
        for mine, others in pairs
    ]  # fmt: skip


def test_numbers_of_one_token_meet_those_written_digit_by_digit():
    student, teacher = byte_level(360), byte_level(digits=True)
    ids = student("the years 1234")["input_ids"]
    _, _, found = aligned(student, teacher, ids)
    assert found[-1] == ("Ġ1234", "Ġ|1|2|3|4")


def test_emoji_and_spaces_meet():
    student, teacher = byte_level(360), sentencepiece()
    ids = student("  the 😀 end")["input_ids"]
    _, _, found = aligned(student, teacher, ids)
    assert ("ĠðŁĺĢ", "▁|<0xF0>|<0x9F>|<0x98>|<0x80>") in found
    assert sum(len(one.replace("|", "")) for one, _ in found) == len("  the ") + 4 + len(" end")


@pytest.mark.parametrize("bos", [True, False])
def test_a_beginning_on_one_side_covers_nothing(bos):
    """Which is no reason for one span over the whole text."""
    student, teacher = byte_level(), sentencepiece(bos=bos)
    ids = student("the end of the theatre")["input_ids"]
    _, theirs, found = aligned(student, teacher, ids)
    assert (theirs[0] == teacher.bos_token_id) == bos
    assert len(found) > 3
    assert Vocabularies(*(TokenBytes("x", each) for each in (teacher, student)), {}).aligned(
        teacher("the end of")["input_ids"]
    )[1][0, 0] == int(bos)  # fmt: skip


def test_the_ends_of_texts_meet():
    student, teacher = byte_level(), sentencepiece()
    ids = [*student("a text")["input_ids"], student.eos_token_id]
    known, theirs, found = aligned(student, teacher, ids)
    assert theirs[-1] == teacher.eos_token_id
    assert found[-1] == ("<|end|>", "</s>")
    assert known.same(np.array([student.eos_token_id]), np.array([teacher.eos_token_id])).all()


def test_other_special_tokens_must_have_a_counterpart():
    special = {"eos_token": "<|end|>", "pad_token": "<|turn|>"}
    student, teacher = byte_level(**special), sentencepiece()
    turn = student.convert_tokens_to_ids("<|turn|>")
    ids = [*student("a text")["input_ids"], turn, *student("and another")["input_ids"]]
    with pytest.raises(DataError, match=r"'<\|turn\|>', which has none; name it"):
        aligned(student, teacher, ids)
    _, theirs, _ = aligned(student, teacher, ids, **{"<|turn|>": "</s>"})
    assert theirs.count(teacher.eos_token_id) == 1
    _, theirs, found = aligned(student, teacher, ids, **{"<|turn|>": None})
    assert teacher.eos_token_id not in theirs
    assert "<|turn|>" not in dict(found)
    with pytest.raises(ArgumentError, match=r"got \['<\|none\|>', '<other>'\]"):
        aligned(student, teacher, ids, **{"<|none|>": "<other>"})


def test_what_a_teacher_cannot_read_is_left_out_of_texts_that_a_student_writes():
    special = {"eos_token": "<|end|>", "pad_token": "<|turn|>"}
    student, teacher = byte_level(**special), byte_level(digits=True)
    teacher.backend_tokenizer.normalizer = normalizers.Lowercase()
    known = Vocabularies(TokenBytes("x", student), TokenBytes("y", teacher), {})
    one, other = student("the end")["input_ids"], student(" of 12")["input_ids"]
    unknown = student.convert_tokens_to_ids("<|turn|>")
    for left_out in (
        [unknown],
        [unknown, len(student) + 3],
        [unknown, *student("Upper")["input_ids"], unknown],
    ):
        ids = [*one, *left_out, *other]
        theirs, found = known.aligned(ids, strict=False)
        assert theirs == teacher("the end")["input_ids"] + teacher(" of 12")["input_ids"]
        covered = [place for first, last, *_ in found.tolist() for place in range(first, last)]
        assert [ids[place] for place in covered] == [*one, *other]
        with pytest.raises(DataError):
            known.aligned(ids)


def test_equal_tokenizers_have_spans_of_one_token_and_a_cell_for_each():
    for each in (byte_level(), sentencepiece()):
        ids = each("the 😀 years 1234, über")["input_ids"]
        ids = [*ids, each.eos_token_id]
        known, theirs, found = aligned(each, each, ids)
        assert theirs == ids
        assert all(one == other and "|" not in one.strip("<|>") for one, other in found)
        assert len(found) == len(ids) - len(known.teacher.prefix)
        assert known.cells.student.equal(known.cells.teacher)
        assert sorted(known.cells.student.tolist()) == list(range(len(each)))


def test_a_token_of_one_side_counts_for_the_longest_shared_string_that_begins_it():
    numbers = byte_level(270, texts=["x1234 y1234 z12"])
    student, teacher = numbers, byte_level(300, digits=True)
    known, _, _ = aligned(student, teacher, [])
    cells, others = known.cells.student.tolist(), known.cells.teacher.tolist()
    shared = {*known.student.table} & {*known.teacher.table} - {None}
    for side, of_side in ((known.student, cells), (known.teacher, others)):
        for number, string in enumerate(side.table):
            if string is None:
                continue
            longest = max((each for each in shared if string.startswith(each)), key=len)
            assert of_side[number] == cells[known.student.table.index(longest)]
    token = student.convert_tokens_to_ids
    assert cells[token("1234")] == others[teacher.convert_tokens_to_ids("1")]
    assert cells[token("1234")] != cells[token("2")]


def test_a_character_and_its_byte_are_two_tokens_of_one_string():
    """A tokenizer with a token for each byte has "A" twice; the other side's is the plain one."""
    student, teacher = sentencepiece(), byte_level()
    known, _, _ = aligned(student, teacher, [])
    plain, byte = (student.convert_tokens_to_ids(each) for each in ("a", "<0x61>"))
    other = teacher.convert_tokens_to_ids("a")
    assert known.cells.student[plain] == known.cells.student[byte] == known.cells.teacher[other]
    both = aligned(student, student, [])[0].cells.student
    assert both[plain] != both[byte]


def test_tokens_of_one_place_are_one_string_only_if_they_read_alike():
    """A space before the first word is part of the teacher's token, though no byte of the text."""
    student, teacher = byte_level(), sentencepiece()
    known, theirs, found = aligned(student, teacher, student("the end")["input_ids"])
    assert found[0] == ("the", "▁the")
    assert not known.same(np.array(student("the")["input_ids"]), np.array(theirs[1:2])).any()
    assert known.aligned(student("the end")["input_ids"])[1][0].tolist() == [0, 1, 1, 2]


@pytest.mark.parametrize("text", ["über e\u0301", "한 e\u0301"])
@pytest.mark.parametrize("cut", [0, 1])
def test_a_part_of_a_character_is_no_counterpart_of_an_added_space_or_of_a_broken_token(text, cut):
    """Of a text that is brought to another normal form, the first tokens may cover no byte."""
    student = byte_level() if cut else sentencepiece()
    teacher = byte_level(270)
    teacher.backend_tokenizer.normalizer = normalizers.NFC()
    ids = student("€" * cut + text)["input_ids"][cut:]
    known, theirs, _ = aligned(student, teacher, ids)
    first = known.aligned(ids)[1][0]
    ours, others = ids[first[0] : first[1]], theirs[first[2] : first[3]]
    ours, others = (
        b"".join(side.table[each] or b"" for each in tokens)
        for side, tokens in ((known.student, ours), (known.teacher, others))
    )
    assert others in (ours, ours.removeprefix(b" "))


EACH = {"bytes": byte_level(360), "digits": byte_level(300, digits=True), "other": sentencepiece()}
KNOWN = {
    (one, other): Vocabularies(TokenBytes("x", EACH[one]), TokenBytes("y", EACH[other]), {})
    for one in EACH
    for other in EACH
}


@pytest.mark.parametrize("pair", KNOWN, ids=str)
@settings(deadline=None)
@given(
    text=st.text(st.characters(codec="utf-8", exclude_characters="▁"), max_size=12),
    cut=st.integers(0, 3),
)
@example(text="the 😀 years 1234 to 1987, naïve", cut=0)
@example(text="  the €", cut=1)
def test_both_sides_of_a_span_have_the_same_bytes(pair, text, cut):
    known = KNOWN[pair]
    ids = EACH[pair[0]](text)["input_ids"]
    ids = ids[: max(len(ids) - cut, 0)]
    theirs, found = known.aligned(ids)
    flat = [Span(*each) for each in found.tolist()]
    assert all(one.last <= other.first for one, other in pairwise(flat))
    assert all(one.teacher_last <= other.teacher_first for one, other in pairwise(flat))
    for number, each in enumerate(flat):
        ours = b"".join(known.student.table[x] or b"" for x in ids[each.first : each.last])
        other = theirs[each.teacher_first : each.teacher_last]
        other = b"".join(known.teacher.table[x] or b"" for x in other)
        first = (
            number == 0
            or not b"".join(known.student.table[x] or b"" for x in ids[: each.first]).strip()
        )
        assert ours == other or (first and ours.lstrip() == other.lstrip())
    if not cut and text:  # nothing is left out
        assert flat[-1].last == len(ids)
        assert flat[-1].teacher_last == len(theirs)
