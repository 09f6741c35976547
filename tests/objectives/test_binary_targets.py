from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import expit, xlogy

import tutelage as tl
from objective_samples import Sample, gradient, logits
from tutelage.coarse import CoarseLogits
from tutelage.errors import ModelError
from tutelage.objectives import BinaryTargets, binary_targets, logit_regression, soft_targets
from tutelage.signals import Batch, Signals

SAMPLES = [
    Sample(
        BinaryTargets(3), lambda z, v, _: binary_targets(z, v, 3.0), "BinaryTargets(temperature=3)"
    ),
]

LOGITS = arrays(np.float64, (3, 4), elements=st.floats(-20, 20))
TEMPERATURES = st.floats(0.5, 50)


def reference(student, teacher, temperature):
    """The divergence of two distributions, (σ, 1 − σ), by its definition."""
    q, p = expit(student / temperature), expit(teacher / temperature)
    rest_q, rest_p = expit(-student / temperature), expit(-teacher / temperature)
    terms = xlogy(p, p / q) + xlogy(rest_p, rest_p / rest_q)
    return temperature**2 * terms.mean(axis=1)


def relative_error(temperature):
    """How far the gradient at a temperature is from that of its limit, ¼·½(z − v)²."""
    student, teacher = logits(rows=4096)
    limit = gradient(logit_regression(student, teacher, center=False) / 4, student)
    ours = gradient(binary_targets(student, teacher, temperature), student)
    return ((ours - limit).norm() / limit.norm()).item()


def test_value_by_hand():
    # T = 2: p = e/(1+e), q = ½; KL = log 2 + Σ p log p. The second label's is 0.
    p = np.e / (1 + np.e)
    expected = 4 * (np.log(2) + p * np.log(p) + (1 - p) * np.log(1 - p)) / 2
    student, teacher = torch.tensor([[0.0, 1.0]]).double(), torch.tensor([[2.0, 1.0]]).double()
    assert binary_targets(student, teacher, 2.0).item() == pytest.approx(expected, abs=1e-14)


@given(LOGITS, LOGITS, TEMPERATURES)
def test_equals_a_plain_numpy_reference(z, v, temperature):
    ours = binary_targets(torch.from_numpy(z), torch.from_numpy(v), temperature)
    expected = reference(z, v, temperature)
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-9, atol=1e-9)


@given(LOGITS, LOGITS, TEMPERATURES)
def test_is_the_mean_of_two_class_soft_targets_with_a_logit_of_zero(z, v, temperature):
    sides = [torch.from_numpy(each).requires_grad_() for each in (z, v)]
    pairs = [torch.stack([torch.zeros_like(each), each], dim=2).flatten(0, 1) for each in sides]
    ours = binary_targets(*sides, temperature)
    expected = soft_targets(*pairs, temperature).reshape(3, 4).mean(dim=1)
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        gradient(ours, sides[0]), gradient(expected, sides[0]), rtol=1e-10, atol=1e-12
    )


@given(LOGITS, LOGITS, TEMPERATURES)
def test_gradient_is_t_times_q_minus_p_over_the_number_of_labels(z, v, temperature):
    student = torch.from_numpy(z).requires_grad_()
    ours = gradient(binary_targets(student, torch.from_numpy(v), temperature), student)
    expected = temperature * (expit(z / temperature) - expit(v / temperature)) / 4
    np.testing.assert_allclose(ours.numpy(), expected, rtol=0, atol=1e-12 * max(temperature, 1))


def test_tends_to_the_squared_difference_of_the_logits_over_eight():
    student, teacher = logits(rows=256)
    limit = ((student - teacher) ** 2 / 8).mean(dim=1)
    ours = binary_targets(student, teacher, 1e4)
    torch.testing.assert_close(ours, limit, rtol=1e-4, atol=1e-6)


