from collections import OrderedDict, namedtuple
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from tutelage.errors import DataError, ModelError
from tutelage.layers import evaluating, observe
from tutelage.wants import OUTPUT, Fields

X = torch.arange(6.0).reshape(2, 3)
Answer = namedtuple("Answer", ["loss", "logits"])


class Function(nn.Module):
    """A module that calls a function, and counts how often."""

    def __init__(self, function):
        super().__init__()
        self.function, self.calls = function, 0

    def forward(self, *args, **kwargs):
        self.calls += 1
        return self.function(*args, **kwargs)


def output_of(function, inputs=X):
    return observe(Function(function), inputs, OUTPUT, "student").output


@pytest.mark.parametrize(
    "wrap",
    [
        lambda x: x,
        lambda x: (x, "more"),
        lambda x: [x, (x + 1, x)],
        lambda x: {"loss": 0, "logits": x},
        lambda x: OrderedDict(hidden=x + 1, logits=x),
        lambda x: SimpleNamespace(hidden=x + 1, logits=x),
        lambda x: Answer(x + 1, x),
    ],
    ids=["tensor", "tuple", "list", "dict", "ordered dict", "object", "named tuple"],
)
def test_the_output_is_found_in_all_forms_of_results(wrap):
    assert torch.equal(output_of(wrap), X)


@pytest.mark.parametrize("several", [lambda x: (x + 1, x), lambda x: [x, None, x]])
def test_several_tensors_are_refused_since_the_first_may_be_features(several):
    with pytest.raises(ModelError, match=r"must return one output, got .*tl\.layers\.Output"):
        output_of(several)


def test_one_value_per_example_becomes_a_column():
    assert output_of(lambda x: x[:, 0]).tolist() == [[0.0], [3.0]]


@pytest.mark.parametrize("inputs", [(X, X + 1), [X, X + 1], {"b": X + 1, "a": X}])
def test_inputs_are_passed_as_arguments(inputs):
    assert torch.equal(output_of(lambda a, b: 10 * a + b, inputs), 10 * X + X + 1)


def test_nothing_runs_if_nothing_is_required():
    model = Function(lambda x: x)
    assert observe(model, X, Fields(), "student").output is None
    assert model.calls == 0


@pytest.mark.parametrize(
    ("result", "came"),
    [
        (None, "NoneType"),
        (3.0, "float"),
        ("text", "str"),
        ((), r"\(\)"),
        ({"hidden": 3}, r"\{hidden: int\}"),
        (torch.tensor(1.0), r"float32 \[\]"),
        (SimpleNamespace(logits=None), "SimpleNamespace"),
        (X.numpy(), "ndarray"),
    ],
)
def test_a_model_without_an_output_is_named(result, came):
    with pytest.raises(ModelError, match=rf"the teacher must return .*got {came}; wrap it"):
        observe(Function(lambda _: result), X, OUTPUT, "teacher")


@pytest.mark.parametrize("side", ["student", "teacher"])
def test_a_model_that_refuses_its_inputs_is_named_and_its_own_error_is_the_cause(side):
    with pytest.raises(
        ModelError, match=rf"the {side} \(Linear\) refused its inputs float32 \[2, 3\] with Runtime"
    ) as caught:
        observe(nn.Linear(4, 2), X, OUTPUT, side)
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert "give it the inputs that its forward takes" in str(caught.value)


def test_wrong_keywords_are_refused_inputs_too():
    with pytest.raises(ModelError, match=r"refused its inputs \{ids: .* with TypeError"):
        observe(nn.Linear(3, 2), {"ids": X}, OUTPUT, "student")


@pytest.mark.parametrize("error", [DataError("ours"), torch.OutOfMemoryError("full")])
def test_errors_of_tutelage_are_not_wrapped(error):
    def fail(_):
        raise error

    with pytest.raises(type(error)) as caught:
        observe(Function(fail), X, OUTPUT, "student")
    assert caught.value is error


class TestEvaluating:
    def model(self):
        """A model of which one part trains and another, frozen by its owner, does not."""
        model = nn.Sequential(nn.Dropout(), nn.Sequential(nn.BatchNorm1d(3), nn.Dropout()))
        model[1][0].eval()
        return model

    def modes(self, model):
        return [part.training for part in model.modules()]

    def test_all_parts_are_in_eval_mode_inside_and_restored_after(self):
        model = self.model()
        before = self.modes(model)
        with evaluating(model):
            assert not any(self.modes(model))
        assert self.modes(model) == before
        assert before == [True, True, True, False, True]

    def test_modes_are_restored_after_an_error(self):
        model = self.model()
        before = self.modes(model)
        with pytest.raises(KeyError), evaluating(model):
            raise KeyError
        assert self.modes(model) == before

    def test_a_model_in_eval_mode_stays_so(self):
        model = self.model().eval()
        with evaluating(model):
            pass
        assert not any(self.modes(model))

    def test_several_models_at_once(self):
        models = self.model(), self.model()
        with evaluating(*models):
            assert not any(self.modes(models[0]) + self.modes(models[1]))
        assert models[0].training
        assert models[1].training
