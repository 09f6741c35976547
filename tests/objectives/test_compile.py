"""`torch.compile` of objectives and distillers, with the compiler of every day.

What each objective gives when it is compiled, test_each.py and test_each_layer_objective.py check;
distillers that compare layers, tests/test_distiller_compiled.py.
"""

import copy
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters
from torch.utils.data import TensorDataset

import tutelage as tl
from compiling import compilers_warnings, needs_compiler
from tutelage.coarse import CoarseLogits
from tutelage.schedules import Linear
from tutelage.signals import Batch, Signals

pytestmark = [needs_compiler, compilers_warnings]
EAGERLY = {"backend": "aot_eager", "fullgraph": True}
QUIET = tl.Engine(progress=False)


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch._dynamo.reset()
    counters.clear()


def graphs():
    return counters["stats"]["unique_graphs"]


def normal(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def learn(objective, rows=12, classes=50, batch=None):
    """Values and gradient on given logits."""
    student = normal(0, rows, classes).requires_grad_()
    batch = Batch(torch.zeros(rows, 1)) if batch is None else batch
    values = objective(Signals(student), Signals(3 * normal(1, rows, classes)), batch)
    return values, *torch.autograd.grad(values.sum(), student)


def same(objective, other, **settings):
    torch.testing.assert_close(
        learn(objective, **settings), learn(other, **settings), rtol=1e-5, atol=1e-6
    )


class TestObjectives:
    def test_of_rows_with_and_without_labels_and_of_mixtures(self):
        labels = torch.tensor([3, -100, 0, 49] * 3)
        mixture = tl.Mixture(labels.flip(0), torch.linspace(0, 1, 12))
        plain = tl.HardLabels(0.1)
        compiled = torch.compile(plain, **EAGERLY)
        for made_of in (None, mixture):
            same(compiled, plain, batch=Batch(torch.zeros(12, 1), labels, mixture=made_of))

    def test_of_a_teacher_that_knows_some_of_the_classes(self):
        ids = torch.tensor([[0, 2], [3, -1]])
        coarse = CoarseLogits(ids, normal(2, 2, 2).masked_fill(ids < 0, -torch.inf), torch.zeros(2))
        sampled = CoarseLogits(ids, coarse.logits, torch.full((2,), -torch.inf), sampled_at=2.0)
        student = normal(0, 2, 5).requires_grad_()
        plain, batch = tl.SoftTargets(2), Batch(torch.zeros(2, 1))
        compiled = torch.compile(plain, **EAGERLY)
        for teacher in (coarse, sampled):
            values = [each(Signals(student), Signals(teacher), batch) for each in (compiled, plain)]
            torch.testing.assert_close(*values)
            gradients = [torch.autograd.grad(each.sum(), student)[0] for each in values]
            torch.testing.assert_close(*gradients)

    def test_a_memory_that_changes_in_training(self):
        """The gradient is that of the memory before the batch, be it full or not.

        PyTorch 2.13 would copy the memory once more for it, after the batch came in.
        """
        plain = tl.CRD(memory=20, dim=5, temperature=0.5)
        plain.build(Signals(normal(0, 12, 50)), Signals(normal(1, 12, 50)))
        twin = copy.deepcopy(plain)
        compiled = torch.compile(plain, fullgraph=True)
        for step in range(3):
            batch = Batch(torch.zeros(12, 1), index=torch.arange(12) + 5 * step)
            same(compiled, twin, batch=batch)
        assert plain.state_dict().keys() == twin.state_dict().keys()

    def test_a_schedule_and_other_sizes_take_few_graphs(self):
        plain = tl.SoftTargets(Linear(4, 2))
        compiled = torch.compile(plain, **EAGERLY)
        for step, rows in enumerate((12, 12, 7, 5, 12, 9, 7, 3, 12, 12)):
            same(compiled, plain, rows=rows, batch=Batch(torch.zeros(rows, 1), progress=step / 10))
        assert graphs() <= 4

    @pytest.mark.parametrize("rows", [1, 0])
    def test_few_rows(self, rows):
        batch = Batch(torch.zeros(rows, 1), torch.arange(rows, dtype=torch.uint8))
        for plain in (tl.SoftTargets(4), tl.DKD()):
            same(torch.compile(plain, **EAGERLY), plain, rows=rows, classes=9, batch=batch)


class TestDistiller:
    def parts(self, objective, classes=5):
        torch.manual_seed(4)
        teacher = nn.Linear(6, classes)
        student = nn.Sequential(nn.Linear(6, 4), nn.Linear(4, classes))
        return tl.Distiller(student, teacher, objective)

    @pytest.mark.parametrize("others", [None, tl.RKD()], ids=["vocabulary", "relations"])
    def test_losses_and_gradients_are_the_same_in_one_graph(self, others):
        """As a program over a vocabulary, as a graph with an objective that relates examples."""
        objective = tl.HardLabels() + 0.5 * tl.SoftTargets(4)
        if others is None:
            plain, settings = self.parts(objective, classes=32000), {"fullgraph": True}
        else:
            plain, settings = self.parts(objective + others), EAGERLY
        compiled = torch.compile(plain, **settings)
        for labels in (torch.arange(8) % 5, torch.tensor([0, -100] * 4)):
            batch = Batch(normal(5, 8, 6), labels, progress=0.3)
            losses = [each(batch) for each in (compiled, plain)]
            found, expected = (
                (each.total, each.parts, torch.autograd.grad(each.total, [*plain.parameters()]))
                for each in losses
            )
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)

    def test_batches_of_a_run_take_few_graphs(self):
        plain = self.parts(Linear(0, 1) * tl.HardLabels() + tl.SoftTargets(Linear(4, 2)))
        compiled = torch.compile(plain, **EAGERLY)
        for step, rows in enumerate((8, 8, 8, 5, 8, 8, 3, 8)):
            labels = torch.full((rows,), -100) if step % 2 else torch.arange(rows) % 5
            batch = Batch(normal(step, rows, 6), labels, progress=step / 8)
            torch.testing.assert_close(compiled(batch).total, plain(batch).total)
        assert graphs() <= 4


