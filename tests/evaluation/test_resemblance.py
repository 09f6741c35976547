import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import pearsonr

from tutelage.errors import ArgumentError, DataError
from tutelage.evaluation import class_similarity, similarity_correlation

LOGITS = arrays(np.float64, (12, 4), elements=st.floats(-10, 10))
LABELS = torch.tensor([0, 1, 2, 3] * 3)


class TestSimilarity:
    def test_by_hand(self):
        logits = torch.tensor([[0.8, 0.2], [0.6, 0.4], [0.1, 0.9]], dtype=torch.float64).log()
        found = class_similarity(logits, torch.tensor([0, 0, 1]))
        expected = torch.tensor([[0.7, 0.3], [0.1, 0.9]], dtype=torch.float64)
        torch.testing.assert_close(found, expected)

    @given(LOGITS, st.floats(0.5, 10))
    def test_is_the_mean_of_each_classs_probabilities(self, logits, temperature):
        output = torch.from_numpy(logits)
        soft = (output / temperature).softmax(dim=1)
        expected = torch.stack([soft[each == LABELS].mean(dim=0) for each in range(4)])
        torch.testing.assert_close(class_similarity(output, LABELS, temperature), expected)

    @given(LOGITS)
    def test_rows_sum_to_1(self, logits):
        total = class_similarity(torch.from_numpy(logits), LABELS).sum(dim=1)
        torch.testing.assert_close(total, torch.ones(4, dtype=torch.float64))

    def test_a_class_without_examples_is_nan_and_unlabelled_ones_are_left_out(self):
        labels = torch.tensor([0, 0, -100, 2])
        found = class_similarity(torch.randn(4, 4), labels)
        assert found.isnan().all(dim=1).tolist() == [False, True, False, True]
        assert not found[[0, 2]].isnan().any()

    def test_a_high_temperature_gives_uniform_rows(self):
        found = class_similarity(torch.randn(12, 4), LABELS, temperature=1e6)
        torch.testing.assert_close(found, torch.full((4, 4), 0.25).double(), rtol=0, atol=1e-5)

    def test_invalid_inputs_are_refused(self):
        with pytest.raises(ArgumentError, match="`temperature` must be positive"):
            class_similarity(torch.zeros(2, 2), torch.tensor([0, 1]), 0)
        with pytest.raises(DataError, match=r"logits must be \[examples, classes\]"):
            class_similarity(torch.zeros(2, 2), torch.tensor([0]))


class TestCorrelation:
    @given(LOGITS, LOGITS)
    def test_equals_scipys_correlation_off_the_diagonal(self, student, teacher):
        off = ~torch.eye(4, dtype=torch.bool)
        student_matrix, teacher_matrix = (
            class_similarity(torch.from_numpy(x), LABELS) for x in (student, teacher)
        )
        if min(student_matrix[off].std(), teacher_matrix[off].std()) < 1e-6:
            return
        expected = pearsonr(student_matrix[off].numpy(), teacher_matrix[off].numpy()).statistic
        assert similarity_correlation(student_matrix, teacher_matrix) == pytest.approx(
            expected, abs=1e-9
        )

    def test_the_diagonal_does_not_matter(self):
        matrix = torch.rand(4, 4)
        assert similarity_correlation(matrix + 9 * torch.eye(4), matrix) == pytest.approx(1)

    def test_nan_rows_are_left_out(self):
        student, teacher = torch.rand(4, 4), torch.rand(4, 4)
        kept = similarity_correlation(student[1:, 1:], teacher[1:, 1:])
        student[0], teacher[:, 0] = math.nan, math.nan
        assert similarity_correlation(student, teacher) == pytest.approx(kept)

    def test_constant_entries_give_nan(self):
        assert math.isnan(similarity_correlation(torch.full((3, 3), 0.1), torch.rand(3, 3)))

    def test_different_or_non_square_shapes_are_refused(self):
        for student, teacher in ((3, 3), (4, 4)), ((3, 4), (3, 4)), ((4,), (4,)):
            with pytest.raises(ArgumentError, match=r"must both be \[classes, classes\]"):
                similarity_correlation(torch.zeros(student), torch.zeros(teacher))

    @pytest.mark.parametrize("classes", [0, 1])
    def test_fewer_than_two_entries_are_refused(self, classes):
        with pytest.raises(ArgumentError, match="at least 2 off-diagonal entries"):
            similarity_correlation(torch.rand(classes, classes), torch.rand(classes, classes))
