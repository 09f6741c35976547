"""Probabilities of spans: ALM's formula."""

import math
from decimal import Decimal, getcontext

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tutelage.errors import ArgumentError
from tutelage.objectives import ALM, alm

getcontext().prec = 80
LOGS = st.floats(-40, -1e-5)
TEMPERATURES = st.sampled_from([0.5, 1.0, 3.0, 100.0])


def log(*values):
    return torch.tensor(values, dtype=torch.float64).log()


def test_by_hand():
    found = alm(log(0.25, 0.5), log(0.5, 0.5), temperature=1.0)
    torch.testing.assert_close(found, torch.tensor([0.5 * math.log(4 / 3), 0.0]).double())
    half = alm(log(0.0625), log(0.25), temperature=2.0)  # √0.0625 = 0.25, √0.25 = 0.5
    torch.testing.assert_close(half, torch.tensor([0.5 * math.log(4 / 3)]).double())


@given(student=LOGS, teacher=LOGS, temperature=TEMPERATURES)
def test_is_the_divergence_of_two_coins(student, teacher, temperature):
    q, p = ((Decimal(each) / Decimal(temperature)).exp() for each in (student, teacher))
    expected = p * (p / q).ln() + (1 - p) * ((1 - p) / (1 - q)).ln()
    log_q, log_p = torch.tensor([[student], [teacher]], dtype=torch.float64)
    found = float(alm(log_q, log_p, temperature))
    assert found == pytest.approx(float(expected), rel=1e-9, abs=1e-13)


def test_tends_to_a_comparison_of_log_probabilities():
    log_q, log_p = torch.tensor([-0.3, -7.0, -2.0]).double(), torch.tensor([-4.0, -5.0, -2.0])
    x, y = -log_p.double(), -log_q
    limit = x * (x / y).log() - x + y
    for temperature, close in ((1e3, 1e-2), (1e5, 1e-4)):
        torch.testing.assert_close(
            alm(log_q, log_p.double(), temperature) * temperature, limit, rtol=close, atol=close
        )


def test_is_at_most_the_divergence_of_all_that_may_follow():
    student, teacher = torch.randn(2, 50, 6, generator=torch.Generator().manual_seed(0)) * 3
    log_q, log_p = student.double().log_softmax(1), teacher.double().log_softmax(1)
    whole = (log_p.exp() * (log_p - log_q)).sum(1)
    for column in range(6):
        assert (alm(log_q[:, column], log_p[:, column], 1.0) <= whole + 1e-12).all()


def test_gradient():
    log_q = torch.tensor([-0.1, -1.0, -9.0], dtype=torch.float64, requires_grad=True)
    log_p = torch.tensor([-2.0, -0.01, -9.0]).double()
    for temperature in (1.0, 100.0):
        assert torch.autograd.gradcheck(lambda x, t=temperature: alm(x, log_p, t), log_q)
    [slope] = torch.autograd.grad(alm(log_q, log_p, 1.0).sum(), log_q)
    p, q = log_p.exp(), log_q.detach().exp()
    torch.testing.assert_close(slope, (q - p) / (1 - q))  # by hand


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
def test_certain_and_impossible_spans_have_finite_gradients(dtype):
    certain = -torch.finfo(dtype).tiny
    values = torch.tensor([0.0, certain, -1e-3, -0.5, -80.0, -1e4])
    log_q, log_p = torch.meshgrid(values.to(dtype), values.to(dtype), indexing="ij")
    log_p = torch.cat([log_p, torch.full_like(log_p[:, :1], -torch.inf)], dim=1)
    log_q = log_q[:, :1].expand_as(log_p).clone().requires_grad_()
    for temperature in (1.0, 100.0):
        found = alm(log_q, log_p, temperature)
        assert found.isfinite().all()
        [slope] = torch.autograd.grad(found.sum(), log_q)
        assert slope.isfinite().all()


def test_settings():
    assert repr(ALM()) == "ALM(temperature=100)"
    assert not ALM().wants.labels
    with pytest.raises(ArgumentError, match="temperature"):
        ALM(0)
