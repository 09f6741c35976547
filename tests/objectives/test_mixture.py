"""Mixed examples: the weights of both labels, and objectives that cannot read two."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

import tutelage as tl
from tutelage.distiller import Distiller
from tutelage.errors import DataError
from tutelage.objectives import Objective
from tutelage.signals import Batch, Mixture, Signals
from tutelage.wants import OUTPUT, Wants

LOGITS = torch.randn(6, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
OWN, OTHER = torch.tensor([0, 1, 2, 3, 0, 1]), torch.tensor([3, 3, 1, 0, 0, 2])
SHARES = st.lists(st.floats(0, 1), min_size=6, max_size=6)


def batch(fraction, own=OWN, other=OTHER):
    mixture = Mixture(other, torch.as_tensor(fraction, dtype=torch.float64))
    return Batch(torch.zeros(6, 2), own, mixture=mixture)


def loss(mixed, objective=None):
    return (objective or tl.HardLabels())(Signals(LOGITS), Signals(), mixed)


def test_by_hand():
    """Two classes, logits ln 3 apart: −ln(3/4) for its own class, −ln(1/4) for the partner's."""
    logits = torch.tensor([[3.0, 1.0]]).log()
    mixed = Batch(torch.zeros(1, 1), torch.tensor([0]))
    mixed = replace(mixed, mixture=Mixture(torch.tensor([1]), torch.tensor([0.75])))
    value = tl.HardLabels()(Signals(logits), Signals(), mixed)
    expected = -0.75 * torch.tensor(0.75).log() - 0.25 * torch.tensor(0.25).log()
    torch.testing.assert_close(value, expected.reshape(1))


@given(SHARES, st.floats(0, 1))
def test_is_linear_in_the_fraction_and_the_loss_of_the_mixed_target(fraction, smoothing):
    objective, fraction = tl.HardLabels(smoothing), torch.tensor(fraction, dtype=torch.float64)
    ends = [loss(batch(torch.full((6,), end)), objective) for end in (1.0, 0.0)]
    found = loss(batch(fraction), objective)
    torch.testing.assert_close(found, fraction * ends[0] + (1 - fraction) * ends[1])
    one_hot = torch.nn.functional.one_hot(torch.stack([OWN, OTHER]), 4).double()
    target = fraction.unsqueeze(1) * one_hot[0] + (1 - fraction).unsqueeze(1) * one_hot[1]
    reference = cross_entropy(LOGITS, target, reduction="none", label_smoothing=smoothing)
    torch.testing.assert_close(found, reference)


def test_at_fraction_1_it_is_the_plain_loss_and_at_0_the_partners():
    torch.testing.assert_close(loss(batch([1.0] * 6)), loss(Batch(torch.zeros(6, 2), OWN)))
    torch.testing.assert_close(loss(batch([0.0] * 6)), loss(Batch(torch.zeros(6, 2), OTHER)))


def test_gradients_are_those_of_the_formula():
    fraction = torch.rand(6, dtype=torch.float64)
    logits = LOGITS.clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda z: tl.HardLabels()(Signals(z), Signals(), batch(fraction)), (logits,)
    )


def test_is_valid_where_both_labels_are_known():
    own = OWN.where(torch.tensor([True, False, True, False, True, False]), -100)
    other = OTHER.where(torch.tensor([True, True, False, False, False, True]), -100)
    mixed = batch([0.5, 0.5, 0.5, 0.5, 1.0, 0.0], own, other)
    assert mixed.labelled().tolist() == [True, False, False, False, True, True]
    assert Distiller(torch.nn.Linear(2, 4), None, tl.HardLabels()).counts(mixed).tolist() == [3.0]
    values = loss(mixed)
    assert (values[1:4] == 0).all()
    torch.testing.assert_close(values[4], cross_entropy(LOGITS[4], own[4]))
    torch.testing.assert_close(values[5], cross_entropy(LOGITS[5], other[5]))


def test_the_mean_runs_over_those():
    student = torch.nn.Linear(2, 4).double()
    own = OWN.where(torch.arange(6) > 2, -100)
    mixed = replace(batch([0.3] * 6, own), inputs=torch.randn(6, 2, dtype=torch.float64))
    total = Distiller(student, None, tl.HardLabels())(mixed).total
    logits = student(mixed.inputs)[3:]
    expected = 0.3 * cross_entropy(logits, OWN[3:]) + 0.7 * cross_entropy(logits, OTHER[3:])
    torch.testing.assert_close(total, expected)


@given(st.permutations(range(6)), st.integers(0, 5))
def test_stays_with_its_rows(order, first):
    mixed = batch(torch.linspace(0, 1, 6))
    rows = torch.tensor(order)
    torch.testing.assert_close(loss_of(mixed[rows], rows), loss(mixed)[rows])
    part = slice(first, None)
    torch.testing.assert_close(loss_of(mixed[part], part), loss(mixed)[part])
    again = mixed.to(torch.device("cpu"), progress=0.5)
    assert torch.equal(again.mixture.fraction, mixed.mixture.fraction)


def loss_of(mixed, rows):
    return tl.HardLabels()(Signals(LOGITS[rows]), Signals(), mixed)


class Own(Objective):
    """A user's objective that reads one label for each example."""

    wants = Wants(student=OUTPUT, labels=True)

    def forward(self, student, teacher, batch):
        return cross_entropy(student.logits, batch.labels, reduction="none")


@pytest.mark.parametrize(
    "objective",
    [
        tl.DKD(),
        tl.NKD(),
        tl.OFA(),
        tl.LabelRegression(),
        tl.BoundedRegression(),
        Own(),
    ],
    ids=lambda each: type(each).__name__,
)
def test_who_reads_one_label_refuses_with_the_way_out(objective):
    distiller = Distiller(
        torch.nn.Linear(2, 4), torch.nn.Linear(2, 4), objective + tl.SoftTargets(2)
    )
    with pytest.raises(DataError, match=r"mixed examples.*HardLabels.*SoftTargets"):
        distiller(batch([0.5] * 6))


def test_who_reads_none_does_not_mind():
    distiller = Distiller(
        torch.nn.Linear(2, 4), torch.nn.Linear(2, 4), tl.HardLabels() + tl.SoftTargets(2)
    )
    assert distiller(batch([0.5] * 6)).total.isfinite()
