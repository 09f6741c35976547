"""The bytes of tokens: those of a text's tokens are the bytes of the text."""

import unicodedata
from itertools import accumulate

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from tokenizing import TEXTS, byte_level, sentencepiece, tokenizer
from tutelage.errors import ArgumentError, DataError
from tutelage.teachers._token_bytes import TokenBytes, bytes_of_characters


def normalizing(normalizer, made):
    made.backend_tokenizer.normalizer = normalizer
    return made


def with_metaspace(**special):
    """A Unigram with the space of sentencepiece before the first word only."""
    pieces = [("<unk>", 0.0), ("▁", -2.0), *((each, -3.0) for each in "abcdefgh123"), ("▁a", -1.0)]
    found = Tokenizer(models.Unigram(pieces, unk_id=0))
    found.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    return PreTrainedTokenizerFast(tokenizer_object=found, **special)


EACH = {
    "bytes": byte_level(),
    "digits": byte_level(digits=True),
    "fallback": sentencepiece(),
    "no added space": sentencepiece(adds_space=False),
    "NFC": normalizing(normalizers.NFC(), byte_level()),
}
KNOWN = {name: TokenBytes("tokenizer", each) for name, each in EACH.items()}
EVERY = pytest.mark.parametrize("known", KNOWN.values(), ids=KNOWN)


@EVERY
@settings(deadline=None)
@given(text=st.text(st.characters(codec="utf-8"), max_size=12))
@example(text=TEXTS[1])
@example(text=TEXTS[3])
@example(text=" a  b ")
@example(text="▁▁ 😀▁é</s><s><|end|><0x41>")
@example(text="e\u0301 e\u0301\u0323 \u1112\u1161\u11ab 👨‍👩‍👧")  # NFC composes them
def test_tokens_cover_all_bytes_of_any_text(known, text):
    found = known.encoded(text)
    assert sum(found.lengths) == len(text.encode())
    assert len(found.ids) == len(found.lengths)
    assert min(found.lengths, default=0) >= 0


@EVERY
@settings(deadline=None)
@given(text=st.text(st.characters(codec="utf-8", exclude_characters="▁"), max_size=12))
def test_tokens_decode_to_their_text(known, text):
    found = known.decoded(known.encoded(text).ids)
    if known is not KNOWN["NFC"]:
        assert found.text == text
    assert not found.broken
    assert sum(found.lengths) == len(found.text.encode())


@EVERY
@pytest.mark.parametrize("text", [TEXTS[0], TEXTS[2], "a 12  b"])
def test_lengths_are_the_tokenizers_own_offsets(known, text):
    """In ASCII, where a character is a byte."""
    backend = KNOWN_BACKENDS[id(known)]
    ends = [last for _, last in backend.encode(text, add_special_tokens=False).offsets]
    ours = list(accumulate(known.encoded(text).lengths))
    assert ours[1:] == ends[1:]  # the first may be a space that is added, which has no offset


KNOWN_BACKENDS = {id(known): EACH[name].backend_tokenizer for name, known in KNOWN.items()}


@pytest.mark.parametrize("name", ["bytes", "fallback"])
def test_bytes_of_the_vocabulary_are_what_the_tokenizer_decodes(name):
    made, known = EACH[name], KNOWN[name]
    for number, string in enumerate(known.table):
        if string is not None and string.isascii():
            assert made.decode([number]).encode() == string


def test_special_tokens_cover_nothing_and_a_text_that_looks_like_one_does():
    known = KNOWN["fallback"]
    assert [known.table[each] for each in (0, 1, 2)] == [None, None, None]
    assert known.prefix == [1]
    assert not {1, 2} & {*known.encoded("<s> and </s>").ids}
    assert KNOWN["bytes"].prefix == []


def test_a_character_of_several_tokens_is_covered_byte_by_byte():
    for name in ("bytes", "fallback"):
        found = KNOWN[name].encoded("a€")  # not among the texts it was made from
        assert found.lengths[-3:] == [1, 1, 1]


def test_a_space_that_is_added_is_covered_by_no_byte():
    known = TokenBytes("tokenizer", with_metaspace())
    assert known.encoded("ab").lengths == [1, 1]  # "▁a" and "b"
    assert known.encoded("b a").lengths == [0, 1, 2]  # "▁", "b", "▁a"
    assert known.encoded(" a").lengths == [2]  # to which no other space is added
    fallback = KNOWN["fallback"]
    assert fallback.encoded("the").lengths == [3]  # "▁the"
    assert fallback.encoded(" the").lengths == [0, 4]  # "▁", "▁the"


