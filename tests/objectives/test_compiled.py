"""Objectives that PyTorch's compiler makes into one program, with the compiler of every day."""

import copy
import math
import pickle
import subprocess
import sys
from functools import partial

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters
from torch._inductor import config
from torch.utils.data import TensorDataset

import tutelage as tl
from compiling import compilers_warnings, needs_compiler
from texts import Text, Texts
from tutelage.coarse import CoarseLogits
from tutelage.errors import ArgumentError, RunFolderError
from tutelage.schedules import Linear, Schedule
from tutelage.signals import Batch, Signals

pytestmark = [needs_compiler, compilers_warnings]
QUIET = tl.Engine(progress=False)


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch._dynamo.reset()
    counters.clear()


def graphs():
    """How many programs were made since the test began."""
    assert not counters["graph_break"]
    return counters["stats"]["unique_graphs"]


def normal(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def learn(objective, rows=12, classes=50, batch=None):
    """Values and gradient on given logits."""
    student = normal(0, rows, classes).requires_grad_()
    batch = batch or Batch(torch.zeros(rows, 1))
    values = objective(Signals(student), Signals(3 * normal(1, rows, classes)), batch)
    return values, *torch.autograd.grad(values.sum(), student)


def same(objective, other, **settings):
    torch.testing.assert_close(
        learn(objective, **settings), learn(other, **settings), rtol=1e-5, atol=1e-6
    )


class Freely(Schedule):
    """A schedule whose arithmetic the compiler cannot follow."""

    lowest = 1.0

    def __call__(self, progress):
        return 1 + math.exp(-progress) + math.log1p(progress)


class TestValues:
    def test_over_a_vocabulary(self):
        plain = tl.SoftTargets(4)
        same(tl.Compiled(plain), plain, rows=3, classes=32000)
        assert graphs() == 1

    def test_of_rows_with_and_without_labels_and_of_mixtures(self):
        labels = torch.tensor([3, -100, 0, 49] * 3)
        mixture = tl.Mixture(labels.flip(0), torch.linspace(0, 1, 12))
        plain = tl.HardLabels(0.1)
        compiled = tl.Compiled(plain)
        for made_of in (None, mixture):
            batch = Batch(torch.zeros(12, 1), labels, mixture=made_of)
            same(compiled, plain, batch=batch)
            assert (compiled.counted(batch) == plain.counted(batch)).all()

    def test_of_a_teacher_that_knows_some_of_the_classes(self):
        ids = torch.tensor([[0, 2], [3, -1]])
        said = CoarseLogits(ids, normal(2, 2, 2).masked_fill(ids < 0, -torch.inf), torch.zeros(2))
        drawn = CoarseLogits(ids, said.logits, torch.full((2,), -torch.inf), drawn_at=2.0)
        student = normal(0, 2, 5).requires_grad_()
        plain, batch = tl.SoftTargets(2), Batch(torch.zeros(2, 1))
        compiled = tl.Compiled(plain)
        for teacher in (said, drawn):
            values = [each(Signals(student), Signals(teacher), batch) for each in (compiled, plain)]
            torch.testing.assert_close(*values)
            gradients = [torch.autograd.grad(each.sum(), student)[0] for each in values]
            torch.testing.assert_close(*gradients)
        assert graphs() == 2
        with pytest.raises(tl.ModelError, match="at which the teacher's classes were drawn, got 3"):
            tl.Compiled(tl.SoftTargets(3))(Signals(student), Signals(drawn), batch)

    def test_of_layers_with_projectors_and_padding(self):
        def run(objective):
            torch.manual_seed(0)
            student, teacher = Text(6), Text(8)
            distilled = tl.distill(
                teacher, student, train=Texts(24), objective=objective, epochs=2, batch_size=8,
                engine=QUIET,
            )  # fmt: skip
            return distilled.student.state_dict()

        plain = tl.FeatureMatch({"mix": "mix"})
        found = run(tl.Compiled(plain))
        assert graphs() >= 1
        for name, value in run(plain).items():
            torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5)


