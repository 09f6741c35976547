import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tutelage.distiller import Distiller
from tutelage.objectives import (
    HardLabels,
    LabelRegression,
    Objective,
    OutputRegression,
    SoftTargets,
)
from tutelage.schedules import Linear
from tutelage.signals import Batch, Signals
from tutelage.teachers import Predictor, Teacher
from tutelage.wants import OUTPUT, Wants

X = torch.randn(8, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
Y = torch.tensor([0, -100, 2, 1, -100, -100, 2, 0])
BOTH = 0.1 * HardLabels() + 0.9 * SoftTargets(4)


class Counting(nn.Module):
    """A linear model that counts its calls."""

    def __init__(self, outputs=3):
        super().__init__()
        self.layer, self.calls = nn.Linear(5, outputs).double(), 0

    def forward(self, inputs):
        self.calls += 1
        return self.layer(inputs)


def pair(outputs=3):
    torch.manual_seed(5)
    return Counting(outputs), Counting(outputs)


def cross_entropy(logits, labels):
    known = labels != -100
    return F.cross_entropy(logits[known], labels[known])


def divergence(student, teacher, temperature):
    return temperature**2 * F.kl_div(
        (student / temperature).log_softmax(dim=1),
        (teacher / temperature).softmax(dim=1),
        reduction="batchmean",
    )


def test_a_partly_labelled_batch_averages_labels_over_the_labelled_and_targets_over_all():
    student, teacher = pair()
    losses = Distiller(student, teacher, BOTH)(Batch(X, Y))
    logits, targets = student.layer(X), teacher.layer(X).detach()
    hard, soft = cross_entropy(logits, Y), divergence(logits, targets, 4.0)
    torch.testing.assert_close(losses.parts["hard_labels"], hard.detach())
    torch.testing.assert_close(losses.parts["soft_targets"], soft.detach())
    torch.testing.assert_close(losses.total, 0.1 * hard + 0.9 * soft)
    expected = torch.autograd.grad(0.1 * hard + 0.9 * soft, student.layer.weight)
    torch.testing.assert_close(torch.autograd.grad(losses.total, student.layer.weight), expected)


def test_a_partly_known_regression_averages_over_examples_with_a_value():
    student, teacher = pair(outputs=1)
    labels = torch.where(Y == -100, torch.nan, Y.double())
    objective = LabelRegression() + 2 * OutputRegression()
    losses = Distiller(student, teacher, objective)(Batch(X, labels))
    output, known = student.layer(X)[:, 0], Y != -100
    expected = F.mse_loss(output[known], Y[known].double()) + 2 * F.mse_loss(
        output, teacher.layer(X)[:, 0]
    )
    torch.testing.assert_close(losses.total, expected)


def test_t_squared_is_on_the_gradient_whatever_the_other_weights():
    student, teacher = pair()
    expected = torch.autograd.grad(
        divergence(student.layer(X), teacher.layer(X).detach(), 4.0), student.layer.weight
    )
    for objective in (SoftTargets(4), SoftTargets(4) + 0 * HardLabels()):
        total = Distiller(student, teacher, objective)(Batch(X, Y)).total
        torch.testing.assert_close(torch.autograd.grad(total, student.layer.weight), expected)


def test_a_batch_without_any_label_costs_nothing_on_labels():
    student, teacher = pair()
    losses = Distiller(student, teacher, BOTH)(Batch(X, torch.full((8,), -100)))
    assert losses.parts["hard_labels"] == 0
    torch.testing.assert_close(
        losses.total, 0.9 * divergence(student.layer(X), teacher.layer(X), 4)
    )


def test_two_halves_with_the_counts_of_the_whole_add_up_to_the_whole():
    student, teacher = pair()
    distiller = Distiller(student, teacher, BOTH)
    whole = Batch(X, Y)
    counts = distiller.counts(whole)
    assert counts.tolist() == [5.0, 8.0]
    expected = distiller(whole).total
    # One piece without any label, pieces of unequal length.
    pieces = [distiller(part, counts) for part in (whole[:1], whole[1:2], whole[2:])]
    total = sum(piece.total for piece in pieces)
    torch.testing.assert_close(total, expected)
    torch.testing.assert_close(
        torch.autograd.grad(total, student.layer.weight),
        torch.autograd.grad(expected, student.layer.weight),
    )


def test_copies_of_a_batch_count_once_over_all_processes():
    student, teacher = pair()
    distiller = Distiller(student, teacher, BOTH)
    whole = distiller(Batch(X[:2], Y[:2])).total
    # Three processes hold the same two examples.
    copy_of_three = Batch(X[:2], Y[:2], replicas=3)
    counts = sum(distiller.counts(copy_of_three) for _ in range(3))
    assert counts.tolist() == [1.0, 2.0]
    torch.testing.assert_close(
        sum(distiller(copy_of_three, counts).total for _ in range(3)), whole, rtol=1e-6, atol=0
    )


def test_what_an_objective_says_of_uncounted_examples_does_not_count():
    class Careless(HardLabels):
        def forward(self, student, teacher, batch):
            return torch.where(batch.labels == -100, torch.nan, 1.0)

    assert Distiller(Counting(), None, Careless())(Batch(X, Y)).total == 1.0


def test_counts_say_how_many_examples_each_term_averages_over():
    distiller = Distiller(*pair(), SoftTargets() + HardLabels() + SoftTargets(1))
    assert distiller.counts(Batch(X, Y)).tolist() == [8.0, 5.0, 8.0]
    assert distiller.counts(Batch(X, torch.full((8,), -100))).tolist() == [8.0, 0.0, 8.0]


def test_parts_are_unweighted_detached_and_named_by_term():
    student, teacher = pair()
    losses = Distiller(student, teacher, 100 * SoftTargets(2) + 0 * SoftTargets(1))(Batch(X))
    logits, targets = student.layer(X).detach(), teacher.layer(X).detach()
    assert list(losses.parts) == ["soft_targets", "soft_targets_2"]
    torch.testing.assert_close(losses.parts["soft_targets"], divergence(logits, targets, 2.0))
    torch.testing.assert_close(losses.parts["soft_targets_2"], divergence(logits, targets, 1.0))
    assert not any(part.requires_grad for part in losses.parts.values())
    assert losses.total.requires_grad


def test_what_both_sides_said_comes_with_the_losses():
    student, teacher = pair()
    losses = Distiller(student, teacher, SoftTargets())(Batch(X))
    torch.testing.assert_close(losses.student.output, student.layer(X))
    torch.testing.assert_close(losses.teacher.output, teacher.layer(X).detach())


def test_weights_and_temperature_follow_the_progress_of_the_batch():
    student, teacher = pair()
    distiller = Distiller(student, teacher, Linear(0, 1) * SoftTargets(Linear(8, 2)))
    for progress, weight, temperature in ((0.0, 0.0, 8.0), (0.5, 0.5, 5.0), (1.0, 1.0, 2.0)):
        expected = weight * divergence(student.layer(X), teacher.layer(X), temperature)
        torch.testing.assert_close(distiller(Batch(X, progress=progress)).total, expected)


def test_the_first_module_is_the_student_and_the_second_the_teacher():
    student, teacher = pair()
    Distiller(student, teacher, SoftTargets())(Batch(X)).total.backward()
    assert student.layer.weight.grad is not None
    assert teacher.layer.weight.grad is None


class TestTheTeacherIsApart:
    def distiller(self):
        teacher = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 3))
        return Distiller(
            nn.Sequential(nn.Linear(5, 3), nn.Dropout()), teacher, SoftTargets()
        ), teacher

    def test_it_is_in_neither_state_dict_nor_parameters_nor_modules(self):
        distiller, teacher = self.distiller()
        assert sorted(distiller.state_dict()) == ["student.0.bias", "student.0.weight"]
        assert {id(each) for each in distiller.parameters()} == {
            id(each) for each in distiller.student.parameters()
        }
        assert teacher not in list(distiller.modules())

    @pytest.mark.parametrize("mode", [True, False])
    def test_train_and_eval_do_not_reach_it(self, mode):
        distiller, teacher = self.distiller()
        teacher.train(mode)
        distiller.train(not mode)
        assert {part.training for part in teacher.modules()} == {mode}

    def test_asking_it_leaves_the_students_mode_and_its_own_alone(self):
        distiller, teacher = self.distiller()
        distiller.train()
        before = copy.deepcopy(teacher.state_dict())
        first, second = (distiller(Batch(X.float())) for _ in range(2))
        assert all(part.training for part in distiller.modules())
        assert all(part.training for part in teacher.modules())
        assert all(torch.equal(before[name], each) for name, each in teacher.state_dict().items())
        # Dropout is off in the teacher and on in the student.
        assert torch.equal(first.teacher.output, second.teacher.output)
        assert not torch.equal(first.student.output, second.student.output)

    def test_the_student_stays_in_eval_mode_too(self):
        distiller, _ = self.distiller()
        distiller.eval()
        distiller(Batch(X.float()))
        assert not any(part.training for part in distiller.modules())

    def test_moving_the_distiller_does_not_move_it(self):
        distiller, teacher = self.distiller()
        distiller.double()
        assert {each.dtype for each in teacher.parameters()} == {torch.float32}

    def test_its_parameters_keep_their_requires_grad(self):
        distiller, teacher = self.distiller()
        distiller(Batch(X.float())).total.backward()
        assert all(each.requires_grad and each.grad is None for each in teacher.parameters())


