import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import log_softmax, softmax

from objective_samples import CLASSES, TRUTH, Sample, gradient, logits
from tutelage.errors import ArgumentError
from tutelage.objectives import NKD, nkd

SAMPLES = [
    Sample(
        NKD(2, 3),
        lambda z, v, y: nkd(z, v, y, 2.0, 3.0),
        "NKD(gamma=2, temperature=3)",
        CLASSES,
        zero_at_equality=False,
    ),
]

LOGITS = arrays(np.float64, (4, 5), elements=st.floats(-20, 20))
LABELS = st.lists(st.integers(0, 4), min_size=4, max_size=4)
TEMPERATURES = st.floats(0.5, 50)
WEIGHTS = st.floats(0, 10)


def reference(z, v, labels, gamma, temperature):
    values = []
    for student, teacher, label in zip(z, v, labels, strict=True):
        true = -softmax(teacher)[label] * log_softmax(student)[label]
        p = softmax(np.delete(teacher, label) / temperature)
        log_q = log_softmax(np.delete(student, label) / temperature)
        values.append(true - gamma * temperature**2 * (p * log_q).sum())
    return np.array(values)


def test_value_by_hand():
    # p = (½, ¼, ¼), q = (¼, ½, ¼), y = 0: p̂ = (½, ½), q̂ = (⅔, ⅓).
    student = torch.tensor([[1.0, 2, 1]]).double().log()
    teacher = torch.tensor([[2.0, 1, 1]]).double().log()
    expected = np.log(4) / 2 + 3 * (np.log(3 / 2) + np.log(3)) / 2
    value = nkd(student, teacher, torch.tensor([0]), gamma=3.0)
    assert value.item() == pytest.approx(expected)


@given(LOGITS, LOGITS, LABELS, WEIGHTS, TEMPERATURES)
def test_equals_a_plain_numpy_reference(z, v, labels, gamma, temperature):
    student, teacher = torch.from_numpy(z), torch.from_numpy(v)
    ours = nkd(student, teacher, torch.tensor(labels), gamma, temperature)
    expected = reference(z, v, labels, gamma, temperature)
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-9, atol=1e-9)


@given(LOGITS, LOGITS, LABELS, TEMPERATURES)
def test_the_other_classes_probabilities_sum_to_1_on_both_sides(z, v, labels, temperature):
    student = torch.from_numpy(z).requires_grad_()
    teacher, truth = torch.from_numpy(v), torch.tensor(labels)
    both = nkd(student, teacher, truth, 1.0, temperature)
    alone = nkd(student, teacher, truth, 0.0, temperature)
    # T (q̂ − p̂), which cancels out over the others and leaves only the true class.
    ours = gradient(both - alone, student).numpy()
    np.testing.assert_allclose(ours.sum(axis=1), 0, atol=1e-11 * temperature)
    np.testing.assert_allclose(ours[np.arange(4), labels], 0, atol=1e-11)
    # A uniform student among the N − 1 others costs log(N − 1), whatever the teacher.
    even = torch.zeros(4, 5).double()
    values = nkd(even, teacher, truth, 1.0, 1.0) - nkd(even, teacher, truth, 0.0, 1.0)
    np.testing.assert_allclose(values.numpy(), np.log(4), rtol=1e-12)


def test_a_student_that_equals_its_teacher_still_moves_towards_the_true_class():
    (student, _), labels = logits(), TRUTH
    ours = gradient(nkd(student, student.detach(), labels, 1.5, 2.0), student)
    q = softmax(student.detach().numpy(), axis=1)
    one_hot = np.eye(10)[labels.numpy()]
    expected = q[np.arange(64), labels.numpy()][:, None] * (q - one_hot)
    np.testing.assert_allclose(ours.numpy(), expected, atol=1e-13)


@given(LOGITS, LOGITS, LABELS)
def test_the_other_classes_cost_least_where_the_student_equals_the_teacher(z, v, labels):
    teacher, truth = torch.from_numpy(v), torch.tensor(labels)

    def others(student):
        both, alone = (nkd(student, teacher, truth, gamma) for gamma in (1.0, 0.0))
        return both - alone

    assert (others(torch.from_numpy(z)) >= others(teacher) - 1e-9).all()


def test_only_the_other_classes_have_a_temperature():
    (student, teacher), labels = logits(), TRUTH
    torch.testing.assert_close(
        nkd(student, teacher, labels, 0.0, 7.0),
        nkd(student, teacher, labels, 0.0, 1.0),
    )


@pytest.mark.parametrize("weight", [-1, float("nan"), "1"])
def test_a_negative_weight_is_refused(weight):
    with pytest.raises(ArgumentError, match=r"`gamma` must be .*, got .*; it weighs the "):
        NKD(gamma=weight)
