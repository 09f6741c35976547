import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import log_softmax, softmax

from objective_samples import Sample, gradient, logits
from tutelage.errors import ArgumentError
from tutelage.objectives import WTTM, wttm

SAMPLES = [
    Sample(WTTM(0.2), lambda z, v, _: wttm(z, v, 0.2), "WTTM(gamma=0.2)", zero_at_equality=False),
]

LOGITS = arrays(np.float64, (3, 5), elements=st.floats(-20, 20))
GAMMAS = st.floats(0.01, 1)


def reference(student, teacher, gamma):
    powers = softmax(teacher, axis=1) ** gamma
    weight = powers.sum(axis=1)
    p = powers / weight[:, None]
    return weight * (p * (np.log(p) - log_softmax(student, axis=1))).sum(axis=1)


def weights(v, gamma):
    """U as the loss has it: how much steeper it is than the divergence from softmax(γ v)."""
    student = torch.zeros(v.shape, dtype=torch.float64, requires_grad=True)
    ours = gradient(wttm(student, torch.from_numpy(v), gamma), student)
    plain = 1 / v.shape[1] - softmax(gamma * v, axis=1)
    return (ours.numpy() * plain).sum(axis=1) / (plain**2).sum(axis=1)


def test_value_where_the_student_excludes_what_the_teacher_is_sure_of():
    student, teacher = torch.tensor([[1e4, -1e4, 0.0]]), torch.tensor([[-1e4, 1e4, 0.0]])
    assert wttm(student, teacher).item() == pytest.approx(2e4, rel=0.01)


def test_value_by_hand():
    # p = (0.8, 0.2), γ = ½: p^γ = (2, 1)/√5, so U = 3/√5 and the target is (⅔, ⅓).
    teacher, student = torch.tensor([[4.0, 1.0]]).double().log(), torch.zeros(1, 2).double()
    expected = 3 / np.sqrt(5) * (2 / 3 * np.log(4 / 3) + 1 / 3 * np.log(2 / 3))
    assert wttm(student, teacher, 0.5).item() == pytest.approx(expected)


@given(LOGITS, LOGITS, GAMMAS)
def test_equals_a_plain_numpy_reference(z, v, gamma):
    ours = wttm(torch.from_numpy(z), torch.from_numpy(v), gamma)
    np.testing.assert_allclose(ours.numpy(), reference(z, v, gamma), rtol=1e-9, atol=1e-9)


@given(LOGITS, GAMMAS, st.floats(-50, 50))
def test_is_zero_and_flat_at_gamma_times_the_teachers_logits(v, gamma, shift):
    # That is p^γ/U = softmax(γ v).
    student = torch.from_numpy(gamma * v + shift).requires_grad_()
    values = wttm(student, torch.from_numpy(v), gamma)
    assert values.abs().max() < 1e-9
    assert gradient(values, student).abs().max() < 1e-9


@given(LOGITS, LOGITS)
def test_is_plain_divergence_at_gamma_1(z, v):
    log_q, log_p = log_softmax(z, axis=1), log_softmax(v, axis=1)
    expected = (np.exp(log_p) * (log_p - log_q)).sum(axis=1)
    ours = wttm(torch.from_numpy(z), torch.from_numpy(v), 1.0)
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("gamma", [0.1, 0.2, 0.5, 1.0])
def test_an_examples_weight_lies_between_1_and_n_to_the_1_minus_gamma(gamma):
    v = logits()[1].numpy()
    found = weights(v, gamma)
    np.testing.assert_allclose(found, (softmax(v, axis=1) ** gamma).sum(axis=1), rtol=1e-9)
    assert found.min() >= 1 - 1e-9
    assert found.max() <= 10 ** (1 - gamma) + 1e-9


def test_an_examples_weight_is_1_for_a_sure_teacher_and_largest_for_an_unsure_one():
    sure, unsure = np.array([[400.0, 0, 0, 0]]), np.array([[1e-4, 0, 0, 0]])
    assert weights(sure, 0.5) == pytest.approx(1)
    assert weights(unsure, 0.5) == pytest.approx(2)


@given(LOGITS, LOGITS, GAMMAS)
def test_is_never_negative(z, v, gamma):
    values = wttm(torch.from_numpy(z), torch.from_numpy(v), gamma)
    assert values.min() >= -1e-12


@given(LOGITS, LOGITS, st.floats(-50, 50), st.floats(-50, 50))
def test_shifting_either_sides_logits_changes_nothing(z, v, shift_z, shift_v):
    student, teacher = torch.from_numpy(z), torch.from_numpy(v)
    torch.testing.assert_close(
        wttm(student + shift_z, teacher + shift_v),
        wttm(student, teacher),
        rtol=1e-9,
        atol=1e-9,
    )


@pytest.mark.parametrize("gamma", [0, -0.5, 1.5, float("nan")])
def test_a_power_outside_0_to_1_is_refused(gamma):
    with pytest.raises(ArgumentError, match=r"`gamma` must .*0.1 to 0.2 is usual"):
        WTTM(gamma)
