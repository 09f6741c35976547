import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import accuracy_score, confusion_matrix, jaccard_score

from tutelage import evaluation
from tutelage.errors import DataError, NonFiniteError
from tutelage.evaluation import (
    accuracy,
    confusion_by_example,
    iou_by_class,
    mean_iou,
    mean_iou_of,
)
from tutelage.rows import Rows

LOGITS = arrays(np.float32, (14, 4), elements=st.floats(-20, 20, width=32))
CLASSES = arrays(np.int64, 14, elements=st.sampled_from([-100, 0, 1, 2, 3, 3])).filter(
    lambda labels: (labels >= 0).any()
)
IMAGES = arrays(np.int64, 14, elements=st.integers(0, 3))


def reference(predicted, labels, classes=4):
    """The IoU of each class that has one, by loops over rows."""
    ious = {}
    for k in range(classes):
        both = either = 0
        for p, y in zip(predicted, labels, strict=True):
            if y != -100:
                both += p == k and y == k
                either += k in (p, y)
        if either:
            ious[k] = both / either
    return ious


def tensors(*values):
    return [torch.from_numpy(each) for each in values]


def test_by_hand():
    logits = torch.eye(3)[[0, 0, 1, 1, 2]]
    labels = torch.tensor([0, 1, 1, 0, -100])
    assert iou_by_class(logits, labels) == {0: 1 / 3, 1: 1 / 3}  # class 2 is in neither
    assert mean_iou(logits, labels) == pytest.approx(1 / 3)
    assert accuracy(logits, labels) == 0.5


@given(LOGITS, CLASSES)
def test_equals_plain_loops(logits, labels):
    expected = reference(logits.argmax(axis=1), labels)
    ours = iou_by_class(*tensors(logits, labels))
    assert list(ours) == sorted(expected)
    assert ours == pytest.approx(expected)
    mean = sum(expected.values()) / len(expected)
    assert mean_iou(*tensors(logits, labels)) == pytest.approx(mean)


@given(LOGITS, CLASSES)
def test_equals_scikit_learns(logits, labels):
    known, predicted = labels >= 0, logits.argmax(axis=1)
    both = labels[known], predicted[known]
    present = np.union1d(*both)
    expected = jaccard_score(*both, labels=present, average="macro", zero_division=0)
    assert mean_iou(*tensors(logits, labels)) == pytest.approx(expected)
    assert accuracy(*tensors(logits, labels)) == pytest.approx(accuracy_score(*both))
    zeros = np.zeros_like(labels)
    (ours,) = confusion_by_example(*tensors(predicted, labels, zeros), 4)
    assert np.array_equal(ours.numpy(), confusion_matrix(*both, labels=range(4)))


@given(LOGITS, CLASSES, IMAGES)
def test_confusion_of_each_example_is_that_of_its_rows(logits, labels, images):
    predicted = logits.argmax(axis=1)
    ours = confusion_by_example(*tensors(predicted, labels, images), 4)
    assert ours.shape == (images.max() + 1, 4, 4)
    for place, each in enumerate(ours):
        rows = (images == place) & (labels >= 0)
        own = confusion_matrix(labels[rows], predicted[rows], labels=range(4)) if any(rows) else 0
        assert np.array_equal(each.numpy(), own + np.zeros((4, 4)))
    assert mean_iou_of(ours) == mean_iou_of(ours.sum(dim=0))
    assert mean_iou_of(ours) == pytest.approx(mean_iou(*tensors(logits, labels)))


def test_counts_over_all_rows_and_not_image_by_image():
    confusion = torch.tensor([[[9, 0], [1, 0]], [[0, 0], [0, 10]]])
    assert mean_iou_of(confusion) == pytest.approx((9 / 10 + 10 / 11) / 2)
    assert mean_iou_of(confusion[:1]) == pytest.approx(0.9 / 2)  # class 1 is missed there
    assert mean_iou_of(confusion[1:]) == 1.0  # class 0 is in neither