class TestTheTeacherRunsOnlyWhenAsked:
    def test_once_per_batch_however_many_terms_read_it(self):
        student, teacher = pair()
        Distiller(student, teacher, SoftTargets(1) + SoftTargets(4) + BOTH)(Batch(X, Y))
        assert (student.calls, teacher.calls) == (1, 1)

    def test_not_at_all_when_nothing_is_wanted_of_it(self):
        student, teacher = pair()
        losses = Distiller(student, teacher, HardLabels())(Batch(X, Y))
        assert teacher.calls == 0
        assert losses.teacher.output is None

    def test_a_teacher_of_ones_own_is_not_asked_either(self):
        class Silent(Teacher):
            def signals(self, batch, fields):
                raise AssertionError

            def fingerprint(self):
                return "silent"

        Distiller(Counting(), Silent(), HardLabels())(Batch(X, Y))

    def test_there_may_be_none_then(self):
        student, _ = pair()
        losses = Distiller(student, None, HardLabels())(Batch(X, Y))
        torch.testing.assert_close(losses.total, cross_entropy(student.layer(X), Y))


def test_two_distillers_in_one_process_do_not_touch_each_other():
    student, teacher = pair()
    first = Distiller(student, teacher, BOTH)
    alone = first(Batch(X, Y))
    other_student, other_teacher = Counting(2), Counting(2)
    second = Distiller(other_student, other_teacher, SoftTargets(1))
    second(Batch(X)).total.backward()
    again = first(Batch(X, Y))
    assert torch.equal(again.total, alone.total)
    assert list(again.parts) == ["hard_labels", "soft_targets"]
    assert student.layer.weight.grad is None
    assert teacher.calls == 2
    assert other_teacher.calls == 1
    assert first.teacher.module is teacher


