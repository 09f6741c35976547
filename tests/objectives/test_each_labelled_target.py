"""Checks that every loss of logits with class labels must pass."""

import pytest
import torch

from objective_samples import gradient, logits
from tutelage.errors import DataError, ModelError
from tutelage.objectives import dkd, hard_labels, nkd, ofa

LOSSES = {
    "dkd": dkd,
    "nkd": nkd,
    "ofa": ofa,
    "hard_labels": lambda z, _, labels: hard_labels(z, labels),
    "smoothed": lambda z, _, labels: hard_labels(z, labels, 0.1),
}


@pytest.fixture(params=LOSSES)
def loss(request):
    return LOSSES[request.param]


def test_an_unlabelled_example_has_no_loss_and_no_gradient(loss):
    student, teacher = logits(rows=3)
    values = loss(student, teacher, torch.tensor([1, -100, 3]))
    ours = gradient(values, student)
    assert (values == 0).tolist() == [False, True, False]
    assert ours[1].abs().max() == 0
    assert ours[[0, 2]].abs().min() > 0


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.int16, torch.int32])
def test_labels_may_have_any_integer_dtype(loss, dtype):
    student, teacher = logits(rows=2, classes=4)
    labels = torch.tensor([3, 0])
    ours = loss(student, teacher, labels.to(dtype))
    assert torch.equal(ours, loss(student, teacher, labels))


@pytest.mark.parametrize("label", [4, 7, -1, -99])
def test_labels_out_of_range_are_named(loss, label):
    both = torch.zeros(2, 3, 4)
    with pytest.raises(DataError, match=rf"from 0 to 3 .*got \[{label}\].*4 outputs: correct"):
        loss(*both, torch.tensor([0, label, -100]))


def test_float_labels_are_refused_with_the_way_out(loss):
    with pytest.raises(DataError, match=r"integer class ids.*float32 \[2\].*LabelRegression"):
        loss(*torch.zeros(2, 2, 4), torch.tensor([0.0, 1.0]))


@pytest.mark.parametrize("shape", [(3,), (2, 1), (2, 4), ()])
def test_labels_of_another_shape_are_refused(loss, shape):
    with pytest.raises(DataError, match=r"of shape \[2\], got int64"):
        loss(*torch.zeros(2, 2, 4), torch.zeros(shape, dtype=torch.int64))


def test_a_single_class_is_refused(loss):
    with pytest.raises(ModelError, match=r"at least two classes, got 1; .*BinaryLabels"):
        loss(torch.zeros(2, 1), torch.zeros(2, 1), torch.tensor([0, 0]))
