import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import log_softmax

from objective_samples import Sample, gradient, logits
from tutelage.objectives import LogitStandardization, logit_standardization

SAMPLES = [
    Sample(
        LogitStandardization(3),
        lambda z, v, _: logit_standardization(z, v, 3.0),
        "LogitStandardization(temperature=3)",
    ),
]

# On a grid, so that rows either vary plainly or not at all.
LOGITS = arrays(np.float64, (3, 5), elements=st.integers(-40, 40).map(lambda k: k / 2))
TEMPERATURES = st.floats(0.5, 50)


def standardized(side):
    centred = side - side.mean(axis=1, keepdims=True)
    deviation = np.sqrt((centred**2).sum(axis=1, keepdims=True) / (side.shape[1] - 1))
    constant = np.ptp(side, axis=1, keepdims=True) == 0
    return np.where(constant, 0.0, centred / np.where(constant, 1.0, deviation))


def reference(student, teacher, temperature):
    log_q = log_softmax(standardized(student) / temperature, axis=1)
    log_p = log_softmax(standardized(teacher) / temperature, axis=1)
    return temperature**2 * (np.exp(log_p) * (log_p - log_q)).sum(axis=1)


def test_value_by_hand():
    # (3, 1, 2) has mean 2 and sample standard deviation 1: (1, −1, 0); the student has no order.
    teacher, student = torch.tensor([[3.0, 1.0, 2.0]]).double(), torch.zeros(1, 3).double()
    p = np.array([np.e, 1 / np.e, 1]) / (np.e + 1 / np.e + 1)
    expected = (p * np.log(3 * p)).sum()
    assert logit_standardization(student, teacher, 1.0).item() == pytest.approx(expected)


def test_standard_deviation_has_n_minus_1_in_the_denominator():
    # Two classes: ±1/√2, where N in the denominator would give ±1.
    teacher, student = torch.tensor([[9.0, 1.0]]).double(), torch.tensor([[0.0, 1.0]]).double()
    p = 1 / (1 + np.exp(-np.sqrt(2)))
    expected = (2 * p - 1) * np.sqrt(2)
    assert logit_standardization(student, teacher, 1.0).item() == pytest.approx(expected)


@given(LOGITS, LOGITS, TEMPERATURES)
def test_equals_a_plain_numpy_reference(z, v, temperature):
    ours = logit_standardization(torch.from_numpy(z), torch.from_numpy(v), temperature)
    np.testing.assert_allclose(
        ours.numpy(), reference(z, v, temperature), rtol=1e-9, atol=1e-12 * temperature**2
    )


@given(LOGITS, LOGITS, st.floats(0.01, 100), st.floats(-50, 50))
def test_ignores_a_positive_affine_map_of_either_sides_logits(z, v, scale, shift):
    student, teacher = torch.from_numpy(z), torch.from_numpy(v)
    values = logit_standardization(student, teacher)
    for one, other in (
        (scale * student + shift, teacher),
        (student, scale * teacher + shift),
    ):
        torch.testing.assert_close(logit_standardization(one, other), values, rtol=1e-9, atol=1e-9)


@given(LOGITS, LOGITS)
def test_gradient_sums_to_0_and_is_orthogonal_to_the_logits(z, v):
    student = torch.from_numpy(z).requires_grad_()
    ours = gradient(logit_standardization(student, torch.from_numpy(v)), student).numpy()
    np.testing.assert_allclose(ours.sum(axis=1), 0, atol=1e-12)
    np.testing.assert_allclose((ours * z).sum(axis=1), 0, atol=1e-11)


@given(LOGITS, st.floats(0.01, 100), st.floats(-50, 50), TEMPERATURES)
def test_is_zero_where_the_sides_are_equal_up_to_level_and_scale(z, scale, shift, temperature):
    student = torch.from_numpy(z)
    values = logit_standardization(student, scale * student + shift, temperature)
    assert values.abs().max() < 1e-9 * temperature**2


def test_at_equality_value_and_gradient_are_zero():
    student, _ = logits()
    values = logit_standardization(student, student.detach())
    assert values.tolist() == [0.0] * 64
    assert gradient(values, student).abs().max() < 1e-15


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("level", [0.0, 0.1, 7.3, 1e4])
def test_rows_that_do_not_vary_become_zeros_and_have_no_gradient(dtype, level):
    student = torch.full((2, 7), level, dtype=dtype, requires_grad=True)
    teacher = torch.randn(2, 7).to(dtype)
    values = logit_standardization(student, teacher)
    expected = reference(np.zeros((2, 7)), teacher.double().numpy(), 2.0)
    assert gradient(values, student).tolist() == [[0.0] * 7] * 2
    np.testing.assert_allclose(values.detach().numpy(), expected, rtol=1e-4)
