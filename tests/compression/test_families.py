"""Students that are made of the teacher: fewer layers, and of texts fewer tokens."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tests.studies.conftest import QUIET, quick
from tests.tokenizing import SIZE, tokenizer
from torch import nn
from torch.utils.data import IterableDataset, TensorDataset

import tutelage as tl
from tutelage.compression.families import depths, parts, with_fewer_tokens
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


def convolutional(last: int = 24) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, last, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(last, 3),
    )  # fmt: skip


def test_a_network_without_repeated_layers_has_fewer_channels():
    pytest.importorskip("torch_pruning")
    teacher, images = convolutional(), TensorDataset(torch.randn(9, 1, 8, 8))
    found = parts(teacher, images)
    assert [*found] == [
        "all channels", "75 % of channels", "50 % of channels", "37.5 % of channels",
        "25 % of channels", "12.5 % of channels",
    ]  # fmt: skip
    assert [make()[0].out_channels for make in found.values()] == [16, 12, 8, 6, 4, 2]
    torch.testing.assert_close(found["all channels"]().state_dict(), teacher.state_dict())


def test_a_network_in_stages_has_fewer_channels():
    """Without a stage the next one has other inputs."""
    pytest.importorskip("torch_pruning")
    models = pytest.importorskip("torchvision.models")
    found = parts(models.resnet18(num_classes=3), TensorDataset(torch.randn(3, 3, 32, 32)))
    assert "50 % of channels" in found


@pytest.mark.parametrize(
    ("teacher", "shape"),
    [
        (convolutional(), (9, 1, 8, 8)),
        (nn.Sequential(*[nn.Linear(3, 3) for _ in range(4)]), (9, 3)),
    ],
)
@pytest.mark.parametrize("last_layer", [False, True])
def test_students_of_a_frozen_teacher_are_trained(teacher, shape, last_layer):
    pytest.importorskip("torch_pruning")
    teacher.requires_grad_(False)
    teacher[-1].requires_grad_(last_layer)
    for make in parts(teacher, TensorDataset(torch.randn(*shape))).values():
        assert all(each.requires_grad for each in make().parameters())
    assert not any(each.requires_grad for each in teacher[:-1].parameters())


@pytest.mark.parametrize("teacher", [nn.Linear(3, 2), tl.teachers.Predictor(lambda x: x)])
def test_students_must_be_named_for_a_teacher_without_parts(teacher):
    with pytest.raises(tl.ArgumentError, match="`students` must be given for a teacher of which"):
        parts(teacher, TensorDataset(torch.randn(9, 3)))


def test_a_teacher_that_refuses_the_data_is_told_as_such():
    with pytest.raises(tl.ModelError, match="refused its inputs"):
        parts(convolutional(), TensorDataset(torch.randn(9, 5)))
