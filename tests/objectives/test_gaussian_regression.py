import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch.distributions import Normal, kl_divergence

import tutelage as tl
from objective_samples import Sample
from tutelage.errors import ModelError
from tutelage.objectives import GaussianRegression, gaussian_regression

SAMPLES = [
    Sample(GaussianRegression(), lambda z, v, _: gaussian_regression(z, v), "GaussianRegression()"),
]

HEADS = arrays(np.float64, (3, 4), elements=st.floats(-4, 4))


def normal(head):
    mean, log_variance = head.chunk(2, dim=1)
    return Normal(mean, (log_variance / 2).exp())


def test_value_by_hand():
    # σ_t = 1, σ_s = 2, Δμ = 3: log 2 + (1 + 9)/8 − ½.
    student, teacher = (
        torch.tensor([[0.0, np.log(4)]]).double(),
        torch.tensor([[3.0, 0.0]]).double(),
    )
    assert gaussian_regression(student, teacher).item() == pytest.approx(np.log(2) + 0.75)


@given(HEADS, HEADS)
def test_equals_torchs_divergence_of_normals(student, teacher):
    one, other = torch.from_numpy(student), torch.from_numpy(teacher)
    expected = kl_divergence(normal(other), normal(one)).sum(dim=1)
    torch.testing.assert_close(gaussian_regression(one, other), expected)


@given(HEADS, HEADS)
def test_with_equal_variances_it_is_the_squared_error_over_twice_the_variance(student, teacher):
    student[:, 2:] = teacher[:, 2:]
    expected = (student[:, :2] - teacher[:, :2]) ** 2 / (2 * np.exp(teacher[:, 2:]))
    ours = gaussian_regression(torch.from_numpy(student), torch.from_numpy(teacher))
    np.testing.assert_allclose(ours.numpy(), expected.sum(axis=1), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    student = torch.tensor([[1e4, 0.0]], dtype=dtype)
    values = gaussian_regression(student, torch.zeros(1, 2, dtype=dtype))
    assert values.dtype == torch.float32
    # The square of the mean is beyond float16's range.
    assert values.item() == pytest.approx(student[0, 0].double().item() ** 2 / 2, rel=1e-6)


def test_an_odd_number_of_columns_is_refused():
    with pytest.raises(ModelError, match=r"means and then log-variances.*got 3; let both models"):
        gaussian_regression(torch.zeros(2, 3), torch.zeros(2, 3))


@pytest.mark.parametrize("other", [tl.FeatureMatch({"a": "b"}), tl.OwnLoss()])
def test_beside_terms_that_read_no_output_the_mean_is_the_prediction(other):
    output = torch.randn(3, 4)
    for objective in (other + tl.GaussianRegression(), tl.GaussianRegression() + other):
        assert torch.equal(objective.prediction(output), output[:, :2])
