import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch.nn.functional import binary_cross_entropy_with_logits
from torchmetrics.classification import BinaryCalibrationError

from tutelage.errors import ArgumentError, DataError, NonFiniteError
from tutelage.evaluation import calibration, reliability

LOGITS = arrays(np.float64, (12, 3), elements=st.floats(-20, 20))
MASKED = arrays(np.int64, (12, 3), elements=st.sampled_from([0, 1, -100]))


def drawn(rows=4000, labels=3, scale=1.0, seed=0):
    """Logits whose probabilities are right if the scale is 1, and labels."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(rows, labels, generator=generator, dtype=torch.float64)
    answers = torch.rand(rows, labels, generator=generator) < logits.sigmoid()
    return scale * logits, answers.long()


def test_reliability_by_hand():
    logits = torch.tensor([[0.9, 0.9], [0.9, 0.1]]).logit()
    found = reliability(logits, torch.tensor([[1, 0], [1, 0]]), bins=2, binary=True)
    assert found.confidence == pytest.approx((0.1, 0.9))
    assert found.accuracy == pytest.approx((0.0, 2 / 3))
    assert found.fraction == pytest.approx((0.25, 0.75))


@given(LOGITS, MASKED)
def test_error_equals_a_plain_reference(logits, labels):
    known = labels != -100
    assume(known.any())
    p, y = 1 / (1 + np.exp(-logits[known])), labels[known]
    bins = np.clip(np.ceil(p * 15), 1, 15)
    expected = sum(
        abs(y[bins == each].mean() - p[bins == each].mean()) * (bins == each).mean()
        for each in np.unique(bins)
    )
    ours = reliability(torch.from_numpy(logits), torch.from_numpy(labels), binary=True).error
    assert ours == pytest.approx(expected, abs=1e-9)


def test_error_of_a_single_label_equals_torchmetrics():
    logits, labels = drawn(labels=1, scale=2.0)
    theirs = BinaryCalibrationError(n_bins=15)(logits.sigmoid()[:, 0], labels[:, 0])
    ours = reliability(logits, labels[:, 0], binary=True).error
    assert ours == pytest.approx(theirs.item(), abs=1e-6)


@given(LOGITS, MASKED)
def test_likelihood_is_the_mean_over_the_known_labels(logits, labels):
    z, y = torch.from_numpy(logits), torch.from_numpy(labels)
    known = y != -100
    assume(bool(known.any()))
    expected = binary_cross_entropy_with_logits(z[known], y[known].double()).item()
    assert calibration(z, y, binary=True).nll == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_the_fitted_temperature_undoes_a_scale_of_the_logits(scale):
    held_out = drawn(scale=scale, seed=1)
    found = calibration(*drawn(scale=scale), held_out=held_out, binary=True)
    assert found.temperature == pytest.approx(scale, rel=0.06)
    assert found.scaled_ece < 0.02
    assert found.scaled_nll <= found.nll + 1e-3
    if scale != 1:
        assert found.ece > 3 * found.scaled_ece


def test_floats_with_nan_are_as_integers_with_minus_100():
    logits, labels = drawn(rows=50)
    labels[::3, 1] = -100
    floats = labels.double().masked_fill(labels == -100, torch.nan)
    ours, theirs = (calibration(logits, each, binary=True) for each in (floats, labels))
    assert ours == theirs


def test_what_has_no_calibration_is_refused():
    logits, labels = drawn(rows=4)
    with pytest.raises(DataError, match="at least one label must be known"):
        calibration(logits, torch.full((4, 3), -100), binary=True)
    with pytest.raises(DataError, match=r"0 or 1, got soft labels; round them"):
        calibration(logits, torch.full((4, 3), 0.3), binary=True)
    with pytest.raises(NonFiniteError, match="got 12 that are not"):
        calibration(logits * torch.inf, labels, binary=True)
    with pytest.raises(ArgumentError, match="`bins` must be at least 1"):
        reliability(logits, labels, bins=0, binary=True)
