import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import recall_score

from tutelage.errors import DataError
from tutelage.evaluation import by_class

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
