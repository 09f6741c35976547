import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from objective_samples import VALUES, Sample
from tutelage.errors import ArgumentError, DataError
from tutelage.objectives import BoundedRegression, bounded_regression

SAMPLES = [
    Sample(
        BoundedRegression(),
        bounded_regression,
        "BoundedRegression()",
        VALUES,
    ),
    Sample(
        BoundedRegression(0.1),
        lambda z, v, y: bounded_regression(z, v, y, 0.1),
        "BoundedRegression(margin=0.1)",
        VALUES,
        zero_at_equality=False,
    ),
]

VALUES = arrays(np.float64, (5, 2), elements=st.floats(-10, 10))


def test_value_by_hand():
    teacher, labels = torch.tensor([[2.0], [2.0], [2.0]]), torch.zeros(3)
    student = torch.tensor([[1.0], [2.0], [3.0]])
    # Squared errors 1, 4, 9 against the teacher's 4: only what exceeds 4 counts ...
    assert bounded_regression(student, teacher, labels).tolist() == [0.0, 0.0, 9.0]
    # ... and with a margin of 1 the equal one does too.
    assert bounded_regression(student, teacher, labels, margin=1.0).tolist() == [0.0, 4.0, 9.0]


@given(VALUES, VALUES, VALUES, st.floats(0, 20))
def test_equals_a_plain_numpy_reference(student, teacher, labels, margin):
    error = ((student - labels) ** 2).mean(axis=1)
    bound = ((teacher - labels) ** 2).mean(axis=1)
    ours = bounded_regression(*map(torch.from_numpy, (student, teacher, labels)), margin)
    np.testing.assert_allclose(ours.numpy(), np.where(error + margin > bound, error, 0))


def test_a_student_better_than_the_teacher_has_no_loss():
    student = torch.tensor([[0.5], [3.0]], requires_grad=True)
    values = bounded_regression(student, torch.ones(2, 1), torch.zeros(2))
    (gradient,) = torch.autograd.grad(values.sum(), student)
    assert gradient.tolist() == [[0.0], [6.0]]


def test_unlabelled_examples_have_no_loss():
    labels = torch.tensor([[0.0, torch.nan], [torch.nan, torch.nan]])
    student = torch.full((2, 2), 3.0, requires_grad=True)
    values = bounded_regression(student, torch.zeros(2, 2), labels, margin=1.0)
    (gradient,) = torch.autograd.grad(values.sum(), student)
    assert values.tolist() == [9.0, 0.0]
    assert gradient.tolist() == [[6.0, 0.0], [0.0, 0.0]]


def test_the_teachers_error_is_a_bound_and_has_no_gradient():
    teacher = torch.ones(2, 1, requires_grad=True)
    values = bounded_regression(
        torch.full((2, 1), 3.0, requires_grad=True), teacher, torch.zeros(2)
    )
    (gradient,) = torch.autograd.grad(values.sum(), teacher, allow_unused=True)
    assert gradient is None or not gradient.any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    student, teacher = torch.tensor([[1e4]], dtype=dtype), torch.tensor([[5e3]], dtype=dtype)
    values = bounded_regression(student, teacher, torch.zeros(1))
    assert values.dtype == torch.float32
    assert values.item() == pytest.approx(student.double().item() ** 2, rel=1e-6)


def test_class_labels_are_refused():
    with pytest.raises(DataError, match=r"floating numbers.*got int64"):
        bounded_regression(torch.zeros(2, 1), torch.zeros(2, 1), torch.tensor([0, 1]))


@pytest.mark.parametrize("margin", [-1, float("nan")])
def test_a_negative_margin_is_refused(margin):
    with pytest.raises(ArgumentError, match=r"`margin` must be .*0 stops where"):
        BoundedRegression(margin)


def test_a_margin_asks_for_more_than_equality():
    output = torch.ones(6, 4).double()
    assert bounded_regression(output, output, torch.zeros(6, 4).double(), 0.1).min() > 0
