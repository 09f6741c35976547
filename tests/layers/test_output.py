"""Choosing which part of what a model returns is its output."""

import copy

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertModel

import tutelage as tl
from tutelage.errors import ModelError
from tutelage.layers import Output, evaluating, observe
from tutelage.layers.capture import check_layers
from tutelage.wants import OUTPUT, Fields

IDS = {"input_ids": torch.arange(12).reshape(2, 6), "attention_mask": torch.ones(2, 6).long()}


def bert(hidden=16):
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=30, hidden_size=hidden, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=16,
    )  # fmt: skip
    return BertModel(config)


def test_the_error_for_an_encoder_without_logits_names_output():
    way = r'got .*tl\.layers\.Output\(model, "last_hidden_state"\) or .*"pooler_output"'
    with pytest.raises(ModelError, match=way):
        observe(bert(), IDS, OUTPUT, "teacher")


@pytest.mark.parametrize(
    "output",
    ["last_hidden_state", 0, lambda result: result.last_hidden_state],
    ids=["name", "position", "function"],
)
def test_the_chosen_part_is_the_output(output):
    model = bert().eval()
    found = observe(Output(model, output), IDS, OUTPUT, "student").output
    assert torch.equal(found, model(**IDS).last_hidden_state)


def test_layer_paths_and_state_dict_are_the_models():
    model = bert().eval()
    wrapped = Output(model, "pooler_output")
    assert list(wrapped.state_dict()) == list(model.state_dict())
    assert dict(wrapped.named_parameters()).keys() == dict(model.named_parameters()).keys()
    check_layers(wrapped, ["encoder.layer.1"], "student")
    fields = Fields(True, frozenset({"encoder.layer.1"}))
    theirs, ours = (observe(m, IDS, fields, "student") for m in (Output(model, 0), wrapped))
    assert torch.equal(theirs.feature("encoder.layer.1"), ours.feature("encoder.layer.1"))
    assert wrapped.config is model.config
    wrapped.load_state_dict(bert().state_dict())


def test_a_copy_has_its_own_weights_and_can_be_trained():
    wrapped = Output(bert(), "pooler_output")
    twin = copy.deepcopy(wrapped)
    before = wrapped.state_dict()["pooler.dense.weight"].clone()
    optimizer = torch.optim.SGD(twin.parameters(), lr=1.0)
    twin(**IDS).square().sum().backward()
    optimizer.step()
    assert torch.equal(wrapped.state_dict()["pooler.dense.weight"], before)
    assert twin.wrapped.pooler.dense.weight is twin.pooler.dense.weight
    assert not torch.equal(twin.wrapped.pooler.dense.weight, before)
    assert twin.double().wrapped.pooler.dense.weight.dtype == torch.float64
    assert twin(**IDS).dtype == torch.float64


@pytest.mark.parametrize("mode", [True, False])
def test_modes_reach_the_model_itself(mode):
    model = bert().train(mode)
    wrapped = Output(model, 0)
    assert wrapped.training is model.training is mode
    with evaluating(wrapped):
        assert not any(each.training for each in model.modules())
    assert all(each.training is mode for each in model.modules())
    wrapped.train(not mode)
    assert model.training is not mode


def test_a_model_that_keeps_parts_in_eval_mode_does_so_inside():
    class Partly(nn.Sequential):
        def train(self, mode=True):
            super().train(mode)
            self[1].eval()
            return self

    model = Partly(nn.Linear(3, 4), nn.BatchNorm1d(4))
    distiller = tl.Distiller(Output(Output(model, lambda x: x), lambda x: x), None, tl.HardLabels())
    assert distiller.eval().train() is distiller
    assert [each.training for each in (distiller.student, model, *model)] == [True] * 3 + [False]


def test_distils_an_encoder():
    teacher, student = Output(bert(), "pooler_output"), Output(bert(), "pooler_output")
    data = [{key: value[0] for key, value in IDS.items()}] * 4
    run = tl.distill(
        teacher, student, train=data, objective=tl.OutputRegression(), epochs=1, batch_size=2
    )
    assert isinstance(run.student, Output)


class TestBadInput:
    @pytest.mark.parametrize("output", ["hidden", 7])
    def test_a_missing_part_is_refused(self, output):
        with pytest.raises(ModelError, match=rf"with the part {output!r}, got .*last_hidden"):
            Output(bert(), output)(**IDS)


def test_a_tensor_has_no_parts_and_no_example_is_taken_for_one():
    with pytest.raises(tl.ModelError, match="must return something with the part 0, got"):
        tl.layers.Output(torch.nn.Linear(2, 3), 0)(torch.ones(4, 2))