class TestRuns:
    DATA = TensorDataset(normal(3, 70, 6), torch.arange(70) % 5)

    def distill(self, objective, **engine):
        torch.manual_seed(4)
        teacher, student = nn.Linear(6, 5), nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 5))
        return tl.distill(
            teacher, student, train=self.DATA, val=self.DATA, objective=objective, epochs=2,
            batch_size=32, engine=tl.Engine(progress=False, **engine),
        )  # fmt: skip

    def test_an_objective_that_is_compiled_in_place_is_compiled_in_a_run(self):
        plain = self.distill(0.5 * tl.HardLabels() + tl.SoftTargets(Linear(4, 2)))
        assert graphs() == 0
        soft = tl.SoftTargets(Linear(4, 2))
        soft.compile(backend="aot_eager")
        compiled = self.distill(0.5 * tl.HardLabels() + soft)
        assert graphs() >= 1
        for name, value in plain.student.state_dict().items():
            found = compiled.student.state_dict()[name]
            torch.testing.assert_close(found, value, rtol=1e-4, atol=1e-4)

    def test_a_sum_compiles_its_terms(self):
        compiled = tl.SoftTargets(2)
        compiled.compile(backend="aot_eager")
        both = tl.RowMean(0.5 * tl.HardLabels() + compiled)
        assert [bool(each._compiled_call_impl) for each in both.objectives] == [False, True]
        both.compile(backend="aot_eager")
        model = nn.Sequential(nn.Linear(6, 5), nn.Unflatten(1, (1, 5)))
        batch = Batch(normal(0, 4, 6), torch.arange(4).reshape(4, 1))
        tl.Distiller(model, copy.deepcopy(model), both)(batch)
        assert graphs() == 2

    def test_what_torch_compile_returns_is_no_objective(self):
        with pytest.raises(tl.ArgumentError, match=r"objective\.compile\(\)"):
            self.distill(torch.compile(tl.SoftTargets(4)))


WRONG = """
import torch, tutelage as tl
from tutelage.coarse import CoarseLogits
from tutelage.signals import Batch, Signals

student, labels = torch.randn(300, 1000), torch.arange(300)
batch = Batch(student, labels)
ids, rest = labels.unsqueeze(1).clone(), torch.zeros(300)
cases = [
    (tl.HardLabels(), Signals(), labels),
    (tl.SoftTargets(2), Signals(CoarseLogits(ids, torch.zeros(300, 1), rest)), ids),
]
for objective, teacher, values in cases:
    compiled = torch.compile(objective, fullgraph=True)
    compiled(Signals(student), teacher, batch)
    values[7] = 1000
    try:
        compiled(Signals(student), teacher, batch)
    except tl.TutelageError as error:
        print(error)
    values[7] = 7
"""


def test_a_class_that_is_not_there_is_an_error_and_does_not_end_the_process():
    """Compiled code that indexes out of range does; so this is seen from another process."""
    done = subprocess.run(
        [sys.executable, "-c", WRONG], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("got [1000]") == 2
