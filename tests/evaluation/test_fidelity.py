import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import entropy

from tutelage.errors import ArgumentError, ModelError
from tutelage.evaluation import mean_kl

LOGITS = arrays(np.float64, (6, 4), elements=st.floats(-10, 10))


def test_by_hand():
    student = torch.tensor([[0.5, 0.5], [0.5, 0.5]]).log()
    teacher = torch.tensor([[0.75, 0.25], [0.5, 0.5]]).log()
    expected = (0.75 * math.log(1.5) + 0.25 * math.log(0.5)) / 2
    assert mean_kl(student, teacher) == pytest.approx(expected)


@given(LOGITS, LOGITS, st.floats(0.5, 10))
def test_equals_scipy(student, teacher, temperature):
    student, teacher = torch.from_numpy(student), torch.from_numpy(teacher)
    p, q = ((each / temperature).softmax(dim=1).numpy() for each in (teacher, student))
    ours = mean_kl(student, teacher, temperature)
    assert ours == pytest.approx(entropy(p, q, axis=1).mean(), abs=1e-12)


@given(LOGITS, LOGITS)
def test_is_not_negative_and_zero_at_equality(student, teacher):
    student, teacher = torch.from_numpy(student), torch.from_numpy(teacher)
    assert mean_kl(student, teacher) >= -1e-12
    assert mean_kl(teacher, teacher) == 0


def test_is_computed_in_float64():
    """In float32 the sum of so small differences is all rounding."""
    teacher = torch.randn(100, 10)
    student = teacher + 1e-4 * torch.randn(100, 10)
    expected = mean_kl(student.double(), teacher.double())
    assert 1e-10 < mean_kl(student, teacher) == expected < 1e-8


def test_different_shapes_are_refused():
    with pytest.raises(ModelError, match="the same number of classes"):
        mean_kl(torch.zeros(2, 3), torch.zeros(2, 4))


@pytest.mark.parametrize("temperature", [0, -1.0, math.nan])
def test_invalid_temperatures_are_refused(temperature):
    with pytest.raises(ArgumentError, match="`temperature` must be"):
        mean_kl(torch.zeros(2, 3), torch.zeros(2, 3), temperature)
