"""Models with their own preprocessing of raw inputs."""

import copy
from functools import partial

import pytest
import torch
from torch import nn

import tutelage as tl
from tutelage.errors import ArgumentError, DataError
from tutelage.identity import identity
from tutelage.layers import ImageInputs, Output, Prepared, evaluating, observe
from tutelage.layers.capture import check_layers
from tutelage.teachers import Live
from tutelage.wants import OUTPUT, Fields

RAW = torch.rand(6, 3, generator=torch.Generator().manual_seed(0))


def network(depth=4, width=3):
    torch.manual_seed(0)
    return nn.Sequential(*[nn.Sequential(nn.Linear(width, width), nn.Tanh()) for _ in range(depth)])


def halved(raw):
    return (raw - 0.5) / 0.5


class Named(nn.Module):
    """A model of keywords that returns a dict, and its loss where labels are given."""

    def __init__(self):
        super().__init__()
        self.body = nn.Linear(3, 2)

    def forward(self, values, scale, labels=None):
        states = self.body(values * scale)
        found = {"states": states}
        if labels is not None:
            found["loss"] = nn.functional.cross_entropy(states, labels)
        return found


def as_named(raw):
    return {"values": raw, "scale": torch.tensor(2.0)}


def test_the_model_is_given_prepared_inputs_and_the_batch_stays_raw():
    model, before = network(), RAW.clone()
    found = observe(Prepared(model, halved), RAW, OUTPUT, "student").output
    assert torch.equal(found, model(halved(RAW)))
    assert torch.equal(RAW, before)


@pytest.mark.parametrize("prepare", [as_named, lambda raw: (raw, torch.tensor(2.0))])
def test_dicts_become_keywords_and_tuples_arguments(prepare):
    model = Named()
    assert torch.equal(Prepared(model, prepare)(RAW)["states"], model(RAW, 2.0)["states"])


def test_raw_inputs_may_be_texts_or_several_tensors():
    model = nn.Linear(1, 2)
    lengths = Prepared(model, lambda texts: torch.tensor([[float(len(each))] for each in texts]))
    found = observe(lengths, ["a", "bcd"], OUTPUT, "student").output
    assert torch.equal(found, model(torch.tensor([[1.0], [3.0]])))
    summed = Prepared(nn.Identity(), lambda raw: raw[0] + raw[1])
    assert torch.equal(observe(summed, (RAW, RAW), OUTPUT, "student").output, 2 * RAW)
    named = Prepared(nn.Identity(), lambda raw: raw["x"] + raw["y"])
    assert torch.equal(observe(named, {"x": RAW, "y": RAW}, OUTPUT, "student").output, 2 * RAW)


@pytest.mark.parametrize("prepare", [halved, ImageInputs(mean=0.5, std=0.5)])
def test_layer_paths_and_state_dict_are_the_models(prepare):
    model = network()
    wrapped = Prepared(model, prepare)
    assert list(wrapped.state_dict()) == list(model.state_dict())
    assert [name for name, _ in wrapped.named_modules()] == [
        name for name, _ in model.named_modules()
    ]
    check_layers(wrapped, ["2.0"], "student")
    wrapped.load_state_dict(network().state_dict())


def test_layers_are_captured():
    model = network()
    fields = Fields(True, frozenset({"1"}))
    found = observe(Prepared(model, halved), RAW, fields, "student")
    assert torch.equal(found.feature("1"), model[:2](halved(RAW)))


def test_a_copy_has_its_own_weights():
    wrapped = Prepared(network(), halved, class_names=("a", "b", "c"))
    twin = copy.deepcopy(wrapped)
    nn.init.zeros_(twin.get_submodule("0.0").weight)
    assert not twin.wrapped[0][0].weight.any()
    assert wrapped.wrapped[0][0].weight.any()
    assert twin.class_names == ("a", "b", "c")
    assert twin.double()(RAW.double()).dtype == torch.float64


@pytest.mark.parametrize("mode", [True, False])
def test_modes_reach_the_model(mode):
    model = network().train(mode)
    wrapped = Prepared(model, halved)
    assert wrapped.training is model.training is mode
    with evaluating(wrapped):
        assert not any(each.training for each in model.modules())
    assert model.training is mode


@pytest.mark.parametrize("wrap", [Prepared, lambda m, p: Prepared(Output(m, lambda x: x), p)])
def test_a_student_of_every_second_layer_is_prepared_alike(wrap):
    teacher = network()
    student, layer_map = tl.students.every_nth_layer(wrap(teacher, halved))
    assert layer_map == {"0": "1", "1": "3"}
    expected = teacher[3](teacher[1](halved(RAW)))
    assert torch.equal(student(RAW), expected)
    assert [name for name, _ in student.named_children()] == ["0", "1"]


def test_distils_models_of_different_preprocessing():
    teacher = Prepared(network().double(), lambda raw: raw.double() * 2)
    student = Prepared(network(depth=1), halved)
    data = [(each, index % 3) for index, each in enumerate(RAW)]
    run = tl.distill(
        teacher, student, train=data, epochs=1, batch_size=3,
        objective=tl.SoftTargets(2) + tl.FeatureMatch({"0": "3"}),
    )  # fmt: skip
    assert isinstance(run.student, Prepared)
    assert torch.equal(run.student(RAW), run.student.wrapped(halved(RAW)))


def test_the_models_own_loss_is_taken_of_prepared_inputs():
    student = Prepared(Output(Named(), "states"), as_named)
    labels = torch.arange(6) % 2
    both = tl.Distiller(student, None, tl.OwnLoss() + tl.HardLabels())(tl.Batch(RAW, labels))
    expected = nn.functional.cross_entropy(student(RAW), labels)
    torch.testing.assert_close(both.total, 2 * expected)


def test_a_distiller_of_prepared_models_is_compiled_whole():
    def images(size):
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        return Prepared(model, ImageInputs(size, size, 0.5, 0.5, "bilinear"))

    batch = tl.Batch(torch.rand(4, 3, 20, 20), torch.arange(4))
    objective = tl.SoftTargets(2) + tl.HardLabels()
    distiller = tl.Distiller(images(8), images(12), objective).eval()
    compiled = torch.compile(distiller, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(batch).total, distiller(batch).total)


def test_preprocessing_is_part_of_a_teachers_identity():
    one, other = ImageInputs(mean=0.5), ImageInputs(mean=0.4)
    prints = {Live(Prepared(network(), each)).fingerprint() for each in (one, other)}
    assert len(prints) == 2
    assert identity(Prepared(network(), one)) != identity(Prepared(network(), other))
    same = [Live(Prepared(network(), partial(torch.mul, other=2))).fingerprint() for _ in range(2)]
    assert same[0] == same[1]


class TestBadInput:
    def test_preprocessing_that_would_be_trained_is_refused(self):
        with pytest.raises(ArgumentError, match="`prepare` must have no parameters, got Linear"):
            Prepared(network(), nn.Linear(3, 3))


def test_inputs_by_position_and_by_name_are_refused():
    with pytest.raises(DataError, match="by position or all by name"):
        Prepared(nn.Identity(), lambda raw: raw["y"])(RAW, y=RAW)