def test_one_teacher_and_one_objective_may_serve_two_students():
    student, teacher = pair()
    other = Counting()
    totals = [Distiller(each, teacher, BOTH)(Batch(X, Y)).total for each in (student, other)]
    for each, total in zip((student, other), totals, strict=True):
        logits = each.layer(X)
        expected = 0.1 * cross_entropy(logits, Y) + 0.9 * divergence(logits, teacher.layer(X), 4)
        torch.testing.assert_close(total, expected)


def test_parameters_of_the_objective_are_trained_with_the_students():
    class Projected(Objective):
        wants = Wants(OUTPUT, OUTPUT)

        def __init__(self):
            super().__init__()
            self.projector = nn.Linear(3, 2).double()

        def forward(self, student, teacher, batch):
            difference = self.projector(student.logits) - teacher.logits
            return difference.square().mean(dim=1)

    distiller = Distiller(Counting(3), Counting(2), 0.5 * Projected())
    distiller(Batch(X)).total.backward()
    assert all(each.grad is not None for each in distiller.parameters())
    assert len(list(distiller.parameters())) == 4


def test_a_plain_training_loop_learns_the_teacher():
    student, teacher = pair()
    distiller = Distiller(student, teacher, SoftTargets(2))
    optimizer = torch.optim.SGD(distiller.parameters(), lr=0.5)
    first = distiller(Batch(X)).total.item()
    for _ in range(100):
        loss = distiller(Batch(X)).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert distiller(Batch(X)).total.item() < 0.01 * first


def test_a_function_of_arrays_can_teach():
    student, _ = pair(outputs=1)
    teacher = Predictor(lambda inputs: inputs.sum(axis=1))
    losses = Distiller(student, teacher, OutputRegression())(Batch(X))
    expected = F.mse_loss(student.layer(X)[:, 0], X.sum(dim=1))
    torch.testing.assert_close(losses.total, expected, rtol=1e-5, atol=1e-6)


def test_a_teacher_of_ones_own_is_asked_for_what_is_wanted():
    class Own(Teacher):
        asked = ()

        def signals(self, batch, fields):
            self.asked = (*self.asked, fields)
            return Signals(torch.zeros(len(batch), 3, dtype=torch.float64))

        def fingerprint(self):
            return "own"

    student, _ = pair()
    teacher = Own()
    Distiller(student, teacher, SoftTargets())(Batch(X))
    [asked] = teacher.asked
    assert replace(asked, head_from=None) == OUTPUT
