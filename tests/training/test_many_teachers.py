"""Several teachers and one student, end to end."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import tutelage as tl
from tutelage.errors import DataError, ModelError, NonFiniteError
from tutelage.objectives import soft_targets
from tutelage.teachers import Ensemble, Specialist, Specialists

DOMAINS, CLASSES, INPUTS = ("a", "b", "c"), 6, 4
SGD = partial(torch.optim.SGD, lr=0.1, momentum=0.9)


def normal(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def fixed(weight, bias=None):
    layer = nn.Linear(weight.shape[1], len(weight))
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(torch.zeros(len(weight)) if bias is None else bias)
    return layer


def student(hidden=64, columns=CLASSES):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(INPUTS + 3, hidden), nn.ReLU(), nn.Linear(hidden, columns))


RULES = {name: 4 * normal(seed, CLASSES, INPUTS) for seed, name in enumerate(DOMAINS)}
# A teacher does not look at the mark: elsewhere it is as sure as at home, and wrong.
TEACHERS = {
    name: fixed(torch.cat([rule, torch.zeros(CLASSES, 3)], 1)) for name, rule in RULES.items()
}
PARTS = {"a": [4, 0], "b": [1, 5], "c": [2, 3]}


class TestDomains:
    """In each domain other classes belong to the same inputs; a mark tells which domain it is."""

    def data(self, seed, rows=150):
        sets = {}
        for place, (name, rule) in enumerate(RULES.items()):
            inputs = normal(100 * seed + place, rows, INPUTS)
            mark = nn.functional.one_hot(torch.full((rows,), place), 3)
            labels = (inputs @ rule.T).argmax(dim=1)
            sets[name] = TensorDataset(torch.cat([inputs, mark], dim=1), labels)
        return tl.data.domains(sets)

    def distilled(self, teacher, **more):
        options = {"epochs": 25, "batch_size": 32, "optimizer": SGD, **more}
        return tl.distill(
            teacher, student(), train=self.data(1), val=self.data(2),
            objective=tl.SoftTargets(4.0), **options,
        )  # fmt: skip

    def test_routing_teaches_what_unrouted_averaging_does_not(self):
        routed = self.distilled(TEACHERS)
        averaged = self.distilled(list(TEACHERS.values()))
        score = {
            name: max(each["val/accuracy"] for each in run.history)
            for name, run in {"routed": routed, "averaged": averaged}.items()
        }
        assert score["routed"] > 0.8
        assert score["averaged"] < score["routed"] - 0.25
        # The teachers are all present in the average, and it still is a bad teacher.
        assert averaged.history[-1]["val/agreement"] > 0.8

    def test_a_run_goes_on_with_the_same_teachers_and_with_no_others(self, tmp_path):
        first = self.distilled(TEACHERS, epochs=1, out=tmp_path)
        again = self.distilled(TEACHERS, epochs=1, out=tmp_path)
        for one, other in zip(first.student.parameters(), again.student.parameters(), strict=True):
            assert torch.equal(one, other)
        swapped = dict(zip(DOMAINS, reversed(TEACHERS.values()), strict=True))
        with pytest.raises(tl.RunFolderError, match="teacher"):
            self.distilled(swapped, epochs=1, out=tmp_path)

    def test_offloaded_teachers_teach_the_same(self):
        runs = [
            self.distilled(Specialists(TEACHERS, offload=offload), epochs=2)
            for offload in (False, True)
        ]
        assert runs[0].history[-1]["train/loss"] == runs[1].history[-1]["train/loss"]

    def test_data_without_domains_is_refused_with_the_way_out(self):
        with pytest.raises(DataError, match=r"tl\.data\.domains"):
            tl.distill(
                TEACHERS, student(), train=TensorDataset(normal(0, 8, INPUTS + 3)),
                objective=tl.SoftTargets(), epochs=1,
            )  # fmt: skip


class TestClasses:
    """Specialists of two classes each, with a cell for the others; the student must know all."""

    CENTRES = 2 * normal(7, CLASSES, INPUTS + 3)
    # Of normal blobs of variance 1 these are the exact logits.
    WHOLE = fixed(CENTRES, -CENTRES.square().sum(dim=1) / 2)

    class Part(nn.Module):
        """Logits of some classes, and all others summed up."""

        def __init__(self, whole, part):
            super().__init__()
            self.whole, self.part = whole, part

        def forward(self, inputs):
            logits = self.whole(inputs)
            others = [each for each in range(CLASSES) if each not in self.part]
            rest = logits[:, others].logsumexp(dim=1, keepdim=True)
            return torch.cat([logits[:, self.part], rest], dim=1)

    class Restricted(tl.Objective):
        """The student's softmax over the teacher's classes alone."""

        wants = tl.SoftTargets().wants

        def forward(self, student, teacher, batch):
            known = teacher.targets
            return soft_targets(student.logits.gather(1, known.ids), known.logits, 1.0)

    def specialists(self):
        return {name: Specialist(self.Part(self.WHOLE, part), part) for name, part in PARTS.items()}

    def data(self, seed, rows=60):
        sets = {}
        for place, (name, part) in enumerate(PARTS.items()):
            labels = torch.tensor(part * (rows // 2))
            inputs = self.CENTRES[labels] + normal(100 * seed + place, rows, INPUTS + 3)
            sets[name] = TensorDataset(inputs, labels)
        return tl.data.domains(sets)

    def distilled(self, teacher, objective, epochs=15):
        return tl.distill(
            teacher, fixed(torch.zeros(CLASSES, INPUTS + 3)), train=self.data(1), val=self.data(2),
            objective=objective, epochs=epochs, batch_size=32, optimizer=SGD,
        )  # fmt: skip

    def best(self, teacher, objective):
        return max(each["val/accuracy"] for each in self.distilled(teacher, objective).history)

    def test_coarsened_targets_join_disjoint_classes_and_a_restricted_softmax_does_not(self):
        coarsened = self.best(self.specialists(), tl.SoftTargets(1.0))
        restricted = self.best(self.specialists(), self.Restricted())
        assert coarsened > 0.9
        assert restricted < coarsened - 0.2

    def test_figures_of_all_classes_are_left_out_and_all_else_is_there(self, tmp_path):
        run = self.distilled(self.specialists(), tl.SoftTargets(2.0), epochs=1)
        assert {"train/loss", "val/loss", "val/accuracy"} <= run.history[-1].keys()
        assert not any("agreement" in name for name in run.history[-1])
        assert run.report(tmp_path / "report.html").exists()

    def test_an_objective_that_needs_all_classes_is_refused(self):
        with pytest.raises(ModelError, match="outputs for all classes"):
            self.distilled(self.specialists(), tl.LogitRegression(), epochs=1)

    def test_a_teacher_that_says_nan_is_named(self):
        broken = fixed(torch.full((3, INPUTS + 3), torch.nan))
        with pytest.raises(NonFiniteError, match="teacher's output must be finite"):
            self.distilled({**self.specialists(), "c": Specialist(broken, [2, 3])},
                           tl.SoftTargets(), epochs=1)  # fmt: skip

    def test_an_answer_without_anything_left_over_is_finite(self):
        inside = {
            name: Specialist(nn.Linear(INPUTS + 3, 2), part, other_class=False)
            for name, part in PARTS.items()
        }
        assert self.distilled(inside, tl.SoftTargets(), epochs=1).history[-1]["train/loss"] > 0


def test_regression_teachers_are_averaged_and_routed():
    unlabelled = torch.full((64,), torch.nan)
    data = tl.data.domains(
        {name: TensorDataset(normal(seed, 64, 4), unlabelled) for seed, name in enumerate("ab")}
    )
    weights = normal(3, 3, 1, 4)
    near = Ensemble([fixed(weights[0] + 0.5), fixed(weights[0] - 0.5)])
    learner = fixed(torch.zeros(1, 4))
    tl.distill(
        {"a": near, "b": fixed(weights[0])}, learner, train=data, objective=tl.OutputRegression(),
        epochs=30, optimizer=SGD, batch_size=16,
    )  # fmt: skip
    torch.testing.assert_close(learner.weight, weights[0], rtol=0, atol=1e-3)
