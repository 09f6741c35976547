"""Students that are made of the teacher: fewer layers, and of texts fewer tokens."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tests.studies.conftest import QUIET, quick
from tests.tokenizing import SIZE, tokenizer
from torch import nn
from torch.utils.data import IterableDataset

import tutelage as tl
from tutelage.compression.families import depths, with_fewer_tokens
from tutelage.layers import Prepared, TextInputs

__all__ = ["quick"]  # a fixture of all tests here
TEXTS = ["the cat sat", "the dog ran", "the cat ran", "the dog sat"]


class Once(IterableDataset):
    """Examples that can be read but once."""

    def __init__(self, examples: Iterator) -> None:
        self.examples = examples

    def __iter__(self) -> Iterator:
        return self.examples


@pytest.fixture(scope="module")
def teacher() -> Prepared:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    model = transformers.BertForSequenceClassification(
        transformers.BertConfig(
            vocab_size=SIZE, hidden_size=8, num_hidden_layers=2, num_attention_heads=2,
            intermediate_size=16, max_position_embeddings=16, num_labels=2,
        )
    )  # fmt: skip
    return Prepared(model.eval(), TextInputs(tokenizer(), 12), ("cat", "dog"))


def test_texts_of_the_training_data_have_the_teacher_s_outputs(teacher):
    found = with_fewer_tokens(teacher, [(text, 0) for text in TEXTS])
    assert found is not None
    kept = len(found.prepare.tokenizer)
    assert found.wrapped.get_input_embeddings().num_embeddings == kept < SIZE
    assert found.class_names == teacher.class_names
    with torch.no_grad():
        torch.testing.assert_close(found(TEXTS).logits, teacher(TEXTS).logits)
        found(["un happy"])  # is spelt
    assert [*depths(found)] == [*depths(teacher)]


def test_other_models_have_no_tokens():
    assert with_fewer_tokens(nn.Linear(2, 2), torch.zeros(3, 2)) is None


def test_a_stream_which_can_be_read_once_is_left_unread(teacher):
    once = iter([(text, 0) for text in TEXTS])
    stream = Once(once)
    assert with_fewer_tokens(teacher, stream) is None
    assert len([*once]) == len(TEXTS)


def test_a_small_file_of_texts_has_fewer_tokens(teacher, tmp_path: Path):
    train = [(text, int("dog" in text)) for text in TEXTS]
    others = [("cat sat", 0), ("dog sat", 1), ("cat ran", 0), ("dog ran", 1)]
    smaller = with_fewer_tokens(teacher, train)
    layer = sum(each.numel() for each in teacher.wrapped.bert.encoder.layer[0].parameters())
    most = sum(each.numel() for each in smaller.parameters()) - layer
    found = tl.compress(
        teacher, train=train, val=others, test=[(f"{text} .", label) for text, label in others],
        objective=tl.SoftTargets(4), parameters=most, precisions=["float32"], steps=4, seeds=2,
        budget="1m", training=tl.Training(engine=QUIET), out=tmp_path / "run",
    )  # fmt: skip
    within = {each.name for each in found.study.results.search.candidates if each.steps}
    assert "1 of 2 layers, fewer tokens" in within
    assert "1 of 2 layers" not in within
    assert sum(each.numel() for each in found.student.parameters()) <= most