class TestPrograms:
    """How often is compiled: each time it takes seconds."""

    def test_a_schedule_of_any_kind_takes_one(self):
        plain = tl.SoftTargets(Freely())
        compiled = tl.Compiled(plain)
        for step in range(20):
            same(compiled, plain, batch=Batch(torch.zeros(12, 1), progress=step / 20))
        assert graphs() == 1

    def test_texts_of_other_lengths_take_none(self):
        plain = tl.FeatureMatch({"ours": "theirs"})
        plain.build(*(Signals(features={each: normal(0, 4, 6, 8)}) for each in ("ours", "theirs")))
        compiled = tl.Compiled(plain)
        for rows, tokens in ((4, 6), (4, 9), (3, 5), (4, 6)):
            mask = torch.arange(tokens) < torch.arange(2, rows + 2).unsqueeze(1)
            batch = Batch({"tokens": torch.zeros(rows, tokens), "attention_mask": mask.long()})
            student = normal(1, rows, tokens, 8).requires_grad_()
            teacher = Signals(features={"theirs": normal(2, rows, tokens, 8)})
            sides = Signals(features={"ours": student}), teacher
            values = [each(*sides, batch) for each in (compiled, plain)]
            torch.testing.assert_close(*values)
            gradients = [torch.autograd.grad(each.sum(), student)[0] for each in values]
            torch.testing.assert_close(*gradients)
        assert graphs() == 1

    def test_what_computes_large_batches_otherwise_takes_a_few(self, monkeypatch):
        monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
        plain = tl.CKA()
        compiled = tl.Compiled(plain)
        for rows in (200, 100, 30, 20, 150, 60):
            same(compiled, plain, rows=rows, classes=16)
        assert 1 < graphs() <= 3

    def test_what_one_has_seen_of_sizes_is_not_known_to_another(self):
        """Programs for any width may take twice the time, and their last bits may differ."""
        learn(tl.Compiled(tl.LogitRegression()), classes=50)
        other = tl.Compiled(tl.LogitRegression())
        for classes in (60, 70):
            learn(other, classes=classes)
        assert graphs() == 3

    def test_no_mark_stays_on_what_was_passed(self):
        given = torch.zeros(3, 4, requires_grad=True), torch.zeros(3, 4), torch.zeros(3).long()
        student, teacher, labels = given
        batch = Batch({"tokens": labels}, labels)
        tl.Compiled(tl.DKD())(Signals(student), Signals(teacher), batch)
        assert not any("dynamo" in name for each in given for name in vars(each))

    def test_other_sizes_take_none(self):
        plain = tl.SoftTargets(4)
        compiled = tl.Compiled(plain)
        for rows in (12, 7, 5, 12, 9, 7):
            same(compiled, plain, rows=rows)
        assert graphs() == 1

    def test_what_is_not_computed_with_takes_none(self):
        compiled = tl.Compiled(tl.SoftTargets(4))
        for step in range(4):
            learn(compiled, batch=Batch(
                {"tokens": torch.zeros(12, 3 + step)}, index=torch.arange(12) + step,
                domain=[f"domain {step}"] * 12, progress=step / 4, view=step,
            ))  # fmt: skip
        assert graphs() == 1

    @torch._dynamo.config.patch(recompile_limit=1)
    def test_each_has_a_limit_of_its_own(self):
        """Past its limit PyTorch runs code uncompiled, whichever objectives it was compiled for."""
        for temperature in (1, 2, 3):
            for objective in (tl.SoftTargets(temperature), tl.LogitRegression()):
                learn(tl.Compiled(objective))
        assert graphs() == 6

    def test_copies_are_compiled_too(self):
        first = tl.Compiled(tl.SoftTargets(Linear(4, 2)))
        batch = Batch(torch.zeros(12, 1), progress=0.5)
        learn(first, batch=batch)
        for other in (copy.deepcopy(first), pickle.loads(pickle.dumps(first))):
            before = graphs()
            same(other, tl.SoftTargets(3), batch=batch)
            assert graphs() == before + 1
            assert repr(other) == "Compiled(SoftTargets(temperature=Linear(4, 2)))"

    def test_what_was_passed_stays_as_it_was(self):
        plain = tl.SoftTargets(Linear(4, 2))
        same(tl.Compiled(plain), plain, batch=Batch(torch.zeros(12, 1), progress=0.5))
        assert isinstance(plain.temperature, Linear)


