import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import recall_score
from torchmetrics.classification import MulticlassAccuracy

from tutelage.errors import ArgumentError, DataError
from tutelage.evaluation import accuracy, by_class, by_group, mse

LOGITS = arrays(np.float64, (12, 4), elements=st.floats(-10, 10))
CLASSES = arrays(np.int64, 12, elements=st.integers(0, 3))


class TestClasses:
    @given(LOGITS, CLASSES)
    def test_equals_scikit_learns_recall(self, logits, labels):
        found = by_class(torch.from_numpy(logits), torch.from_numpy(labels))
        there = sorted(set(labels.tolist()))
        expected = recall_score(labels, logits.argmax(axis=1), labels=there, average=None)
        assert list(found) == there
        assert list(found.values()) == pytest.approx(expected.tolist())

    def test_unlabelled_examples_are_ignored(self):
        logits = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
        assert by_class(logits, torch.tensor([-100, 0])) == {0: 1.0}

    def test_data_without_any_label_is_refused(self):
        with pytest.raises(DataError, match="at least one label must be known"):
            by_class(torch.zeros(1, 2), torch.tensor([-100]))


class TestGroups:
    LOGITS = torch.tensor([[2.0, 1.0], [2.0, 1.0], [0.0, 1.0]])
    LABELS = torch.tensor([0, 1, 1])

    @pytest.mark.parametrize(
        ("groups", "names"),
        [
            (["b", "a", "b"], ["b", "a"]),
            ((7, 3, 7), ["7", "3"]),
            (torch.tensor([7, 3, 7]), ["7", "3"]),
        ],
    )
    def test_groups_are_names_or_numbers_and_keep_their_order(self, groups, names):
        found = by_group(accuracy, self.LOGITS, self.LABELS, groups)
        assert list(found.items()) == list(zip(names, [1.0, 0.0], strict=True))

    def test_any_metric(self):
        metric = MulticlassAccuracy(2, average="micro")
        found = by_group(metric, self.LOGITS, self.LABELS, ["a", "b", "a"])
        assert found == {"a": 1.0, "b": 0.0}

    def test_groups_of_values(self):
        output, labels = torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([[1.0], [0.0], [2.0]])
        assert by_group(mse, output, labels, ["a", "b", "b"]) == {"a": 0.0, "b": 4.0}

    def test_a_single_group(self):
        whole = accuracy(self.LOGITS, self.LABELS)
        assert by_group(accuracy, self.LOGITS, self.LABELS, ["x"] * 3) == {"x": whole}

    def test_too_few_groups_are_refused(self):
        with pytest.raises(ArgumentError, match="one entry for each of 3 outputs, got 2 and 3"):
            by_group(accuracy, self.LOGITS, self.LABELS, ["a", "b"])

    def test_an_invalid_metric_is_named(self):
        with pytest.raises(ArgumentError, match="metric `f1` must be a function"):
            by_group("f1", self.LOGITS, self.LABELS, ["a", "b", "b"], name="f1")
