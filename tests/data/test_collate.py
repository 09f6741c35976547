"""Texts of different lengths in one batch."""

import numpy as np
import pytest
import torch
from torch.utils.data import IterableDataset
from transformers import (
    BertConfig,
    BertForTokenClassification,
    T5Config,
    T5ForConditionalGeneration,
)

import tutelage as tl
from tutelage.data.collate import collate
from tutelage.signals import IndexedExample

TEXTS = [
    {"input_ids": [5, 6, 7], "labels": [1, 0, 1]},
    {"input_ids": [8], "labels": [0]},
    {"input_ids": [9, 4], "labels": [-100, 1]},
]


def test_tokens_and_their_labels_are_padded_behind():
    batch = collate(TEXTS)
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 0, 0], [9, 4, 0]]
    assert batch["labels"].tolist() == [[1, 0, 1], [0, -100, -100], [-100, 1, -100]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0], [1, 1, 0]]


def test_an_empty_text_and_arrays_are_padded_like_others():
    texts = [{"input_ids": [], "labels": []}, *(
        {name: np.array(each[name]) for name in each} for each in TEXTS
    )]  # fmt: skip
    batch = collate(texts)
    assert batch["input_ids"].tolist() == [[0, 0, 0], [5, 6, 7], [8, 0, 0], [9, 4, 0]]
    assert batch["labels"].tolist()[0] == [-100, -100, -100]
    assert batch["attention_mask"].tolist()[:2] == [[0, 0, 0], [1, 1, 1]]
    alone = collate(texts[:1])
    assert [each.tolist() for each in alone.values()] == [[[0]], [[-100]], [[0]]]


def test_a_mask_of_ones_own_is_padded_by_zeros():
    texts = [
        {"input_ids": [0, 5], "attention_mask": [0, 1], "label": 3},
        {"input_ids": [6, 7, 8], "attention_mask": [1, 1, 1], "label": 1},
    ]
    batch = collate(texts)
    assert batch["attention_mask"].tolist() == [[0, 1, 0], [1, 1, 1]]
    assert batch["label"].tolist() == [3, 1]


@pytest.mark.parametrize("turn", [1, -1])
@pytest.mark.parametrize("other", [[7, 8, 9], [7, 8]])
def test_a_mask_that_only_some_examples_have_is_completed(turn, other):
    texts = [{"input_ids": [5, 6, 0], "attention_mask": [1, 1, 0]}, {"input_ids": other}][::turn]
    own = [[1, 1, 0], [1] * len(other) + [0] * (3 - len(other))][::turn]
    assert collate(texts)["attention_mask"].tolist() == own


def test_a_mask_of_a_decoder_is_padded_like_its_tokens():
    texts = [
        {"input_ids": [1, 2], "decoder_input_ids": [0, 4, 5], "decoder_attention_mask": [0, 1, 1]},
        {"input_ids": [3], "decoder_input_ids": [0], "decoder_attention_mask": [1]},
    ]
    assert collate(texts)["decoder_attention_mask"].tolist() == [[0, 1, 1], [1, 0, 0]]


@pytest.mark.parametrize("turn", [1, -1])
def test_examples_of_different_keys_are_refused_in_any_order(turn):
    with pytest.raises(tl.DataError, match=r"same keys, got \{x: .*tl.data.unlabelled"):
        collate([{"x": torch.ones(2)}, {"x": torch.ones(2), "labels": 1}][::turn])


def test_texts_of_a_stream_are_padded_too():
    class Stream(IterableDataset):
        def __iter__(self):
            yield from TEXTS

    (batch,) = tl.data.as_source("train", Stream(), 3).epoch(0)
    assert batch.inputs["input_ids"].tolist() == [[5, 6, 7], [8, 0, 0], [9, 4, 0]]