class TestRuns:
    DATA = TensorDataset(normal(3, 70, 6), torch.arange(70) % 5)

    def distill(self, objective, out=None, **engine):
        torch.manual_seed(4)
        teacher, student = nn.Linear(6, 5), nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 5))
        return tl.distill(
            teacher, student, train=self.DATA, val=self.DATA, objective=objective, epochs=3,
            batch_size=32, out=out, engine=tl.Engine(progress=False, **engine),
        )  # fmt: skip

    @pytest.mark.parametrize(
        "engine", [{}, {"precision": "bf16"}, {"accumulation": 2, "clip_norm": 0.1}], ids=str
    )
    def test_a_run_learns_the_same(self, engine):
        objective = 0.5 * tl.HardLabels() + tl.SoftTargets(Freely())
        plain = self.distill(objective, **engine)
        compiled = self.distill(
            0.5 * tl.HardLabels() + tl.Compiled(tl.SoftTargets(Freely())), **engine
        )
        assert graphs() >= 1
        assert compiled.history[0].keys() == plain.history[0].keys()
        for name, value in plain.student.state_dict().items():
            found = compiled.student.state_dict()[name]
            torch.testing.assert_close(found, value, rtol=1e-4, atol=1e-4)

    def test_its_folder_is_not_that_of_a_plain_run(self, tmp_path):
        self.distill(tl.Compiled(tl.SoftTargets(4)), tmp_path)
        assert "Compiled(SoftTargets(temperature=4))" in (tmp_path / "run.json").read_text()
        self.distill(tl.Compiled(tl.SoftTargets(4)), tmp_path)
        with pytest.raises(RunFolderError, match="objective"):
            self.distill(tl.SoftTargets(4), tmp_path)

    def test_selective_stands_around_it(self):
        labels = torch.arange(12) % 50
        batch = Batch(torch.zeros(12, 1), labels, domain=["photo", "sketch"] * 6)
        compiled, plain = tl.Selective(tl.Compiled(tl.SoftTargets(4))), tl.SoftTargets(4)
        assert [term.name for term in compiled.terms()] == ["soft_targets"]
        compiled.heed({"lead/photo": 0.5})
        values, expected = (learn(each, batch=batch)[0] for each in (compiled, plain))
        torch.testing.assert_close(values, expected * torch.tensor([0.0, 1.0] * 6))


def test_in_a_loop_that_is_compiled_it_is_a_part_of_that():
    teacher, student = nn.Linear(6, 5), nn.Linear(6, 5)
    soft = tl.SoftTargets(Linear(4, 2))
    found = []
    for objective in (soft, tl.Compiled(soft)):
        distiller = tl.Distiller(student, teacher, tl.HardLabels() + objective)
        loop = torch.compile(distiller, backend="aot_eager")
        for step in range(3):
            batch = Batch(normal(5, 8, 6), torch.arange(8) % 5, progress=step / 3)
            found.append(loop(batch).total)
    torch.testing.assert_close(found[:3], found[3:])


