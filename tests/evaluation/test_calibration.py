import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import log_loss
from torchmetrics.classification import MulticlassCalibrationError

from tutelage.errors import ArgumentError, DataError, NonFiniteError
from tutelage.evaluation import (
    Calibration,
    Reliability,
    calibration,
    reliability,
)

LOGITS = arrays(np.float64, (12, 4), elements=st.floats(-30, 30))
CLASSES = arrays(np.int64, 12, elements=st.integers(0, 3))
ORDER = st.permutations(range(12))

# Says 80 % twice and is right once; says 60 % once and is right.
SURE = torch.tensor([[0.8, 0.2], [0.2, 0.8], [0.6, 0.4]]).log()
TRUE = torch.tensor([0, 0, 0])


def drawn(number=20_000, classes=5, scale=2.0, seed=0):
    """Logits, and labels sampled from their probabilities."""
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(number, classes, generator=generator)
    return logits, logits.softmax(dim=1).multinomial(1, generator=generator)[:, 0]


class TestLikelihood:
    def test_by_hand(self):
        expected = -(math.log(0.8) + math.log(0.2) + math.log(0.6)) / 3
        assert calibration(SURE, TRUE).nll == pytest.approx(expected)

    @given(LOGITS, CLASSES)
    def test_equals_scikit_learns_log_loss(self, logits, labels):
        output = torch.from_numpy(logits) / 2  # beyond gaps of 36 scikit-learn clips
        expected = log_loss(labels, output.softmax(dim=1).numpy(), labels=range(4))
        ours = calibration(output, torch.from_numpy(labels)).nll
        assert ours == pytest.approx(expected, abs=1e-6)

    def test_confident_errors_cost_the_logit_difference_and_stay_finite(self):
        assert calibration(torch.tensor([[1e4, -1e4]]), torch.tensor([1])).nll == 2e4

    def test_half_precision_is_computed_in_float64(self):
        logits, labels = drawn(1000)
        rounded = logits.bfloat16()
        expected = calibration(rounded.double(), labels).nll
        assert calibration(rounded, labels).nll == expected


class TestReliability:
    def test_by_hand(self):
        found = reliability(SURE, TRUE)
        assert found.confidence == pytest.approx((0.6, 0.8))
        assert found.accuracy == (1.0, 0.5)
        assert found.fraction == pytest.approx((1 / 3, 2 / 3))

    def test_a_single_bin(self):
        assert reliability(SURE, TRUE, bins=1).fraction == (1.0,)

    def test_confidence_1_is_in_the_last_bin(self):
        found = reliability(torch.tensor([[1e4, 0.0], [3.0, 0.0]]), torch.tensor([0, 0]), bins=10)
        assert len(found.fraction) == 1

    @given(LOGITS, CLASSES)
    def test_weighted_bin_means_equal_means_over_examples(self, logits, labels):
        output = torch.from_numpy(logits)
        found = reliability(output, torch.from_numpy(labels))
        assert sum(found.fraction) == pytest.approx(1)
        assert np.dot(found.fraction, found.accuracy) == pytest.approx(
            np.mean(logits.argmax(axis=1) == labels)
        )
        top = output.softmax(dim=1).amax(dim=1).mean()
        assert np.dot(found.fraction, found.confidence) == pytest.approx(top)
        assert list(found.confidence) == sorted(found.confidence)


class TestError:
    def test_by_hand(self):
        assert reliability(SURE, TRUE).error == pytest.approx(2 / 3 * 0.3 + 1 / 3 * 0.4)

    @pytest.mark.parametrize("bins", [1, 10, 15])
    @pytest.mark.parametrize("scale", [0.5, 3.0])
    def test_equals_torchmetrics(self, bins, scale):
        logits, labels = drawn(500, scale=scale)
        theirs = MulticlassCalibrationError(5, n_bins=bins)(logits, labels)
        assert reliability(logits, labels, bins).error == pytest.approx(float(theirs), abs=1e-5)

    def test_is_close_to_zero_for_calibrated_labels(self):
        # Each bin is off by about sqrt(p(1 − p)/n): at most 0.5 · sqrt(15/20000) = 0.014 in all.
        assert reliability(*drawn()).error < 0.014

    def test_is_the_gap_of_an_overconfident_model(self):
        logits, labels = drawn()
        assert reliability(3 * logits, labels).error > 0.1

    @given(LOGITS, CLASSES, st.integers(1, 20))
    def test_is_between_0_and_1(self, logits, labels, bins):
        error = reliability(torch.from_numpy(logits), torch.from_numpy(labels), bins).error
        assert 0 <= error <= 1

    @given(LOGITS, CLASSES, ORDER)
    def test_the_order_of_the_examples_does_not_matter(self, logits, labels, order):
        output, labels = torch.from_numpy(logits), torch.from_numpy(labels)
        error = reliability(output[order], labels[order]).error
        assert error == pytest.approx(reliability(output, labels).error)

    @given(LOGITS, CLASSES, st.permutations(range(4)))
    def test_the_numbering_of_classes_does_not_matter(self, logits, labels, names):
        # Where two classes are equally likely, the first is the answer: not a matter of names.
        logits = logits + np.arange(4) * 1e-4
        output, labels = torch.from_numpy(logits), torch.from_numpy(labels)
        if output.sort(dim=1).values.diff(dim=1).min() < 1e-9:
            return
        renamed = torch.tensor(names).argsort()[labels]
        error = reliability(output[:, names], renamed).error
        assert error == pytest.approx(reliability(output, labels).error)


