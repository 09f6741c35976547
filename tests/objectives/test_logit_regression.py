import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from objective_samples import Sample
from tutelage.objectives import LogitRegression, logit_regression

SAMPLES = [
    Sample(LogitRegression(), lambda z, v, _: logit_regression(z, v), "LogitRegression()"),
    Sample(
        LogitRegression(center=False),
        lambda z, v, _: logit_regression(z, v, center=False),
        "LogitRegression(center=False)",
    ),
]

LOGITS = arrays(np.float64, (3, 5), elements=st.floats(-50, 50))


def test_value_by_hand():
    # Centred: (0, 0) against (1, −1): ½ (1 + 1)/2.
    student, teacher = torch.tensor([[7.0, 7.0]]), torch.tensor([[2.0, 0.0]])
    assert logit_regression(student, teacher).item() == 0.5
    # As they are: (5, 7): ½ (25 + 49)/2.
    assert logit_regression(student, teacher, center=False).item() == 18.5


@given(LOGITS, LOGITS)
def test_equals_a_plain_numpy_reference(z, v):
    centred = (z - z.mean(axis=1, keepdims=True)) - (v - v.mean(axis=1, keepdims=True))
    ours = logit_regression(torch.from_numpy(z), torch.from_numpy(v))
    np.testing.assert_allclose(ours.numpy(), (centred**2).sum(axis=1) / 10, rtol=1e-9, atol=1e-9)


@given(LOGITS, LOGITS)
def test_gradient_is_the_centred_difference_over_the_number_of_classes(z, v):
    student = torch.from_numpy(z).requires_grad_()
    (ours,) = torch.autograd.grad(logit_regression(student, torch.from_numpy(v)).sum(), student)
    difference = z - v
    expected = (difference - difference.mean(axis=1, keepdims=True)) / 5
    np.testing.assert_allclose(ours.numpy(), expected, atol=1e-12)


@given(LOGITS, st.floats(-50, 50))
def test_a_shift_matters_only_without_centring(z, shift):
    student = torch.from_numpy(z)
    assert logit_regression(student, student + shift).max() < 1e-9
    np.testing.assert_allclose(
        logit_regression(student, student + shift, center=False).numpy(),
        shift**2 / 2,
        rtol=1e-6,
        atol=1e-9,
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    # In float16 the squares of these would be infinite.
    student, teacher = torch.tensor([[1e4, -1e4]], dtype=dtype), torch.zeros(1, 2, dtype=dtype)
    values = logit_regression(student, teacher)
    assert values.dtype == torch.float32
    assert values.item() == pytest.approx(student.double().square().mean().item() / 2, rel=1e-6)
