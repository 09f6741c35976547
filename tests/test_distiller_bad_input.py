"""What a distiller refuses, and how it says so."""

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import tutelage as tl
from tutelage.distiller import Distiller
from tutelage.errors import ArgumentError, DataError, ModelError
from tutelage.layers import Output
from tutelage.objectives import (
    HardLabels,
    LabelRegression,
    Objective,
    OutputRegression,
    SoftTargets,
)
from tutelage.signals import Batch, Signals
from tutelage.teachers import Teacher

X = torch.randn(8, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
Y = torch.tensor([0, -100, 2, 1, -100, -100, 2, 0])
BOTH = 0.1 * HardLabels() + 0.9 * SoftTargets(4)


def linear(outputs=3):
    return nn.Linear(5, outputs).double()


def pair(outputs=3):
    return linear(outputs), linear(outputs)


class TestBadInput:
    @pytest.mark.parametrize("call", ["forward", "build"])
    def test_the_batch_is_none(self, call):
        with pytest.raises(DataError, match=r"given a tl\.Batch, got tuple; write tl\.Batch\("):
            getattr(Distiller(*pair(), BOTH), call)((X, Y))

    def test_labels_are_missing(self):
        with pytest.raises(
            DataError, match=r"learns from labels and .* has none, got .*; yield .*Sof"
        ):
            Distiller(*pair(), BOTH)(Batch(X))

    def test_labels_are_out_of_range(self):
        with pytest.raises(DataError, match=r"labels must lie from 0 to 2 .*got \[3\]"):
            Distiller(*pair(), BOTH)(Batch(X, torch.where(Y == 2, 3, Y)))

    def test_labels_are_values_where_classes_are_due(self):
        with pytest.raises(DataError, match="integer class ids"):
            Distiller(*pair(), BOTH)(Batch(X, Y.double()))

    def test_labels_are_classes_where_values_are_due(self):
        with pytest.raises(DataError, match=r"floating numbers of shape \[8, 1\]"):
            Distiller(*pair(1), LabelRegression())(Batch(X, Y))

    def test_numbers_of_classes_differ(self):
        with pytest.raises(
            ModelError, match=r"classes, got 3 \(student\) and 4 \(teacher\); change"
        ):
            Distiller(linear(3), linear(4), SoftTargets())(Batch(X))

    @pytest.mark.parametrize("side", ["student", "teacher"])
    def test_a_side_refuses_its_inputs(self, side):
        wrong, right = nn.Linear(7, 3).double(), linear()
        sides = (wrong, right) if side == "student" else (right, wrong)
        with pytest.raises(
            ModelError, match=rf"the {side} \(Linear\) refused .*\[8, 5\]"
        ) as caught:
            Distiller(*sides, SoftTargets())(Batch(X))
        assert isinstance(caught.value.__cause__, RuntimeError)

    def test_the_objective_wants_a_teacher_and_there_is_none(self):
        with pytest.raises(ArgumentError, match=r"learns from a teacher, got none; give one"):
            Distiller(linear(), None, BOTH)

    @pytest.mark.parametrize("student", [None, "model.pt", len])
    def test_the_student_is_no_module(self, student):
        with pytest.raises(ModelError, match=r"`student` must be a torch\.nn\.Module, got"):
            Distiller(student, linear(), BOTH)

    @pytest.mark.parametrize("objective", [None, "kd", nn.MSELoss(), [SoftTargets()], SoftTargets])
    def test_the_objective_is_none(self, objective):
        with pytest.raises(
            ArgumentError, match=r"`objective` must be an Objective, got .*for inst"
        ):
            Distiller(linear(), linear(), objective)

    def test_the_teacher_is_none(self):
        with pytest.raises(ModelError, match="`teacher` must be"):
            Distiller(linear(), len, BOTH)


class TestProbabilities:
    """A softmax of probabilities is nearly even, whatever they are."""

    @pytest.mark.parametrize("side", ["student", "teacher"])
    def test_they_are_no_logits(self, side):
        student, teacher = pair()
        both = {"student": student, "teacher": teacher}
        both[side] = nn.Sequential(both[side], nn.Softmax(dim=1))
        distiller = Distiller(both["student"], both["teacher"], SoftTargets(2))
        with pytest.raises(ModelError, match=rf"the {side} must return logits of its classes, got"):
            distiller(Batch(X))

    def test_their_logarithms_are(self):
        student, teacher = (nn.Sequential(each, nn.Softmax(dim=1)) for each in pair())
        student, teacher = (Output(each, torch.log) for each in (student, teacher))
        assert Distiller(student, teacher, SoftTargets(2))(Batch(X)).total > 0

    def test_values_may_sum_to_one(self):
        student, teacher = (nn.Sequential(each, nn.Softmax(dim=1)) for each in pair())
        assert Distiller(student, teacher, OutputRegression())(Batch(X)).total > 0


def test_shared_statistics_that_training_changes():
    """Without parameters no gradient reaches them, but each batch of the student does."""
    shared = nn.BatchNorm1d(5, affine=False).double()
    student, teacher = (nn.Sequential(shared, each) for each in pair())
    distiller = Distiller(student, teacher, SoftTargets(2)).train()
    with pytest.raises(ModelError, match=r"share statistics .* one of \['0'\] in both"):
        distiller(Batch(X))
    frozen = nn.BatchNorm1d(5).double().requires_grad_(False)
    student, teacher = (nn.Sequential(frozen, each) for each in pair())
    distiller = Distiller(student, teacher, SoftTargets(2)).train()
    distiller(Batch(X))
    assert frozen.num_batches_tracked == 0


class Counts(nn.Module):
    """A buffer without parameters, which every call in training mode moves."""

    def __init__(self, moves=True):
        super().__init__()
        self.moves = moves
        self.register_buffer("mean", torch.zeros(5).double())

    def forward(self, x):
        if self.training and self.moves:
            self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(dim=0)
        return x - self.mean


def test_a_shared_module_whose_buffers_move():
    for shared in (Counts(), Counts(moves=False)):
        student, teacher = (nn.Sequential(shared, each) for each in pair())
        distiller = Distiller(student, teacher, SoftTargets(2)).train()
        if shared.moves:
            with pytest.raises(ModelError, match="must not share statistics"):
                distiller(Batch(X))
        else:
            assert distiller(Batch(X)).total > 0


class InPlace(Teacher):
    """A teacher that changes what it is given."""

    def signals(self, batch, fields):
        return Signals(batch.inputs.mul_(2)[:, :3])

    def fingerprint(self):
        return ""


def test_a_teacher_that_changes_its_inputs():
    student, _ = pair()
    with pytest.raises(ModelError, match=r"teacher \(InPlace\) must leave the inputs"):
        Distiller(student, InPlace(), SoftTargets(2)).train()(Batch(X.clone()))


class Centred(SoftTargets):
    """An objective that changes what other terms read."""

    def forward(self, student, teacher=None, batch=None):
        teacher.output.sub_(teacher.output.mean(dim=1, keepdim=True))
        return super().forward(student, teacher, batch)


def test_an_objective_that_changes_the_outputs():
    both = pair()
    with pytest.raises(ArgumentError, match=r"Centred\(.*must leave outputs and features"):
        Distiller(*both, Centred(2) + 0.5 * SoftTargets(2)).train()(Batch(X))


class OfTheTeacher(Objective):
    """An objective that uses the teacher's own last layer."""

    wants = SoftTargets.wants

    def __init__(self, head):
        super().__init__()
        self.head = head

    def forward(self, student, teacher, batch):
        return (student.logits - teacher.logits).square().sum(dim=1)


def test_a_layer_of_the_teacher_within_an_objective_is_not_trained():
    student, teacher = pair()
    layer = teacher[-1] if isinstance(teacher, nn.Sequential) else teacher
    with pytest.raises(ModelError, match="objective and teacher must not share what is trained"):
        Distiller(student, teacher, OfTheTeacher(layer))
    layer.requires_grad_(False)
    assert Distiller(student, teacher, OfTheTeacher(layer))(Batch(X)).total > 0


@pytest.mark.parametrize("stages", [False, True])
def test_nor_is_it_trained_in_a_run_which_copies_its_objectives(stages):
    student, teacher = nn.Linear(3, 2), nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    objective = OfTheTeacher(teacher[-1])
    given = {"objective": objective, "epochs": 1}
    given = {"stages": [tl.Stage(objective, epochs=1)]} if stages else given
    data = TensorDataset(torch.randn(8, 3))
    with pytest.raises(ModelError, match="objective and teacher must not share what is trained"):
        tl.distill(teacher, student, train=data, **given)
    teacher[-1].requires_grad_(False)
    before = teacher[-1].weight.clone()
    run = tl.distill(teacher, student, train=data, **given)
    kept = next(each for each in run.objective.modules() if isinstance(each, OfTheTeacher))
    assert torch.equal(kept.head.weight, before)


def test_a_term_of_weight_0_needs_no_gradient_and_no_labels():
    student = nn.Sequential(nn.Linear(5, 5), nn.Linear(5, 3)).double()
    student[0].requires_grad_(False)
    teacher = nn.Sequential(nn.Linear(5, 5), nn.Linear(5, 3)).double()
    match, batch = tl.FeatureMatch({"0": "0"}), Batch(X, torch.full((8,), -100))
    distiller = Distiller(student, teacher, match + SoftTargets(2)).train()
    distiller.build(batch)
    with pytest.raises(ModelError, match="each loss term must train the student"):
        distiller(batch)
    distiller = Distiller(student, teacher, 0 * match + 0 * HardLabels() + SoftTargets(2))
    distiller.build(batch)
    losses = distiller.train()(batch)
    assert losses.total.item() == pytest.approx(losses.parts["soft_targets"].item())
    distiller.check_learned(distiller.counts(batch).tolist())
