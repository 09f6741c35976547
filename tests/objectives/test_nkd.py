import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import log_softmax, softmax

from objective_samples import CLASSES, Sample
from tutelage.errors import ArgumentError, DataError, ModelError
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


def logits(rows=64, classes=10):
    generator = torch.Generator().manual_seed(0)
    both = torch.randn(2, rows, classes, generator=generator, dtype=torch.float64) * 3
    return both[0].requires_grad_(), both[1], torch.arange(rows) % classes


def gradient(loss, student):
    return torch.autograd.grad(loss.sum(), student)[0]


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
    student, _, labels = logits()
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
    student, teacher, labels = logits()
    torch.testing.assert_close(
        nkd(student, teacher, labels, 0.0, 7.0),
        nkd(student, teacher, labels, 0.0, 1.0),
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    student, teacher, labels = logits()
    student, teacher = student.detach().to(dtype), teacher.to(dtype)
    ours = nkd(student, teacher, labels)
    assert ours.dtype == torch.float32
    z, v = student.double().numpy(), teacher.double().numpy()
    expected = reference(z, v, labels.tolist(), 1.5, 1.0)
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("label", [0, 1, 2])
def test_extreme_logits_give_finite_values_and_gradients(dtype, label):
    student = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4]], dtype=dtype, requires_grad=True)
    teacher = torch.tensor([[-1e4, 1e4, 0.0], [-1e4, 1e4, 1e4]], dtype=dtype)
    values = nkd(student, teacher, torch.tensor([label, label]))
    assert values.isfinite().all()
    assert gradient(values, student).isfinite().all()


def test_other_numbers_of_classes_are_refused():
    with pytest.raises(ModelError, match=r"number of classes, got 4 \(student\) and 5 \(teacher\)"):
        nkd(torch.zeros(2, 4), torch.zeros(2, 5), torch.tensor([0, 1]))


def test_a_single_class_is_refused():
    with pytest.raises(ModelError, match=r"at least two classes, got 1; give the models an output"):
        nkd(torch.zeros(2, 1), torch.zeros(2, 1), torch.tensor([0, 0]))


@pytest.mark.parametrize("label", [4, -1])
def test_labels_out_of_range_are_named(label):
    with pytest.raises(DataError, match=rf"from 0 to 3 .*got \[{label}\].*4 outputs: correct"):
        nkd(torch.zeros(3, 4), torch.zeros(3, 4), torch.tensor([0, label, -100]))


@pytest.mark.parametrize("labels", [torch.zeros(2), torch.zeros(2, 1).long()])
def test_labels_that_are_no_class_ids_are_refused(labels):
    with pytest.raises(DataError, match=r"integer class ids of shape \[2\]"):
        nkd(torch.zeros(2, 4), torch.zeros(2, 4), labels)


@pytest.mark.parametrize("weight", [-1, float("nan"), "1"])
def test_a_negative_weight_is_refused(weight):
    with pytest.raises(ArgumentError, match=r"`gamma` must be .*, got .*; it weighs the "):
        NKD(gamma=weight)
