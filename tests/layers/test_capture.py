"""What passes named paths is what the layers gave, and the model is as it was."""

import copy
import pickle

import pytest
import torch
from torch import nn

from tutelage.errors import ArgumentError, ModelError
from tutelage.layers import evaluating, observe
from tutelage.wants import Fields
from watched import Counted, chain

X = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
SIDES = pytest.mark.parametrize("side", ["student", "teacher"])


def network():
    return nn.Sequential(
        nn.Linear(4, 6), nn.ReLU(), nn.Sequential(nn.Linear(6, 3), nn.ReLU()), nn.Linear(3, 2)
    )


def take(model, *paths, inputs=X, output=True, side="student"):
    return observe(model, inputs, Fields(output, frozenset(paths)), side)


def hooks(model):
    """All hooks that hang on any part of a model."""
    kinds = [name for name in vars(nn.Module()) if "_hooks" in name]
    return [each for part in model.modules() for kind in kinds for each in getattr(part, kind)]


class TestPlaces:
    def test_outputs_of_layers_nested_ones_and_the_whole_model(self):
        model = network()
        found = take(model, "0", "2.0", "2", "3")
        first = model[0](X)
        inner = model[2][0](first.relu())
        expected = {"0": first, "2.0": inner, "2": inner.relu(), "3": model(X)}
        assert found.features.keys() == expected.keys()
        for path, value in expected.items():
            torch.testing.assert_close(found.feature(path), value)
        torch.testing.assert_close(found.output, model(X))

    def test_inputs_of_layers(self):
        model = network()
        found = take(model, "0:input", "2.1:input")
        torch.testing.assert_close(found.feature("0:input"), X)
        torch.testing.assert_close(found.feature("2.1:input"), model[2][0](model[0](X).relu()))

    def test_a_name_that_is_not_an_identifier(self):
        model = nn.Module()
        model.forward = lambda x: 2 * model.get_submodule("part-one")(x)
        model.add_module("part-one", nn.Linear(4, 2))
        torch.testing.assert_close(2 * take(model, "part-one").feature("part-one"), model(X))

    @pytest.mark.parametrize(
        ("result", "path", "factor"),
        [
            (lambda x: (x, 2 * x), "0", 1),
            (lambda x: ("text", None, 3 * x), "0", 3),
            (lambda x: [x, 2 * x], "0[1]", 2),
            (lambda x: {"loss": 0.5, "hidden": 4 * x}, "0", 4),
            (lambda x: {"a": x, "b": 5 * x}, "0[b]", 5),
            (lambda x: {0: x, 1: 5 * x}, "0[1]", 5),
        ],
    )
    def test_one_of_several_outputs(self, result, path, factor):
        model = chain(result, lambda _: X)
        assert torch.equal(take(model, path).feature(path), factor * X)

    @pytest.mark.parametrize(
        ("path", "factor"),
        [("part:input", 1), ("part:input[0]", 1), ("part:input[1]", 2), ("part:input[mask]", 3)],
    )
    def test_one_of_several_inputs_by_position_or_name(self, path, factor):
        class Caller(nn.Module):
            def __init__(self):
                super().__init__()
                self.part = Counted(lambda x, other, mask: x + other + mask)

            def forward(self, x):
                return self.part(x, 2 * x, mask=3 * x)

        assert torch.equal(take(Caller(), path).feature(path), factor * X)

    def test_a_keyword_only_input(self):
        class Caller(nn.Module):
            def __init__(self):
                super().__init__()
                self.part = Counted(lambda hidden: hidden)

            def forward(self, x):
                return self.part(hidden=x)

        assert torch.equal(take(Caller(), "part:input").feature("part:input"), X)

    def test_the_first_call_of_a_shared_module_is_captured(self):
        shared = nn.Linear(4, 4)
        model = nn.Sequential(shared, nn.ReLU(), shared)
        found = take(model, "0", "2")
        torch.testing.assert_close(found.feature("0"), shared(X))
        assert torch.equal(found.feature("2"), found.feature("0"))

    def test_later_in_place_operations_do_not_change_captured_tensors(self):
        class Residual(nn.Module):
            def forward(self, x):
                x += 100
                return x

        model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(inplace=True), Residual())
        found = take(model, "0", "1", "2:input")
        torch.testing.assert_close(found.feature("0"), model[0](X))
        torch.testing.assert_close(found.feature("1"), model[0](X).relu())
        torch.testing.assert_close(found.feature("2:input"), model[0](X).relu())
        assert (found.feature("0") < 0).any()
        torch.testing.assert_close(found.output, model[0](X).relu() + 100)


