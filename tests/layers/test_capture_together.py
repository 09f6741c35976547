"""Capture beside others: other threads, other distillers, compiled modules."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from compiling import compilers_warnings, needs_compiler
from tutelage.distiller import Distiller
from tutelage.errors import ModelError
from tutelage.layers import observe
from tutelage.objectives import FeatureMatch, SoftTargets
from tutelage.signals import Batch
from tutelage.teachers import Live
from tutelage.wants import Fields

X = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))


def network(width=6):
    return nn.Sequential(
        nn.Linear(4, width), nn.ReLU(), nn.Sequential(nn.Linear(width, 3), nn.ReLU()),
        nn.Linear(3, 2),
    )  # fmt: skip


def take(model, *paths, inputs=X, output=True):
    return observe(model, inputs, Fields(output, frozenset(paths)), "student")


class Meeting(nn.Module):
    """Waits in its forward pass until two threads are inside."""

    def __init__(self):
        super().__init__()
        self.barrier = threading.Barrier(2, timeout=10)

    def forward(self, x):
        self.barrier.wait()
        return x


class TestThreads:
    @pytest.mark.parametrize("outputs", [(True, True), (False, False), (True, False)])
    def test_two_threads_with_one_model_get_their_own_features(self, outputs):
        """Both register hooks before either continues; one may stop early."""
        model = nn.Sequential(Meeting(), nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2), Meeting())
        if outputs != (True, True):
            model = model[:-1]  # whoever stops early does not come to the second meeting
        inputs = (X, 2 * X)
        with ThreadPoolExecutor(2) as pool:
            found = list(
                pool.map(
                    lambda job: take(model, "1", "2:input", inputs=job[0], output=job[1]),
                    zip(inputs, outputs, strict=True),
                )
            )
        for each, ours, output in zip(found, inputs, outputs, strict=True):
            torch.testing.assert_close(each.feature("1"), model[1](ours))
            torch.testing.assert_close(each.feature("2:input"), model[1](ours))
            assert (each.output is not None) == output
        assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())

    def test_another_thread_that_runs_the_model_is_not_affected(self):
        model = nn.Sequential(Meeting(), nn.Linear(4, 2), nn.Linear(2, 2))
        with ThreadPoolExecutor(2) as pool, torch.no_grad():
            mine = pool.submit(take, model, "1", output=False)
            theirs = pool.submit(model, 2 * X)
            found, plain = mine.result(), theirs.result()
            torch.testing.assert_close(found.feature("1"), model[1](X))
            torch.testing.assert_close(plain, model[2](model[1](2 * X)))

    def test_many_passes_in_four_threads(self):
        model = network()
        teacher = Live(model.eval())
        expected = {scale: model[0](scale * X).detach() for scale in range(1, 9)}

        def ask(scale):
            wanted = Fields(output=scale % 2 == 0, features=frozenset(["0", "1:input"]))
            signals = teacher.signals(Batch(scale * X), wanted)
            return scale, signals.feature("0"), signals.feature("1:input")

        with ThreadPoolExecutor(4) as pool:
            for scale, *features in pool.map(ask, [1 + number % 8 for number in range(200)]):
                for feature in features:
                    torch.testing.assert_close(feature, expected[scale])


class TestTwoDistillers:
    def test_runs_that_share_a_teacher_do_not_affect_each_other(self):
        teacher, students = network(), [network(), network(8)]
        objectives = [FeatureMatch({"0": "0"}), FeatureMatch({"2": "2", "0": "1"}) + SoftTargets(2)]
        distillers = [
            Distiller(student, teacher, objective)
            for student, objective in zip(students, objectives, strict=True)
        ]
        for distiller in distillers:
            distiller.build(Batch(X))
        alone = [distiller(Batch(X)) for distiller in distillers]
        assert alone[0].teacher.features.keys() == {"0"}
        assert alone[0].teacher.output is None
        assert alone[1].teacher.features.keys() == {"2", "1"}
        alone[1].total.backward()
        assert all(each.grad is None for each in (*teacher.parameters(), *students[0].parameters()))
        again = distillers[0](Batch(X))
        assert torch.equal(again.total, alone[0].total)

    def test_a_student_may_be_the_teacher_of_another_run(self):
        big, middle, small = network(), network(), network()
        first, second = (
            Distiller(student, teacher, FeatureMatch({"2": "2"}))
            for student, teacher in ((middle, big), (small, middle))
        )
        for distiller in (first, second):
            distiller.build(Batch(X))
            distiller(Batch(X)).total.backward()
        assert all(each.grad is None for each in big.parameters())
        expected = (middle[2](middle[1](middle[0](X))) - big[2](big[1](big[0](X)))).square().mean()
        grad = torch.autograd.grad(expected, middle[0].weight)[0]
        torch.testing.assert_close(middle[0].weight.grad, grad)


def in_place(model):
    """Compile as `module.compile()` does: the module stays of its class."""
    model.compile(backend="eager")
    return model


def child_compiled(model):
    model[2] = torch.compile(model[2], backend="eager")
    return model


def child_compiled_in_place(model):
    model[2].compile(backend="eager")
    return model


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch._dynamo.reset()


@compilers_warnings
class TestCompiled:
    @pytest.mark.parametrize("run_before", [False, True])
    @pytest.mark.parametrize(
        "compiled",
        [
            lambda model: torch.compile(model, backend="eager"),
            lambda model: torch.compile(model, backend="aot_eager"),
            in_place,
            child_compiled,
            child_compiled_in_place,
        ],
        ids=["whole", "aot", "in place", "child", "child in place"],
    )
    def test_layers_inside_are_captured(self, compiled, run_before):
        plain = network()
        expected = take(plain, "0", "2", "2.0", "2.0:input")
        model = compiled(plain)
        if run_before:
            model(X)
        for output in (True, False):
            found = take(model, "0", "2", "2.0", "2.0:input", output=output)
            for path, value in expected.features.items():
                torch.testing.assert_close(found.feature(path), value)
        found.feature("2").sum().backward()
        assert plain[0].weight.grad is not None
        torch.testing.assert_close(model(X), expected.output)

    def test_a_layer_beside_a_compiled_one_leaves_it_compiled(self):
        graphs = []

        def backend(graph, _):
            graphs.append(graph)
            return graph.forward

        model = network()
        model[2] = torch.compile(model[2], backend=backend)
        take(model, "0")
        assert len(graphs) == 1

    def test_afterwards_it_runs_compiled_again(self):
        graphs = []

        def backend(graph, _):
            graphs.append(graph)
            return graph.forward

        model = torch.compile(network(), backend=backend)
        take(model, "0")
        assert graphs == []
        with torch.no_grad():
            model(X)
        assert len(graphs) == 1

    @needs_compiler
    def test_with_the_default_compiler(self):
        plain = network()
        student, teacher = torch.compile(plain), network()
        with torch.no_grad():
            torch.testing.assert_close(student(X), plain(X))
        distiller = Distiller(student, teacher, FeatureMatch({"0": "0"}) + SoftTargets(2))
        distiller.build(Batch(X))
        found = distiller(Batch(X)).total
        found.backward()
        expected = Distiller(plain, teacher, FeatureMatch({"0": "0"}) + SoftTargets(2))
        expected.build(Batch(X))
        torch.testing.assert_close(found, expected(Batch(X)).total)
        assert plain[0].weight.grad is not None


@compilers_warnings
def test_a_compiled_model_that_refuses_its_inputs_needs_no_compiler():
    with pytest.raises(ModelError, match=r"(?s)refused its inputs.*give it the inputs that its fo"):
        take(torch.compile(network(), backend="aot_eager"), inputs=torch.zeros(2, 99))


@compilers_warnings
def test_a_forward_that_was_compiled_elsewhere():
    """`forward` itself replaced: nothing tells of it, but hooks make the compiler look again."""
    model = network()
    model.forward = torch.compile(model.forward, backend="eager")
    with torch.no_grad():
        model(X)
    torch.testing.assert_close(take(model, "0").feature("0"), model[0](X))