def test_all_that_has_a_value_for_each_token_is_padded():
    texts = [
        {"input_ids": [1, 2], "token_type_ids": [0, 1], "boxes": torch.ones(2, 4), "page": [7, 7]},
        {"input_ids": [3], "token_type_ids": [1], "boxes": torch.ones(1, 4), "page": [8, 8]},
    ]
    batch = collate(texts)
    assert batch["token_type_ids"].tolist() == [[0, 1], [1, 0]]
    assert batch["boxes"].sum(dim=(1, 2)).tolist() == [8, 4]
    assert batch["page"].tolist() == [[7, 7], [8, 8]]  # of one length, by chance that of a text


def test_float_labels_are_padded_by_nan_and_bytes_become_long():
    texts = [
        {"input_ids": [1, 2], "labels": torch.tensor([0.5, 1.0])},
        {"input_ids": [3], "labels": torch.tensor([2.0])},
    ]
    labels = collate(texts)["labels"]
    assert labels[1, 0] == 2
    assert bool(labels[1, 1].isnan())
    small = [{**each, "labels": each["labels"].byte()} for each in texts]
    assert collate(small)["labels"].tolist() == [[0, 1], [2, -100]]


def test_answers_of_another_length_are_padded_among_themselves():
    texts = [
        {"input_ids": [1, 2], "labels": [4, 5, 6], "decoder_input_ids": [0, 4, 5]},
        {"input_ids": [3, 4], "labels": [7], "decoder_input_ids": [0]},
    ]
    batch = collate(texts)
    assert "attention_mask" not in batch  # the inputs have one length
    assert batch["labels"].tolist() == [[4, 5, 6], [7, -100, -100]]
    assert batch["decoder_input_ids"].tolist() == [[0, 4, 5], [0, 0, 0]]
    assert batch["decoder_attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]


def test_indices_are_kept():
    batch = collate([IndexedExample(each, k, 0) for k, each in enumerate(TEXTS)])
    assert batch.index.tolist() == [0, 1, 2]
    assert batch.example["input_ids"].shape == (3, 3)


def test_other_sequences_are_refused_as_before():
    texts = [
        {"input_ids": [1, 2], "audio": [0.5, 0.5, 0.1]},
        {"input_ids": [3], "audio": [0.5, 0.25]},
    ]
    with pytest.raises(tl.DataError, match=r"must have 'audio' of one shape"):
        collate(texts)
    with pytest.raises(tl.DataError, match=r"only dicts with `input_ids` are padded"):
        collate([{"x": [1, 2]}, {"x": [3]}])


def test_padding_changes_no_output():
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=20, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, num_labels=3,
    )  # fmt: skip
    model = BertForTokenClassification(config).eval()
    batch = collate([{"input_ids": each["input_ids"]} for each in TEXTS])
    together = model(**batch).logits
    for row, each in zip(together, TEXTS, strict=True):
        alone = model(input_ids=torch.tensor([each["input_ids"]])).logits[0]
        torch.testing.assert_close(row[: len(alone)], alone)


def test_padding_changes_no_loss_of_an_encoder_decoder():
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=20, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2,
        decoder_start_token_id=0,
    )  # fmt: skip
    model = T5ForConditionalGeneration(config).eval()
    texts = [{"input_ids": [4, 5, 6], "labels": [7, 8]}, {"input_ids": [9], "labels": [3, 1, 2]}]
    alone = [model(**{key: torch.tensor([value]) for key, value in each.items()}).loss
             for each in texts]  # fmt: skip
    expected = (2 * alone[0] + 3 * alone[1]) / 5
    torch.testing.assert_close(model(**collate(texts)).loss, expected)


def test_distill_takes_tokenised_texts_of_different_lengths():
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=20, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, num_labels=2,
    )  # fmt: skip
    teacher, student = BertForTokenClassification(config), BertForTokenClassification(config)
    run = tl.distill(
        teacher, student, train=4 * TEXTS, objective=tl.SoftTargets(2), epochs=1, batch_size=3
    )
    assert run.history[-1]["step"] == 4
