import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import log_softmax, softmax

from objective_samples import CLASSES, TRUTH, Sample, logits
from tutelage.errors import ArgumentError
from tutelage.objectives import DKD, dkd

SAMPLES = [
    Sample(
        DKD(0.5, 2, 3),
        lambda z, v, y: dkd(z, v, y, 0.5, 2.0, 3.0),
        "DKD(alpha=0.5, beta=2, temperature=3)",
        CLASSES,
    ),
]

LOGITS = arrays(np.float64, (4, 5), elements=st.floats(-20, 20))
LABELS = st.lists(st.integers(0, 4), min_size=4, max_size=4)
TEMPERATURES = st.floats(0.5, 50)
WEIGHTS = st.floats(0, 10)


def parts(z, v, labels, temperature):
    """KL of the true class against all others, and KL among the others, one row at a time."""
    found = []
    for row, label in enumerate(labels):
        q, p = (softmax(side[row] / temperature) for side in (z, v))
        others = np.arange(len(p)) != label
        true = sum(
            a * (np.log(a) - np.log(b))
            for a, b in ((p[label], q[label]), (p[others].sum(), q[others].sum()))
        )
        log_p, log_q = (log_softmax(side[row][others] / temperature) for side in (v, z))
        found.append((true, (np.exp(log_p) * (log_p - log_q)).sum()))
    return np.array(found).T


def test_value_by_hand():
    # p = (½, ¼, ¼), q = (¼, ½, ¼), y = 0: b_t = (½, ½), b_s = (¼, ¾); p̂ = (½, ½), q̂ = (⅔, ⅓).
    student, teacher = torch.tensor([[1.0, 2, 1]]).log(), torch.tensor([[2.0, 1, 1]]).log()
    true = np.log(2) / 2 + np.log(2 / 3) / 2
    others = np.log(3 / 4) / 2 + np.log(3 / 2) / 2
    label = torch.tensor([0])
    value = dkd(student, teacher, label, alpha=3.0, beta=5.0, temperature=1.0)
    assert value.item() == pytest.approx(3 * true + 5 * others, rel=1e-6)


@given(LOGITS, LOGITS, LABELS, WEIGHTS, WEIGHTS, TEMPERATURES)
def test_equals_a_plain_numpy_reference(z, v, labels, alpha, beta, temperature):
    true, others = parts(z, v, labels, temperature)
    student, teacher = torch.from_numpy(z), torch.from_numpy(v)
    ours = dkd(student, teacher, torch.tensor(labels), alpha, beta, temperature)
    expected = temperature**2 * (alpha * true + beta * others)
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-8, atol=1e-8 * temperature**2)


def test_plain_divergence_is_the_first_part_and_1_minus_p_y_times_the_second():
    (student, teacher), labels = logits(), TRUTH
    true = dkd(student, teacher, labels, alpha=1.0, beta=0.0, temperature=1.0)
    others = dkd(student, teacher, labels, alpha=0.0, beta=1.0, temperature=1.0)
    z, v = student.detach().numpy(), teacher.numpy()
    p, log_p, log_q = softmax(v, axis=1), log_softmax(v, axis=1), log_softmax(z, axis=1)
    p_y = p[np.arange(64), labels.numpy()]
    total = true.detach().numpy() + (1 - p_y) * others.detach().numpy()
    np.testing.assert_allclose(total, (p * (log_p - log_q)).sum(axis=1), rtol=0, atol=1e-12)


@given(LOGITS, LABELS, TEMPERATURES, st.floats(-50, 50))
def test_is_zero_where_the_sides_are_equal_up_to_a_shift(z, labels, temperature, shift):
    student = torch.from_numpy(z)
    values = dkd(student, student + shift, torch.tensor(labels), temperature=temperature)
    assert values.abs().max() < 1e-8 * temperature**2


def test_at_equality_value_and_gradient_are_zero():
    (student, _), labels = logits(), TRUTH
    values = dkd(student, student.detach(), labels)
    (gradient,) = torch.autograd.grad(values.sum(), student)
    assert values.tolist() == [0.0] * 64
    assert gradient.abs().max() < 1e-14


@given(LOGITS, LOGITS, LABELS, TEMPERATURES)
def test_is_never_negative(z, v, labels, temperature):
    values = dkd(
        torch.from_numpy(z), torch.from_numpy(v), torch.tensor(labels), temperature=temperature
    )
    assert values.min() >= -1e-12 * temperature**2


def test_other_classes_keep_their_weight_where_the_teacher_is_sure():
    teacher = torch.tensor([[60.0, 2.0, 0.0]]).double()
    student = torch.tensor([[60.0, 0.0, 2.0]]).double().requires_grad_()
    values = dkd(student, teacher, torch.tensor([0]), beta=1.0, temperature=1.0)
    (gradient,) = torch.autograd.grad(values.sum(), student)
    # In plain divergence both would be about e⁻⁵⁸ of this.
    p = softmax([2.0, 0.0])
    assert values.item() == pytest.approx(2 * (p[0] - p[1]))
    np.testing.assert_allclose(gradient.numpy(), [[0, p[1] - p[0], p[0] - p[1]]], atol=1e-12)


def test_the_true_class_is_left_out_of_the_others_even_where_it_leads_by_thousands():
    # An offset of −1000 would leave it the largest.
    student, teacher = torch.tensor([[5e3, 0.0, 0.0]]), torch.tensor([[5e3, 1.0, 0.0]])
    value = dkd(student, teacher, torch.tensor([0]), beta=1.0, temperature=1.0)
    p = softmax([1.0, 0.0])
    assert value.item() == pytest.approx((p * np.log(2 * p)).sum(), rel=1e-5)


@pytest.mark.parametrize("weight", [-1, float("nan"), "1"])
@pytest.mark.parametrize("name", ["alpha", "beta"])
def test_a_negative_weight_is_refused(name, weight):
    with pytest.raises(ArgumentError, match=rf"`{name}` must be .*, got .*; it weighs the "):
        DKD(**{name: weight})
