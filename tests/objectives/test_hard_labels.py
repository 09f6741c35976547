import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import log_softmax

from objective_samples import CLASSES, Sample
from tutelage.errors import ArgumentError, DataError, ModelError
from tutelage.objectives import HardLabels, hard_labels

SAMPLES = [
    Sample(
        HardLabels(0.1),
        lambda z, _, y: hard_labels(z, y, 0.1),
        "HardLabels(smoothing=0.1)",
        CLASSES,
    ),
]

LOGITS = arrays(np.float64, (4, 5), elements=st.floats(-20, 20))
LABELS = st.lists(st.integers(0, 4), min_size=4, max_size=4)


def test_value_by_hand():
    student = torch.tensor([[math.log(3), 0.0]]).double()
    # The probabilities are ¾ and ¼.
    assert hard_labels(student, torch.tensor([0])).item() == pytest.approx(math.log(4 / 3))
    assert hard_labels(student, torch.tensor([1])).item() == pytest.approx(math.log(4))


@given(LOGITS, LABELS, st.floats(0, 1))
def test_equals_a_plain_numpy_reference(z, labels, smoothing):
    target = np.full((4, 5), smoothing / 5)
    target[np.arange(4), labels] += 1 - smoothing
    expected = -(target * log_softmax(z, axis=1)).sum(axis=1)
    ours = hard_labels(torch.from_numpy(z), torch.tensor(labels), smoothing)
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-9, atol=1e-9)


@given(LOGITS, LABELS)
def test_mean_equals_torchs_cross_entropy(z, labels):
    student, target = torch.from_numpy(z), torch.tensor(labels)
    torch.testing.assert_close(
        hard_labels(student, target).mean(), F.cross_entropy(student, target)
    )


@given(LOGITS, LABELS)
def test_gradient_is_q_minus_the_one_hot_label(z, labels):
    student = torch.from_numpy(z).requires_grad_()
    (ours,) = torch.autograd.grad(hard_labels(student, torch.tensor(labels)).sum(), student)
    expected = np.exp(log_softmax(z, axis=1))
    expected[np.arange(4), labels] -= 1
    np.testing.assert_allclose(ours.numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("label", [4, 1000])
def test_labels_beyond_the_last_class_are_named_where_none_is_missing(label):
    with pytest.raises(DataError, match=rf"from 0 to 3 .*got \[{label}\]"):
        hard_labels(torch.zeros(3, 4), torch.tensor([0, label, 1]))


@pytest.mark.parametrize("shape", [(2,), (2, 4, 4)])
def test_logits_that_are_no_table_are_refused(shape):
    with pytest.raises(
        ModelError, match=r"must be \[batch, classes\], got float32.*let the student"
    ):
        hard_labels(torch.zeros(shape), torch.zeros(2, dtype=torch.int64))


@pytest.mark.parametrize("smoothing", [-0.1, 1.1, float("nan")])
def test_a_smoothing_outside_0_to_1_is_refused(smoothing):
    with pytest.raises(ArgumentError, match=r"`smoothing` must .*0 leaves the labels"):
        HardLabels(smoothing)
