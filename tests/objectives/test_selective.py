"""Learning from the teacher only where it does better on validation data."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import tutelage as tl
from objective_samples import Sample
from tutelage.coarse import CoarseLogits
from tutelage.errors import ArgumentError, DataError, ModelError
from tutelage.objectives import Selective, SoftTargets, by_class, soft_targets, with_feedback
from tutelage.signals import Batch, Signals

SAMPLES = [
    Sample(
        Selective(SoftTargets(3)),
        lambda z, v, _: soft_targets(z, v, 3.0),
        "Selective(SoftTargets(temperature=3), by=by_domain)",
    ),
]

NAMES = ["photo", "sketch", "photo", "sketch"]
LABELS = torch.tensor([0, 1, 2, 1])
X = torch.zeros(4, 2)


def normal(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def naming(*classes):
    """Logits of three classes whose likeliest ones these are."""
    return Signals(5 * nn.functional.one_hot(torch.tensor(classes), 3).float())


def batch(**more):
    return Batch(X, **{"labels": LABELS, "domain": NAMES, **more})


class TestTheGate:
    def test_the_lead_is_the_difference_of_accuracies_in_each_group(self):
        student, teacher = naming(0, 1, 2, 0), naming(0, 1, 1, 1)
        soft = tl.Selective(tl.SoftTargets())
        assert soft.validation_metrics(student, teacher, batch()) == {
            "lead/photo": 0.5,
            "lead/sketch": -0.5,
        }
        by = tl.Selective(tl.SoftTargets(), by=by_class)
        leads = {"lead/class 0": 0.0, "lead/class 1": -0.5, "lead/class 2": 1.0}
        assert by.validation_metrics(student, teacher, batch()) == leads

    def test_of_values_it_is_the_difference_of_squared_errors(self):
        student, teacher = (
            Signals(torch.tensor([[1.0], [3.0]])),
            Signals(torch.tensor([[2.0], [1]])),
        )
        values = Batch(X[:2], torch.tensor([0.0, 1.0]), domain=["a", "b"])
        leads = tl.Selective(tl.OutputRegression()).validation_metrics(student, teacher, values)
        assert leads == {"lead/a": 4 - 1, "lead/b": 0 - 4}

    def test_unlabelled_examples_and_examples_of_no_group_are_ignored(self):
        labels = torch.tensor([0, 1, -100, -100])
        student, teacher = naming(0, 0, 0, 0), naming(1, 1, 1, 1)
        both = tl.Selective(tl.SoftTargets()).validation_metrics(
            student, teacher, batch(labels=labels)
        )
        assert both == {"lead/photo": 1.0, "lead/sketch": -1.0}
        unnamed = tl.Selective(tl.SoftTargets(), by=lambda held: [None] * len(held.labels))
        assert unnamed.validation_metrics(student, teacher, batch()) == {}

    def test_a_teacher_of_some_classes_is_wrong_where_it_predicts_the_other_class(self):
        ids, logits = torch.tensor([[0, 2]] * 4), torch.tensor([[3.0, 1]] * 2 + [[1, 3.0]] * 2)
        teacher = Signals(CoarseLogits(ids, logits, torch.tensor([0.0, 9, 0, 9])))
        leads = tl.Selective(tl.SoftTargets()).validation_metrics(
            naming(1, 1, 1, 1), teacher, batch()
        )
        assert leads == {"lead/photo": -1.0, "lead/sketch": 1.0}

    def test_a_closed_group_has_weight_0_and_no_other_weighs_more(self):
        student = normal(0, 4, 3).requires_grad_()
        teacher, soft = Signals(normal(1, 4, 3)), tl.Selective(tl.SoftTargets(2))
        plain = tl.SoftTargets(2)(Signals(student), teacher, batch())
        assert torch.equal(soft(Signals(student), teacher, batch()), plain)
        soft.update({"lead/photo": 0.1, "lead/sketch": 0.0, "accuracy": 0.7})
        values = soft(Signals(student), teacher, batch())
        assert torch.equal(values, plain * torch.tensor([0.0, 1, 0, 1]))
        distiller = tl.Distiller(torch.nn.Linear(3, 3), torch.nn.Linear(3, 3), soft)
        assert distiller.counts(batch()).tolist() == [4.0]  # the mean still runs over all
        [gradient] = torch.autograd.grad(values.sum(), student)
        assert gradient.abs().sum(dim=1).bool().tolist() == [False, True, False, True]

    def test_it_opens_again_and_what_is_not_known_is_open(self):
        soft = tl.Selective(tl.SoftTargets(2))
        soft.update({"lead/photo": 0.1})
        assert soft.closed == {"photo"}
        other = batch(domain=["painting"] * 4)
        assert soft(naming(0, 0, 0, 0), naming(1, 1, 1, 1), other).all()
        soft.update({"lead/photo": -0.1})
        assert soft.closed == frozenset()

    def test_its_state_is_in_the_state_dict(self):
        whole = tl.HardLabels() + 0.5 * tl.Selective(tl.SoftTargets())
        (adapting,) = with_feedback(whole)
        adapting.update({"lead/photo": 0.1})
        again = tl.HardLabels() + 0.5 * tl.Selective(tl.SoftTargets())
        again.load_state_dict(whole.state_dict())
        assert again.terms()[1].objective.closed == {"photo"}

    def test_parameters_of_the_inner_objective_are_trained(self):
        gaussian = tl.Selective(tl.FeatureMatch(), by=by_class)
        assert not gaussian.built
        gaussian.build(Signals(normal(0, 4, 3)), Signals(normal(1, 4, 5)))
        assert gaussian.built
        assert list(gaussian.parameters())

    def test_its_part_is_logged_under_the_objectives_name(self):
        assert [each.name for each in tl.Selective(tl.SoftTargets()).terms()] == ["soft_targets"]


class TestARun:
    """The teacher knows one domain, and is wrong in the other, where labels are learnt at once."""

    RULE = normal(5, 3, 4)

    def data(self, seed, rows=60):
        inputs = normal(seed, 2, rows, 4)
        mark = torch.tensor([1.0, -1.0]).reshape(2, 1, 1).expand(2, rows, 1)
        labels = (inputs @ self.RULE.T).argmax(dim=2)
        sets = [TensorDataset(torch.cat([inputs, mark], 2)[k], labels[k]) for k in range(2)]
        return tl.data.domains(dict(zip(("known", "strange"), sets, strict=True)))

    def teacher(self):
        """Right where the mark is 1; where it is −1 it names the least likely class."""

        class Half(nn.Module):
            def forward(self, inputs):
                return 9 * inputs[:, 4:] * (inputs[:, :4] @ TestARun.RULE.T)

        return Half()

    def student(self):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return nn.Linear(5, 3)

    def run(self, objective, student=None, **more):
        options = {"train": self.data(1), "val": self.data(2), "epochs": 4, "batch_size": 16}
        options["optimizer"] = partial(torch.optim.SGD, lr=0.2, momentum=0.9)
        whole = tl.HardLabels() + objective
        student = self.student() if student is None else student
        return tl.distill(self.teacher(), student, objective=whole, **options | more)

    def test_what_the_teacher_does_not_know_is_not_learnt_from_it(self):
        always = self.run(2 * tl.SoftTargets(1))
        selective = self.run(2 * tl.Selective(tl.SoftTargets(1)))
        last = selective.history[-1]
        assert selective.objective.terms()[1].objective.closed == {"strange"}
        assert last["val/accuracy/strange"] > always.history[-1]["val/accuracy/strange"] + 0.15
        teachers = last["val/accuracy/strange"] - last["val/lead/strange"]
        assert teachers == pytest.approx(0, abs=0.05)  # the least likely class is never right
        first = ("loss", "soft_targets")
        for name in first:  # as long as nothing is closed, it is the same run
            assert selective.history[0][f"train/{name}"] == always.history[0][f"train/{name}"]

    def test_a_resumed_run_keeps_the_closed_groups(self, tmp_path):
        objective = 2 * tl.Selective(tl.SoftTargets(1))
        whole = self.run(objective)

        broken, steps = self.student(), iter(range(20))  # it fails in the third epoch

        def fail(module, _):
            if module.training and next(steps, None) is None:
                raise OSError("the machine is on fire")

        broken.register_forward_pre_hook(fail)
        engine = tl.Engine(checkpoint_seconds=0)
        with pytest.raises(ModelError, match="the machine is on fire"):
            self.run(objective, student=broken, out=tmp_path, engine=engine)
        again = self.run(objective, out=tmp_path, engine=engine)
        for name, tensor in whole.student.state_dict().items():
            assert torch.equal(again.student.state_dict()[name], tensor)
        text = again.report(tmp_path / "selective.html").with_suffix(".md").read_text()
        assert text.count("### Where the student is ahead") == 1
        assert "### lead" not in text.lower()

    def test_without_validation_data_it_is_refused(self):
        with pytest.raises(ArgumentError, match="on validation data, got no `val`; give `val`"):
            self.run(tl.Selective(tl.SoftTargets()), val=None)

    def test_a_store_of_the_training_data_only_is_refused(self, tmp_path):
        train = self.data(1)
        store = tl.label(self.teacher(), train, out=tmp_path)
        objective = tl.Selective(tl.SoftTargets())
        with pytest.raises(ArgumentError, match=r"targets for `train` only; .*val_store"):
            tl.distill(
                store, self.student(), train=train, val=self.data(2), objective=objective, epochs=1
            )

    def test_specialists_of_some_classes_will_do(self):
        known = tl.teachers.Specialist(nn.Linear(5, 3), [0, 1])
        teachers = {"known": known, "strange": nn.Linear(5, 3)}
        run = tl.distill(
            teachers, self.student(), train=self.data(1), val=self.data(2), epochs=1,
            objective=tl.Selective(tl.SoftTargets()), batch_size=16,
        )  # fmt: skip
        assert {"val/lead/known", "val/lead/strange"} <= run.history[0].keys()

    def test_validation_data_without_labels_are_refused(self):
        inputs = tl.data.domains({"a": [{"input": each} for each in torch.randn(4, 5)]})
        with pytest.raises(DataError, match="learns from labels got a batch without any"):
            tl.distill(
                nn.Linear(5, 3), self.student(), train=inputs, val=inputs, epochs=1,
                objective=tl.Selective(tl.SoftTargets()),
            )  # fmt: skip


SUM = tl.RowMean(tl.HardLabels() + tl.SoftTargets())


class TestBadInput:
    @pytest.mark.parametrize("wrong", [2 * tl.SoftTargets(), tl.SoftTargets, None, SUM])
    def test_a_sum_is_refused(self, wrong):
        with pytest.raises(ArgumentError, match="must be one Objective, without a weight"):
            tl.Selective(wrong)

    def test_what_learns_from_labels_is_refused(self):
        with pytest.raises(ArgumentError, match="must learn from the teacher"):
            tl.Selective(tl.HardLabels())

    def test_groups_come_from_a_function(self):
        with pytest.raises(ArgumentError, match="`by` must be a function"):
            tl.Selective(tl.SoftTargets(), by="domain")

    def test_values_need_labels_of_their_shape(self):
        with pytest.raises(DataError, match="of the outputs' shape"):
            tl.Selective(tl.OutputRegression()).validation_metrics(
                Signals(X), Signals(X), batch(labels=torch.zeros(4))
            )

    @pytest.mark.parametrize("groups", [3, None, ["a"], "four"])
    def test_groups_are_one_for_each_example(self, groups):
        with pytest.raises(DataError, match=r"`by` must return a list of one group for each of"):
            tl.Selective(tl.SoftTargets(), by=lambda _: groups).validation_metrics(
                Signals(X), Signals(X), batch()
            )