class TestAll:
    def test_without_held_out_data_no_temperature_is_fitted(self):
        found = calibration(SURE, TRUE)
        assert found == Calibration(calibration(SURE, TRUE).nll, reliability(SURE, TRUE).error)
        assert found.temperature is found.scaled_nll is found.scaled_ece is None

    def test_a_temperature_from_held_out_data_corrects_an_overconfident_model(self):
        (test, labels), (val, val_labels) = drawn(seed=1), drawn(seed=2)
        found = calibration(3 * test, labels, held_out=(3 * val, val_labels))
        assert found.temperature == pytest.approx(3, rel=0.05)
        assert found.scaled_nll < found.nll
        assert found.scaled_nll == pytest.approx(calibration(test, labels).nll, rel=0.01)
        assert found.scaled_ece < 0.02
        assert found.ece > 0.1

    def test_scaled_metrics_are_those_of_divided_logits(self):
        test, labels = drawn(200)
        found = calibration(test, labels, held_out=drawn(200, seed=3))
        scaled = test.double() / found.temperature
        assert found.scaled_nll == calibration(scaled, labels).nll
        assert found.scaled_ece == pytest.approx(reliability(scaled, labels).error)


@pytest.mark.parametrize("metric", [reliability, calibration])
class TestInput:
    def test_unlabelled_examples_are_left_out(self, metric):
        logits, labels = drawn(50)
        hidden = labels.where(torch.arange(50) % 3 > 0, -100)
        known = hidden != -100
        assert metric(logits, hidden) == metric(logits[known], labels[known])

    def test_labels_may_be_uint8(self, metric):
        assert metric(SURE, TRUE.byte()) == metric(SURE, TRUE)

    def test_mismatched_shapes_are_refused(self, metric):
        for output, labels in ((SURE, TRUE[:2]), (SURE[0], TRUE), (SURE, TRUE[:, None])):
            with pytest.raises(DataError, match=r"logits must be \[examples, classes\] .*got"):
                metric(output, labels)

    def test_values_are_no_class_ids(self, metric):
        with pytest.raises(DataError, match=r"labels integers \[examples\], got .* float32 \[2\]"):
            metric(torch.zeros(2, 3), torch.tensor([0.7, 1.0]))

    def test_data_without_any_label_is_refused(self, metric):
        with pytest.raises(DataError, match="at least one label must be known"):
            metric(SURE, torch.full((3,), -100))

    @pytest.mark.parametrize("bad", [-1, 2])
    def test_class_ids_out_of_range_are_refused(self, metric, bad):
        with pytest.raises(DataError, match=r"labels must lie from 0 to 1, .*number the classes"):
            metric(SURE, torch.tensor([0, 1, bad]))

    @pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
    def test_non_finite_logits_are_refused(self, metric, bad):
        with pytest.raises(NonFiniteError, match="logits must be finite, got 1 that are not"):
            metric(torch.tensor([[bad, 0.0]]), torch.tensor([0]))


@pytest.mark.parametrize("bins", [0, -1, 1.5])
def test_zero_bins_are_refused(bins):
    with pytest.raises(ArgumentError, match="`bins` must"):
        reliability(SURE, TRUE, bins)


def test_reliability_contains_only_bins_with_examples():
    assert reliability(SURE[:1], TRUE[:1]) == Reliability((pytest.approx(0.8),), (1.0,), (1.0,))
