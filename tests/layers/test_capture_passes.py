"""A pass runs no further than what is wanted, keeps nothing else, and gradients go through it."""

import gc
import weakref

import pytest
import torch
from torch import nn

from tutelage.layers import observe
from tutelage.layers.capture import Complete
from tutelage.signals import Batch
from tutelage.teachers import Live
from tutelage.wants import Fields
from watched import Counted, calls, chain

X = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
SIDES = pytest.mark.parametrize("side", ["student", "teacher"])


def network():
    return nn.Sequential(
        nn.Linear(4, 6), nn.ReLU(), nn.Sequential(nn.Linear(6, 3), nn.ReLU()), nn.Linear(3, 2)
    )


def take(model, *paths, inputs=X, output=True, side="student"):
    return observe(model, inputs, Fields(output, frozenset(paths)), side)


class TestEarlyStop:
    @SIDES
    def test_nothing_runs_after_the_last_required_layer(self, side):
        model = chain(*[lambda x: x + 1] * 4)
        found = take(model, "0", "2", output=False, side=side)
        assert calls(model) == [1, 1, 1, 0]
        assert found.output is None
        assert torch.equal(found.feature("2"), X + 3)

    def test_a_layer_whose_input_is_required_does_not_run(self):
        model = chain(*[lambda x: x + 1] * 4)
        take(model, "2:input", output=False)
        assert calls(model) == [1, 1, 0, 0]

    def test_everything_runs_if_the_output_is_required(self):
        model = chain(*[lambda x: x + 1] * 4)
        take(model, "0")
        assert calls(model) == [1, 1, 1, 1]

    def test_from_the_depth_of_nested_modules(self):
        inner = chain(lambda x: x, lambda x: x + 1, lambda x: x + 1)
        model = nn.Sequential(inner, chain(lambda x: x), nn.Linear(4, 2))
        take(model, "0.1", output=False)
        assert calls(model) == [1, 1, 0, 0]
        take(model, "1", output=False)
        assert calls(model) == [2, 2, 1, 1]

    def test_at_the_first_call_of_a_module_that_runs_twice(self):
        shared, last = Counted(lambda x: 2 * x), Counted(lambda x: x)
        found = take(nn.Sequential(shared, shared, last), "0", output=False)
        assert (shared.calls, last.calls) == (1, 0)
        assert torch.equal(found.feature("0"), 2 * X)

    def test_a_model_that_catches_every_exception_does_not_catch_this(self):
        class Careful(nn.Module):
            def __init__(self):
                super().__init__()
                self.part, self.other = Counted(lambda x: x), Counted(lambda x: x)

            def forward(self, x):
                try:
                    x = self.part(x)
                except Exception:  # noqa: BLE001
                    x = self.other(x)
                return self.other(x)

        model = Careful()
        take(model, "part", output=False)
        assert calls(model) == [1, 0]
        assert not issubclass(Complete, Exception)

    def test_a_live_teacher_stops_too(self):
        model = chain(*[lambda x: x + 1] * 3)
        signals = Live(model).signals(Batch(X), Fields(features=frozenset(["1"])))
        assert calls(model) == [1, 1, 0]
        assert signals.output is None


class TestNothingElseIsKept:
    @pytest.mark.parametrize("output", [True, False])
    def test_tensors_that_are_not_required_are_freed_after_the_pass(self, output):
        alive = {}

        def watched(name):
            def function(x):
                result = x + 1
                alive[name] = weakref.ref(result)
                return result

            return function

        model = chain(*map(watched, "abcd"))
        collecting = gc.isenabled()
        gc.disable()  # a cycle would live until somebody collects it
        try:
            with torch.no_grad():
                found = take(model, "0", "2", output=output)
            assert len(alive) == (4 if output else 3)
            kept = {name for name, each in alive.items() if each() is not None}
            assert kept == ({"d"} if output else set())
        finally:
            if collecting:
                gc.enable()
        assert torch.equal(found.feature("2"), X + 3)

    def test_features_are_freed_with_the_result(self):
        gc.disable()
        try:
            found = take(network(), "0", "2")
            feature = weakref.ref(found.feature("0"))
            del found
            assert feature() is None
        finally:
            gc.enable()


class TestGradients:
    def test_gradients_through_features_equal_those_of_the_plain_model(self):
        model = network()
        take(model, "2", output=False).feature("2").square().sum().backward()
        found = [each.grad for each in model.parameters()]
        expected = torch.autograd.grad(
            model[2](model[1](model[0](X))).square().sum(), list(model[:3].parameters())
        )
        for ours, theirs in zip(found, [*expected, None, None], strict=True):
            assert ours is theirs is None or torch.equal(ours, theirs)

    def test_feature_and_output_add_up_in_one_backward_pass(self):
        model = network()
        found = take(model, "0")
        (found.feature("0").sum() + found.output.sum()).backward()
        first = model[0](X)
        total = first.sum() + model[3](model[2](first.relu())).sum()
        torch.testing.assert_close(
            model[0].weight.grad, torch.autograd.grad(total, model[0].weight)[0]
        )

    @pytest.mark.parametrize("path", ["0", "2", "0:input", "1:input", "same", "weight"])
    def test_a_teachers_features_need_no_gradient_and_can_be_saved_for_one(self, path):
        """Also those that are no fresh result: its own input, and a parameter."""

        class Parts(nn.Module):
            def __init__(self):
                super().__init__()
                self.same, self.weight = nn.Identity(), Counted(lambda: self.table)
                self.table = nn.Parameter(torch.randn(5, 4))
                self.body = network()

            def forward(self, x):
                return self.body(self.same(x) + self.weight())

        path = f"body.{path}" if path[0].isdigit() else path
        feature = Live(Parts()).signals(Batch(X), Fields(True, frozenset([path]))).feature(path)
        assert not feature.requires_grad
        assert not feature.is_inference()
        student = torch.zeros_like(feature, requires_grad=True)
        (student * feature).sum().backward()  # saves the teacher's feature
        assert torch.equal(student.grad, feature)