@pytest.mark.parametrize("rows", [1, 0])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_few_rows_and_other_numbers(rows, dtype):
    labels = torch.arange(rows, dtype=torch.uint8)
    batch = Batch(torch.zeros(rows, 1), labels)
    student, teacher = normal(0, rows, 9).to(dtype), Signals(normal(1, rows, 9).to(dtype))
    for plain in (tl.SoftTargets(4), tl.DKD()):
        values = [each(Signals(student), teacher, batch) for each in (tl.Compiled(plain), plain)]
        torch.testing.assert_close(*values)


class TestRefusals:
    @pytest.mark.parametrize("objective", [tl.HardLabels() + tl.SoftTargets(4), 4, tl.SoftTargets])
    def test_a_sum_and_what_is_no_objective(self, objective):
        with pytest.raises(ArgumentError, match=r"one Objective.*0\.9 \* tl\.Compiled\(tl\.Soft"):
            tl.Compiled(objective)

    @pytest.mark.parametrize("kind", [tl.Selective, tl.Compiled])
    def test_what_stands_around_another(self, kind):
        with pytest.raises(ArgumentError, match=r"nothing around it.*Selective\(tl\.Compiled\("):
            tl.Compiled(kind(tl.SoftTargets(4)))

    def test_what_changes_its_buffers(self):
        """PyTorch 2.13 takes the gradient from the memory as it is after the change."""
        compiled = tl.Compiled(tl.CRD(memory=4, dim=5))
        compiled.build(Signals(normal(0, 12, 50)), Signals(normal(1, 12, 50)))
        with pytest.raises(ArgumentError, match="must leave its buffers as they are, got Contras"):
            learn(compiled)
        same(compiled.eval(), compiled.objective)

    def test_an_objective_that_is_compiled_in_place(self):
        objective = tl.SoftTargets(4)
        objective.compile()
        data = TensorDataset(normal(3, 8, 6), torch.arange(8) % 5)
        train = partial(tl.distill, nn.Linear(6, 5), nn.Linear(6, 5), train=data, engine=QUIET)
        for asked in (
            {"objective": tl.HardLabels() + objective, "epochs": 1},
            {"stages": [tl.Stage(objective, epochs=1)]},
        ):
            with pytest.raises(ArgumentError, match=r"compiled in place.*write tl\.Compiled\("):
                train(**asked)

    @config.patch({"cpp.cxx": (None, "no-such-compiler")})
    def test_without_a_compiler_it_says_what_is_needed(self, tmp_path, monkeypatch):
        monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
        with pytest.raises(ArgumentError, match=r"failed on Standardized.*, such as g\+\+"):
            learn(tl.Compiled(tl.LogitStandardization(4.5)), rows=13)

    def test_errors_of_the_objective_are_its_own(self):
        compiled = tl.Compiled(tl.SoftTargets(4))
        with pytest.raises(tl.ModelError, match="same number of classes, got 3"):
            compiled(
                Signals(torch.zeros(2, 3)), Signals(torch.zeros(2, 4)), Batch(torch.zeros(2, 1))
            )


WRONG = """
import torch, tutelage as tl
from tutelage.coarse import CoarseLogits
from tutelage.signals import Batch, Signals

student, labels = torch.randn(300, 1000, requires_grad=True), torch.arange(300)
batch = Batch(student.detach(), labels)
ids, rest = labels.unsqueeze(1).clone(), torch.zeros(300)
cases = [
    (tl.Compiled(tl.HardLabels()), Signals(), labels),
    (tl.Compiled(tl.DKD()), Signals(torch.randn(300, 1000)), labels),
    (tl.Compiled(tl.SoftTargets(2)), Signals(CoarseLogits(ids, torch.zeros(300, 1), rest)), ids),
]
for compiled, teacher, values in cases:
    compiled(Signals(student), teacher, batch).sum().backward()
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
        [sys.executable, "-c", WRONG], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    said = [line.partition(", got [1000]")[0] for line in done.stdout.splitlines()]
    of_labels = "labels must lie from 0 to 999 (or be -100: no label)"
    assert said == [of_labels, of_labels, "the teacher's classes must be the student's, 0 to 999"]
