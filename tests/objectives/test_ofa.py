import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import log_softmax, softmax

from objective_samples import CLASSES, TRUTH, Sample, gradient, logits
from tutelage.errors import ArgumentError
from tutelage.objectives import OFA, ofa

SAMPLES = [
    Sample(
        OFA(2), lambda z, v, y: ofa(z, v, y, 2.0), "OFA(epsilon=2)", CLASSES, zero_at_equality=False
    ),
]

LOGITS = arrays(np.float64, (4, 5), elements=st.floats(-20, 20))
LABELS = st.lists(st.integers(0, 4), min_size=4, max_size=4)
EPSILONS = st.floats(1, 4)


def targets(v, labels, epsilon):
    one_hot = np.eye(v.shape[1])[labels]
    return (softmax(v, axis=1) + one_hot) ** epsilon - one_hot


def reference(z, v, labels, epsilon):
    return -(targets(v, labels, epsilon) * log_softmax(z, axis=1)).sum(axis=1)


def test_value_by_hand():
    # p = (½, ¼, ¼), ε = 2, y = 0: the target is (1.5² − 1, ¼², ¼²) = (20, 1, 1)/16.
    student = torch.tensor([[1.0, 2, 1]]).double().log()
    teacher = torch.tensor([[2.0, 1, 1]]).double().log()
    expected = (20 * np.log(4) + np.log(2) + np.log(4)) / 16
    value = ofa(student, teacher, torch.tensor([0]), epsilon=2.0)
    assert value.item() == pytest.approx(expected)


@given(LOGITS, LOGITS, LABELS, EPSILONS)
def test_equals_a_plain_numpy_reference(z, v, labels, epsilon):
    student, teacher = torch.from_numpy(z), torch.from_numpy(v)
    ours = ofa(student, teacher, torch.tensor(labels), epsilon)
    np.testing.assert_allclose(ours.numpy(), reference(z, v, labels, epsilon), rtol=1e-9, atol=1e-9)


@given(LOGITS, LOGITS, LABELS)
def test_is_plain_soft_cross_entropy_at_epsilon_1(z, v, labels):
    student, teacher = torch.from_numpy(z), torch.from_numpy(v)
    expected = -(softmax(v, axis=1) * log_softmax(z, axis=1)).sum(axis=1)
    ours = ofa(student, teacher, torch.tensor(labels), 1.0)
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-9, atol=1e-12)


def test_a_student_that_equals_its_teacher_has_no_gradient_at_epsilon_1():
    (student, _), labels = logits(), TRUTH
    values = ofa(student, student.detach(), labels, 1.0)
    assert gradient(values, student).abs().max() < 1e-14


@pytest.mark.parametrize("epsilon", [1.0, 1.5, 3.0])
def test_gradient_vanishes_where_the_student_is_the_target_over_its_sum(epsilon):
    (_, teacher), labels = logits(), TRUTH
    best = torch.from_numpy(np.log(targets(teacher.numpy(), labels.numpy(), epsilon)))
    student = best.requires_grad_()
    values = ofa(student, teacher, labels, epsilon)
    assert gradient(values, student).abs().max() < 1e-13


def test_the_true_class_weighs_more_and_the_others_less():
    (student, teacher), labels = logits(), TRUTH
    p, mask = softmax(teacher.numpy(), axis=1), np.eye(10, dtype=bool)[labels.numpy()]
    ours = gradient(ofa(student, teacher, labels, 1.5), student).numpy()
    target = targets(teacher.numpy(), labels.numpy(), 1.5)
    q = softmax(student.detach().numpy(), axis=1)
    np.testing.assert_allclose(ours, target.sum(axis=1, keepdims=True) * q - target, atol=1e-12)
    assert (target[mask] > p[mask]).all()
    assert (target[~mask] < p[~mask]).all()


def test_a_small_probability_of_the_true_class_keeps_its_digits():
    teacher = torch.tensor([[-16.0, 16.0]])
    student = torch.zeros(1, 2, requires_grad=True)
    # In float32 (1 + p)^ε − 1 would be 0 at p = e⁻³².
    gap = ofa(student, teacher, torch.tensor([0]), 1.0)
    assert gap.item() == pytest.approx(np.log(2))
    ours = ofa(torch.tensor([[-1e4, 1e4]]), teacher, torch.tensor([0]), 2.0)
    assert ours.item() == pytest.approx(2 * np.exp(-32) * 2e4, rel=1e-4)


@pytest.mark.parametrize("epsilon", [0.9, -1, float("inf")])
def test_an_exponent_below_1_is_refused(epsilon):
    with pytest.raises(ArgumentError, match=r"`epsilon` must be .*1 is the plain cross-entropy"):
        OFA(epsilon)