class TestErrors:
    @SIDES
    def test_a_missing_layer(self, side):
        message = rf"the {side} \(Sequential\) has no layer '2\.5'; nearest are .*'2\.0'"
        with pytest.raises(ArgumentError, match=message):
            take(network(), "2.5", side=side)

    @SIDES
    def test_a_layer_that_does_not_run(self, side):
        class Skipping(nn.Module):
            def __init__(self):
                super().__init__()
                self.part, self.idle = nn.Linear(4, 3), nn.Linear(4, 3)

            def forward(self, x):
                return self.part(x)

        message = rf"must run in the forward pass of the {side}, got no call of 'idle'; choose"
        with pytest.raises(ModelError, match=message):
            take(Skipping(), "idle", "part", side=side)

    @pytest.mark.parametrize(
        ("result", "path", "found"),
        [
            (lambda _: None, "0", "NoneType"),
            (lambda _: "text", "0", "str"),
            (lambda _: {"loss": 0.5}, "0", r"\{loss: float\}"),
            (lambda x: {"hidden": x}, "0[hiden]", r"\{hidden: float32 \[5, 4\]\}"),
            (lambda x: (x, None), "0[1]", "NoneType"),
            (lambda x: (x,), "0[1]", r"\(float32 \[5, 4\]\)"),
            (lambda x: (x,), "0[name]", r"\(float32 \[5, 4\]\)"),
            (lambda x: (x, (x, x)), "0[1]", r"\(float32 \[5, 4\], float32 \[5, 4\]\)"),
            (lambda x: x.mean(), "0", r"float32 \[\]"),
            (lambda x: x[:, 0], "0", r"float32 \[5\]"),
            # An item of a tensor would be an example, not a feature.
            (lambda x: x.reshape(5, 2, 2), "0[0]", r"\(float32 \[5, 2, 2\]\)"),
            (lambda x: x, "0[name]", r"\(float32 \[5, 4\]\)"),
        ],
    )
    @SIDES
    def test_a_layer_without_such_a_tensor(self, result, path, found, side):
        model = chain(result, lambda _: X)
        text = path.replace("[", r"\[").replace("]", r"\]")
        message = (
            rf"layer '{text}' of the {side} must return a tensor \[batch, …\], got {found}; choose"
        )
        with pytest.raises(ModelError, match=message):
            take(model, path, side=side)
        assert hooks(model) == []

    @pytest.mark.parametrize("path", ["0:input[1]", "0:input[mask]"])
    def test_a_missing_input(self, path):
        with pytest.raises(
            ModelError, match=r"of the student must return a tensor .*got \{0: float32"
        ):
            take(network(), path)

    def test_a_models_own_error_is_the_cause(self):
        model = chain(lambda x: x, lambda x: x / 0 if isinstance(x, int) else 1 / 0)
        with pytest.raises(ModelError, match="refused its inputs") as caught:
            take(model, "0")
        assert isinstance(caught.value.__cause__, ZeroDivisionError)
        assert hooks(model) == []


class TestTheModelIsAsItWas:
    def test_hooks_exist_only_while_the_model_runs(self):
        model, seen = network(), []
        model[1].forward = lambda x: seen.append(len(hooks(model))) or x.relu()
        assert hooks(model) == []
        take(model, "0", "2.0:input", "3")
        assert seen == [3 + 1]  # one that reads arguments by name is listed twice
        assert hooks(model) == []
        take(model, "0", output=False)
        assert hooks(model) == []

    def test_hooks_are_removed_after_any_error(self):
        def interrupted(_):
            raise KeyboardInterrupt

        model = chain(lambda x: x, interrupted)
        with pytest.raises(KeyboardInterrupt):
            take(model, "0", "1:input")
        assert hooks(model) == []
        with pytest.raises(ArgumentError):
            take(model, "0", "wrong")  # found only after the first hook hangs
        assert hooks(model) == []

    def test_other_hooks_stay_and_get_the_same_values(self):
        model, seen = network(), []
        handle = model[0].register_forward_hook(lambda *values: seen.append(values[2]))
        take(model, "0")
        assert len(hooks(model)) == 1
        torch.testing.assert_close(seen[0], model[0](X))
        handle.remove()

    def test_it_can_be_pickled_and_copied_before_and_after(self):
        model = network()
        before = pickle.dumps(model)
        take(model, "0", "2.0", output=False)
        assert pickle.dumps(model) == before
        twin = copy.deepcopy(model)
        assert torch.equal(twin(X), model(X))
        assert torch.equal(take(twin, "2").feature("2"), take(model, "2").feature("2"))

    def test_weights_flags_and_modes_do_not_change(self):
        model = network().train()
        model[0].requires_grad_(requires_grad=False)
        before = copy.deepcopy(model.state_dict())
        with evaluating(model):
            take(model, "0", "3", output=False)
        assert all(torch.equal(before[name], each) for name, each in model.state_dict().items())
        assert [each.requires_grad for each in model.parameters()] == [False] * 2 + [True] * 4
        assert all(part.training for part in model.modules())