def test_many_rows_are_counted_exactly():
    """Counts beyond 2^24, where float32 ends."""
    confusion = torch.tensor([[2**24 + 1, 0], [1, 2**24]])
    assert mean_iou_of(confusion) == ((2**24 + 1) / (2**24 + 2) + 2**24 / (2**24 + 1)) / 2


class TestNaN:
    LOGITS = torch.tensor([[torch.nan, 1.0], [0.0, 1.0]])

    def test_a_model_that_diverged_has_no_metric(self):
        labels = torch.tensor([0, 1])
        assert math.isnan(mean_iou(self.LOGITS, labels))
        assert math.isnan(accuracy(self.LOGITS, labels))
        with pytest.raises(NonFiniteError, match="logits of labelled rows must be numbers"):
            iou_by_class(self.LOGITS, labels)

    def test_of_a_void_row_it_does_not_matter(self):
        labels = torch.tensor([-100, 1])
        assert mean_iou(self.LOGITS, labels) == accuracy(self.LOGITS, labels) == 1.0
        assert iou_by_class(self.LOGITS, labels) == {1: 1.0}


class TestBadInput:
    LOGITS = torch.zeros(3, 2)

    @pytest.mark.parametrize("metric", [mean_iou, iou_by_class])
    def test_of_logits_and_labels(self, metric):
        with pytest.raises(DataError, match=r"logits must be \[rows, classes\] .*flatten"):
            metric(torch.zeros(1, 2, 4, 4), torch.zeros(1, 4, 4).long())
        with pytest.raises(DataError, match=r"logits must be \[rows, classes\] .*flatten"):
            metric(self.LOGITS, torch.zeros(4).long())
        with pytest.raises(DataError, match="at least one row must have a label, got only -100"):
            metric(self.LOGITS, torch.full((3,), -100))
        with pytest.raises(DataError, match="labels must lie from 0 to 1"):
            metric(self.LOGITS, torch.tensor([0, 1, 255]))
        with pytest.raises(DataError, match="must be integers"):
            metric(self.LOGITS, torch.zeros(3))

    @pytest.mark.parametrize(
        ("predicted", "labels", "examples", "match"),
        [
            ([0, 1], [0, 1], [0], r"must be \[rows\], one of each for a row"),
            ([0, 2], [0, 1], [0, 0], "must lie from 0 to 1, .* got 0 to 2"),
            ([0, -1], [0, 1], [0, 0], "must lie from 0 to 1, .* got -1 to 0"),
            ([0, 1], [0, 2], [0, 0], "labels must lie from 0 to 1"),
            ([0, 1], [0, -1], [0, 0], "labels must lie from 0 to 1"),
            ([0.5, 1], [0, 1], [0, 0], "must be integers, got"),
        ],
    )
    def test_of_class_ids(self, predicted, labels, examples, match):
        with pytest.raises(DataError, match=match):
            confusion_by_example(*map(torch.tensor, (predicted, labels, examples)), 2)

    def test_a_prediction_at_a_void_row_does_not_matter(self):
        ours = confusion_by_example(
            torch.tensor([0, 99, -7]), torch.tensor([0, -100, -100]), torch.tensor([0, 0, 1]), 2
        )
        assert ours.tolist() == [[[1, 0], [0, 0]], [[0, 0], [0, 0]]]


def test_images_without_a_labelled_pixel_may_be_more_than_pixels():
    rows = Rows.counted(torch.tensor([0, 1, 0, 0, 2, 0]))
    output, labels = torch.eye(2)[[0, 1, 1]], torch.tensor([0, 0, 1])
    counts = evaluation.MeanIoU().counts(output, labels, rows)
    assert counts.shape == (6, 2, 2)
    assert counts[1].tolist() == [[1, 0], [0, 0]]
    assert counts[4].tolist() == [[0, 1], [0, 1]]
    assert counts.sum() == 3
