"""Raw texts as a model's inputs."""

import copy

import pytest

from tokenizing import tokenizer
from tutelage.errors import DataError
from tutelage.identity import identity
from tutelage.layers import TextInputs

TEXTS = ["the cat sat", "the very unhappyly dog ran"]


def test_pads_to_the_longest_text_of_the_batch():
    inputs = TextInputs(tokenizer(), 16)(TEXTS)
    assert inputs["attention_mask"].tolist() == [[1] * 5 + [0] * 4, [1] * 9]
    assert inputs["input_ids"][0].tolist() == [2, 4, 5, 7, 3, 0, 0, 0, 0]


def test_cuts_texts_at_the_greatest_length():
    inputs = TextInputs(tokenizer(), 4)(TEXTS)
    assert inputs["input_ids"].shape == (2, 4)
    assert inputs["input_ids"][:, -1].tolist() == [3, 3]


def test_tells_the_word_of_each_token():
    inputs = TextInputs(tokenizer(), 16, words=True)(TEXTS)
    assert inputs["words"].tolist() == [
        [-1, 0, 1, 2, -1, -1, -1, -1, -1],
        [-1, 0, 1, 2, 2, 2, 3, 4, -1],
    ]


@pytest.mark.parametrize("words", [False, True])
def test_its_identity_is_the_same_after_a_batch_and_in_a_copy(words, tmp_path):
    one = TextInputs(tokenizer(), 16, words)
    before = identity(one)
    one(TEXTS)
    assert identity(one) == identity(copy.deepcopy(one)) == before
    one.save(tmp_path / "here")
    for folder in ("here", "there"):
        one.save(tmp_path / folder)
    loaded = [
        identity(TextInputs(type(tokenizer()).from_pretrained(tmp_path / name), 16, words))
        for name in ("here", "there")
    ]
    assert loaded[0] == loaded[1]
    assert identity(TextInputs(tokenizer(), 15, words)) != before


class TestBadInput:
    @pytest.mark.parametrize("texts", ["the cat", [1, 2], [["the"], ["cat"]], {"text": "a"}])
    def test_what_is_no_list_of_texts_is_refused(self, texts):
        with pytest.raises(DataError, match="raw texts must be a list of str, got"):
            TextInputs(tokenizer(), 16)(texts)

    def test_a_text_whose_last_words_would_have_no_output_is_refused(self):
        with pytest.raises(DataError, match="at most 5 tokens, got one of 5 words, 'the very"):
            TextInputs(tokenizer(), 5, words=True)(TEXTS)
