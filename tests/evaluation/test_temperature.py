import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import minimize_scalar

from tutelage.errors import DataError, NonFiniteError
from tutelage.evaluation import calibration, fit_temperature

LOGITS = arrays(np.float64, (12, 4), elements=st.floats(-30, 30))
CLASSES = arrays(np.int64, 12, elements=st.integers(0, 3))


def drawn(number=20_000, classes=5, seed=0):
    """Logits, and labels sampled from their probabilities."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(number, classes, generator=generator, dtype=torch.float64)
    return logits, logits.softmax(dim=1).multinomial(1, generator=generator)[:, 0]


def test_by_hand():
    """Right in 3 of 4 with two classes: the gap must become log 3."""
    logits = torch.tensor([[5.0, 0.0]] * 4)
    assert fit_temperature(logits, torch.tensor([0, 0, 0, 1])) == pytest.approx(5 / math.log(3))


def test_is_1_for_calibrated_labels():
    assert fit_temperature(*drawn()) == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("factor", [1e-4, 0.3, 7.0, 1e4])
def test_scaling_logits_scales_the_temperature(factor):
    logits, labels = drawn(500)
    expected = factor * fit_temperature(logits, labels)
    assert fit_temperature(factor * logits, labels) == pytest.approx(expected)


@given(LOGITS, CLASSES)
def test_the_likelihood_of_the_fitted_data_never_falls(logits, labels):
    output, labels = torch.from_numpy(logits), torch.from_numpy(labels)
    scaled = output / fit_temperature(output, labels)
    before = calibration(output, labels).nll
    assert calibration(scaled, labels).nll <= before + 1e-9


@given(LOGITS, CLASSES)
def test_no_nearby_temperature_is_better(logits, labels):
    output, labels = torch.from_numpy(logits), torch.from_numpy(labels)
    fitted = fit_temperature(output, labels)
    spread = output - output.mean(dim=1, keepdim=True)
    scale = spread.square().mean().sqrt().item() or 1.0
    best = calibration(output / fitted, labels).nll
    for other in (fitted * 0.99, fitted * 1.01):
        if scale / 100 <= other <= scale * 100:
            assert calibration(output / other, labels).nll >= best - 1e-9


@pytest.mark.parametrize("seed", range(3))
def test_equals_a_plain_minimizers_result(seed):
    logits, labels = drawn(300, seed=seed)
    labels = labels.where(torch.arange(300) % 4 > 0, 0)  # some wrong, so that T is not 1
    found = minimize_scalar(
        lambda log: calibration(logits / math.exp(log), labels).nll,
        bounds=(-3, 3),
        method="bounded",
        options={"xatol": 1e-9},
    )
    assert fit_temperature(logits, labels) == pytest.approx(math.exp(found.x), rel=1e-5)


@pytest.mark.parametrize("excluded", [-1e4, -1e8])
def test_classes_that_are_ruled_out_change_nothing(excluded):
    """Of an underconfident model too, whose T is below 1."""
    logits, labels = drawn(500)
    logits = 0.2 * logits
    expected = fit_temperature(logits, labels)
    assert expected < 0.5
    both = torch.cat([logits, torch.full_like(logits, excluded)], dim=1)
    assert fit_temperature(both, labels) == pytest.approx(expected)


class TestBounds:
    def test_all_correct_gives_the_lower_bound(self):
        logits, labels = torch.tensor([[2.0, -2.0], [-2.0, 2.0]]), torch.tensor([0, 1])
        assert fit_temperature(logits, labels) == pytest.approx(0.02)

    def test_all_wrong_gives_the_upper_bound(self):
        logits, labels = torch.tensor([[2.0, -2.0], [-2.0, 2.0]]), torch.tensor([1, 0])
        assert fit_temperature(logits, labels) == pytest.approx(200)

    def test_large_logits_that_are_all_correct_keep_temperature_1(self):
        logits, labels = 1e4 * torch.tensor([[1.0, -1.0], [-1.0, 1.0]]), torch.tensor([0, 1])
        assert fit_temperature(logits, labels) == 1

    def test_small_logits_that_are_all_wrong_keep_temperature_1(self):
        logits, labels = 1e-4 * torch.tensor([[1.0, -1.0], [-1.0, 1.0]]), torch.tensor([1, 0])
        assert fit_temperature(logits, labels) == 1

    def test_large_logits_with_an_error_need_a_large_temperature(self):
        logits = 1e4 * torch.tensor([[1.0, -1.0]] * 4)
        found = fit_temperature(logits, torch.tensor([0, 0, 0, 1]))
        assert found == pytest.approx(2e4 / math.log(3))

    def test_equal_logits_give_temperature_1(self):
        assert fit_temperature(torch.full((3, 4), 7.0), torch.tensor([0, 1, 2])) == 1


def test_unlabelled_examples_are_left_out():
    logits, labels = drawn(50)
    hidden = labels.where(torch.arange(50) % 3 > 0, -100)
    known = hidden != -100
    assert fit_temperature(logits, hidden) == fit_temperature(logits[known], labels[known])


def test_invalid_inputs_are_refused():
    with pytest.raises(DataError, match="at least one label must be known"):
        fit_temperature(torch.zeros(2, 3), torch.full((2,), -100))
    with pytest.raises(NonFiniteError, match="logits must be finite"):
        fit_temperature(torch.full((2, 3), math.nan), torch.zeros(2).long())


def test_of_very_many_examples_some_are_enough(monkeypatch):
    logits, labels = drawn(number=40_000)
    labels = labels.where(torch.arange(40_000) % 2 == 0, -100)
    whole = fit_temperature(1.7 * logits, labels)
    monkeypatch.setattr("tutelage.tasks.calibration._MOST_EXAMPLES", 5_000)
    some = fit_temperature(1.7 * logits, labels)
    assert some == pytest.approx(whole, rel=0.03)
    assert some != whole
    assert some == fit_temperature(1.7 * logits, labels)
    monkeypatch.setattr("tutelage.tasks.calibration._MOST_EXAMPLES", 20_000)
    assert fit_temperature(1.7 * logits, labels) == whole


def test_of_very_many_examples_unsigned_labels_are_all_known(monkeypatch):
    """−100 in unsigned bytes would be 156, which may be a class."""
    monkeypatch.setattr("tutelage.tasks.calibration._MOST_EXAMPLES", 20)
    logits = torch.randn(40, 160, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([156, 3] * 20)
    assert fit_temperature(logits, labels.to(torch.uint8)) == fit_temperature(logits, labels)
