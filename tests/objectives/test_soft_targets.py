from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import log_softmax

from objective_samples import Sample, gradient, logits
from tutelage.objectives import SoftTargets, logit_regression, soft_targets

SAMPLES = [
    Sample(SoftTargets(3), lambda z, v, _: soft_targets(z, v, 3.0), "SoftTargets(temperature=3)"),
]

LOGITS = arrays(np.float64, (3, 5), elements=st.floats(-20, 20))
TEMPERATURES = st.floats(0.5, 50)


def reference(student, teacher, temperature):
    log_q = log_softmax(student / temperature, axis=1)
    log_p = log_softmax(teacher / temperature, axis=1)
    return temperature**2 * (np.exp(log_p) * (log_p - log_q)).sum(axis=1)


def relative_error(temperature):
    """How far the gradient at a temperature is from that of its limit."""
    student, teacher = logits(rows=4096)
    limit = gradient(logit_regression(student, teacher), student)
    ours = gradient(soft_targets(student, teacher, temperature), student)
    return ((ours - limit).norm() / limit.norm()).item()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 20.0])
def test_gradient_of_the_unscaled_cross_entropy_is_q_minus_p_over_t(temperature):
    student, teacher = logits()
    p = torch.from_numpy(np.exp(log_softmax(teacher.numpy() / temperature, axis=1)))
    q = torch.from_numpy(np.exp(log_softmax(student.detach().numpy() / temperature, axis=1)))
    entropy = -(p * p.log()).sum(dim=1)
    cross_entropy = soft_targets(student, teacher, temperature) / temperature**2 + entropy
    expected = F.cross_entropy(student / temperature, p, reduction="none")
    torch.testing.assert_close(cross_entropy, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        gradient(cross_entropy, student), (q - p) / temperature, rtol=0, atol=1e-12
    )


@given(LOGITS, LOGITS, TEMPERATURES)
def test_gradient_is_t_times_q_minus_p(z, v, temperature):
    student = torch.from_numpy(z).requires_grad_()
    expected = temperature * (
        np.exp(log_softmax(z / temperature, axis=1)) - np.exp(log_softmax(v / temperature, axis=1))
    )
    ours = gradient(soft_targets(student, torch.from_numpy(v), temperature), student)
    np.testing.assert_allclose(ours.numpy(), expected, rtol=0, atol=1e-12 * max(temperature, 1))


def test_gradient_tends_to_that_of_logit_regression_as_the_temperature_grows():
    temperatures = (5.0, 10.0, 20.0, 50.0, 100.0, 1000.0)
    errors = [relative_error(temperature) for temperature in temperatures]
    assert all(later < earlier for earlier, later in pairwise(errors))
    for temperature, error in zip(temperatures, errors, strict=True):
        assert error == pytest.approx(2 / temperature, rel=0.25)


def test_a_temperature_of_twenty_is_not_the_limit():
    assert relative_error(10.0) == pytest.approx(0.19, abs=0.02)
    assert relative_error(20.0) > 0.08
    assert relative_error(100.0) == pytest.approx(0.02, abs=0.003)


def test_gradient_keeps_its_scale_as_the_temperature_grows():
    student, teacher = logits()
    norms = [
        gradient(soft_targets(student, teacher, temperature), student).norm().item()
        for temperature in (10.0, 100.0, 1000.0)
    ]
    # Without T² the norm would fall by 100 at each step.
    assert max(norms) / min(norms) < 1.5


def test_value_where_the_student_excludes_what_the_teacher_is_sure_of():
    student, teacher = torch.tensor([[1e4, -1e4, 0.0]]), torch.tensor([[-1e4, 1e4, 0.0]])
    assert soft_targets(student, teacher, 1.0).item() == pytest.approx(2e4, rel=0.01)


def test_value_by_hand():
    # T = 2: p = (e/(1+e), 1/(1+e)), q = (½, ½); KL = log 2 + Σ p log p.
    p = np.e / (1 + np.e)
    expected = 4 * (np.log(2) + p * np.log(p) + (1 - p) * np.log(1 - p))
    student, teacher = torch.zeros(1, 2).double(), torch.tensor([[2.0, 0.0]]).double()
    assert soft_targets(student, teacher, 2.0).item() == pytest.approx(expected, abs=1e-14)


@given(LOGITS, LOGITS, TEMPERATURES)
def test_equals_a_plain_numpy_reference(z, v, temperature):
    ours = soft_targets(torch.from_numpy(z), torch.from_numpy(v), temperature)
    np.testing.assert_allclose(ours.numpy(), reference(z, v, temperature), rtol=1e-9, atol=1e-9)


def test_is_plain_divergence_at_temperature_one():
    student, teacher = logits()
    expected = F.kl_div(student.log_softmax(dim=1), teacher.softmax(dim=1), reduction="none").sum(
        dim=1
    )
    torch.testing.assert_close(soft_targets(student, teacher, 1.0), expected)


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_divergence_is_summed_over_classes_and_not_divided_by_their_number(classes):
    student, teacher = logits(classes=classes)
    batchmean = F.kl_div(
        (student / 4).log_softmax(dim=1), (teacher / 4).softmax(dim=1), reduction="batchmean"
    )
    torch.testing.assert_close(soft_targets(student, teacher, 4.0).mean(), 16 * batchmean)


def test_first_argument_is_the_student():
    uniform, peaked = torch.zeros(1, 4).double(), torch.tensor([[9.0, 0, 0, 0]]).double()
    forward, reverse = soft_targets(uniform, peaked, 1.0), soft_targets(peaked, uniform, 1.0)
    # A uniform student of a sure teacher loses at most log 4; a sure student far more.
    assert forward.item() < np.log(4) < reverse.item()


@given(LOGITS, TEMPERATURES, st.floats(-50, 50))
def test_is_zero_where_the_sides_are_equal_up_to_a_shift(z, temperature, shift):
    student = torch.from_numpy(z)
    values = soft_targets(student, student + shift, temperature)
    assert values.abs().max() < 1e-9 * temperature**2


@given(LOGITS, LOGITS, st.floats(-50, 50), st.floats(-50, 50))
def test_shifting_either_sides_logits_changes_nothing(z, v, shift_z, shift_v):
    student, teacher = torch.from_numpy(z), torch.from_numpy(v)
    torch.testing.assert_close(
        soft_targets(student + shift_z, teacher + shift_v),
        soft_targets(student, teacher),
        rtol=1e-9,
        atol=1e-9,
    )


@given(LOGITS, LOGITS, TEMPERATURES)
def test_is_never_negative(z, v, temperature):
    values = soft_targets(torch.from_numpy(z), torch.from_numpy(v), temperature)
    assert values.min() >= -1e-12 * temperature**2