@pytest.mark.parametrize("name", ["bytes", "fallback"])
@pytest.mark.parametrize(("first", "last"), [(0, -1), (0, -2), (1, None), (2, -1)])
def test_a_text_that_is_cut_within_a_character_keeps_the_others(name, first, last):
    known = KNOWN[name]
    ids = known.encoded("€ is €").ids
    ids = [each for each in ids if known.table[each] != b" " or name == "bytes"]
    found = known.decoded(ids[first:last])
    assert "€" not in found.text or first == 0 or last is None
    assert "is" in found.text.replace(" ", "")
    assert sum(found.lengths) == len(found.text.encode())
    for number, each in enumerate(ids[first:last]):
        whole = known.table[each].strip().isascii()
        of_whole = found.text.count("€") and found.lengths[number]
        assert (number not in found.broken) == bool(whole or of_whole)


@pytest.mark.parametrize("special", [{}, {"unk_token": "<unk>"}], ids=str)
def test_an_unknown_character_is_known_as_such(special):
    made = with_metaspace(**special)
    known = TokenBytes("student_tokenizer", made)
    found = known.decoded(made("a€b", add_special_tokens=False)["input_ids"])
    assert (found.text, found.broken) == ("ab", {1})
    with pytest.raises(DataError, match=r"student_tokenizer.*does not know a character"):
        known.encoded("a€b")


def test_a_tokenizer_that_changes_the_text_is_refused():
    known = TokenBytes("tokenizer", normalizing(normalizers.Lowercase(), byte_level()))
    assert known.encoded("abc 😀").lengths
    with pytest.raises(DataError, match=r"'abc The end' for 'Abc The end'|'abc the"):
        known.encoded("Abc The end")
    stripped = TokenBytes("tokenizer", normalizing(normalizers.Strip(), byte_level()))
    with pytest.raises(DataError, match="must keep every character"):
        stripped.encoded(" ")


def test_other_kinds_are_refused():
    with pytest.raises(ArgumentError, match=r"`tokenizer` must be a byte-level BPE.*WordPiece"):
        TokenBytes("tokenizer", tokenizer())
    with pytest.raises(ArgumentError, match=r"must be a fast tokenizer.*got str"):
        TokenBytes("tokenizer", "gpt2")
    suffixed = Tokenizer(models.BPE({"a": 0, "a</w>": 1}, [], end_of_word_suffix="</w>"))
    with pytest.raises(ArgumentError, match=r"BPE with marks of word parts"):
        TokenBytes("tokenizer", PreTrainedTokenizerFast(tokenizer_object=suffixed))


def test_characters_of_bytes_are_those_of_the_library():
    found = bytes_of_characters()
    assert {*found} == {*pre_tokenizers.ByteLevel.alphabet()}
    assert sorted(found.values()) == list(range(256))
    assert (found["a"], found["Ġ"], found["Ċ"]) == (ord("a"), ord(" "), ord("\n"))


def test_spaces_that_are_tokens_added_to_the_vocabulary_are_spaces():
    """As in Gemma, whose runs of spaces and lines are added tokens that are not special."""
    made = sentencepiece(adds_space=False)
    made.add_tokens(["▁▁▁", "<|tool|>"])
    known = TokenBytes("tokenizer", made)
    assert known.table[made.convert_tokens_to_ids("▁▁▁")] == b"   "
    assert known.table[made.convert_tokens_to_ids("<|tool|>")] == b"<|tool|>"
    for text in ("a   b", "a▁▁▁b", "a<|tool|>b"):
        assert sum(known.encoded(text).lengths) == len(text.encode())
    of_bytes = byte_level()
    of_bytes.add_tokens(["▁Ġ"])
    known = TokenBytes("tokenizer", of_bytes)
    assert known.encoded("a▁Ġb").lengths == [1, 5, 1]


def test_another_normal_form_is_covered_by_its_own_bytes():
    known = KNOWN["NFC"]
    found = known.encoded("te\u0301b")  # "é" in two characters, of one and two bytes
    assert [known.table[each] for each in found.ids] == [b"t", "é".encode(), b"b"]
    assert found.lengths == [1, 3, 1]
    found = known.encoded("ae\u0301b")
    assert [known.table[each] for each in found.ids] == [b"a\xc3", b"\xa9", b"b"]
    assert found.lengths == [0, 4, 1]  # as no token ends behind "a"
    several = known.encoded("a\u1112\u1161\u11abb")  # a syllable in three characters of three bytes
    assert sum(several.lengths) == 11
    assert several.lengths[0] == several.lengths[-1] == 1
    assert several.lengths[1:-2] == [0] * (len(several.ids) - 3)  # its last byte covers it


@settings(deadline=None)
@given(text=st.text("ae\u0301\u0323 \u1112\u1161\u11abb1", max_size=10))
def test_other_normal_forms_meet_only_where_both_texts_are_the_same(text):
    known = KNOWN["NFC"]
    found, ours, theirs = known.encoded(text), b"", b""
    for number, length in zip(found.ids, found.lengths, strict=True):
        theirs += known.table[number]
        ours += text.encode()[len(ours) : len(ours) + length]
        if length and ours != theirs:  # a boundary of both
            assert unicodedata.normalize("NFC", ours.decode()).encode() == theirs