def test_gradient_tends_to_that_of_logit_regression_as_the_temperature_grows():
    temperatures = (2.0, 5.0, 10.0, 20.0, 100.0)
    errors = [relative_error(temperature) for temperature in temperatures]
    assert all(later < earlier for earlier, later in pairwise(errors))
    # The sigmoid is odd around ½, so that the error is of second order in 1/T.
    assert errors[-1] / errors[-2] == pytest.approx(1 / 25, rel=0.1)


def test_the_number_of_labels_does_not_change_the_scale():
    student, teacher = logits(classes=1)
    one = binary_targets(student, teacher)
    torch.testing.assert_close(
        binary_targets(student.repeat(1, 7), teacher.repeat(1, 7)), one, rtol=1e-12, atol=1e-12
    )


def test_first_argument_is_the_student():
    unsure, sure = torch.zeros(1, 1).double(), torch.tensor([[9.0]]).double()
    # An unsure student of a sure teacher loses at most log 2; a sure student far more.
    assert binary_targets(unsure, sure, 1.0).item() < np.log(2)
    assert binary_targets(sure, unsure, 1.0).item() > 3


@given(LOGITS, LOGITS, TEMPERATURES)
def test_is_never_negative(z, v, temperature):
    values = binary_targets(torch.from_numpy(z), torch.from_numpy(v), temperature)
    assert values.min() >= -1e-12 * temperature**2


@given(LOGITS, LOGITS, st.permutations(range(4)))
def test_ignores_a_permutation_of_the_labels(z, v, columns):
    student, teacher = torch.from_numpy(z), torch.from_numpy(v)
    torch.testing.assert_close(
        binary_targets(student[:, columns], teacher[:, columns]), binary_targets(student, teacher)
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_extreme_logits_give_the_right_values_and_finite_gradients(dtype):
    student = torch.tensor([[1e4], [-1e4], [1e4], [0.0]], dtype=dtype, requires_grad=True)
    teacher = torch.tensor([[-1e4], [1e4], [1e4], [1e4]], dtype=dtype)
    values = binary_targets(student, teacher, 1.0)
    # Sure of opposite answers, the loss is the distance of the logit from 0.
    large = student.detach()[0, 0].item()
    assert values.tolist() == pytest.approx([large, large, 0.0, np.log(2)])
    assert gradient(values, student).tolist() == [[1.0], [-1.0], [0.0], [-0.5]]


@pytest.mark.parametrize("level", [0.0, 15.0, -40.0, 200.0])
def test_close_logits_of_confident_models_are_told_apart_in_float32(level):
    teacher = torch.full((1, 1), level)
    student = (teacher + 0.25).requires_grad_()
    ours = binary_targets(student, teacher, 1.0)
    exact = binary_targets(student.detach().double(), teacher.double(), 1.0)
    torch.testing.assert_close(ours.double(), exact, rtol=1e-3, atol=1e-9)


def test_a_teacher_of_classes_that_exclude_each_other_is_refused():
    coarse = CoarseLogits(torch.tensor([[0]]), torch.zeros(1, 1), torch.zeros(1))
    with pytest.raises(ModelError, match=r"all labels, got CoarseLogits.*without `top_k`"):
        BinaryTargets()(Signals(torch.zeros(1, 3)), Signals(coarse), Batch(torch.zeros(1, 1)))


def test_fits_in_a_sum_with_binary_labels_and_regression_but_with_no_softmax():
    total = tl.BinaryLabels() + BinaryTargets() + tl.LogitRegression(center=False)
    assert total.output_kind == "binary"
    assert (BinaryTargets() + tl.FeatureMatch({"0": "0"})).output_kind == "binary"
    assert (BinaryTargets() + tl.OutputRegression()).output_kind == "binary"
    for other in (tl.SoftTargets(), tl.HardLabels(), tl.LogitRegression(), tl.DIST()):
        with pytest.raises(tl.ArgumentError, match=r"read the output alike.*use BinaryLabels"):
            0.5 * BinaryTargets() + other
