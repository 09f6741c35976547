import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tutelage.errors import ArgumentError
from tutelage.evaluation import Interval, mean_interval

VALUES = st.lists(st.floats(-100, 100), min_size=2, max_size=10)


@given(VALUES, st.floats(0.5, 0.999))
def test_is_scipys_t_interval(values, confidence):
    ours = mean_interval(values, confidence)
    error = stats.sem(values)
    low, high = (
        stats.t.interval(confidence, len(values) - 1, np.mean(values), error)
        if error > 0
        else (np.mean(values),) * 2
    )
    assert (ours.mean, ours.low, ours.high) == pytest.approx(
        (np.mean(values), low, high), rel=1e-9, abs=1e-9
    )


def test_equal_values_leave_no_width():
    assert mean_interval([2.0, 2.0, 2.0]) == Interval(2.0, 2.0, 2.0)


def test_it_holds_the_truth_as_often_as_it_says():
    draws = np.random.default_rng(0).normal(3.0, size=(1000, 4))
    intervals = [mean_interval(row.tolist(), 0.9) for row in draws]
    share = np.mean([each.low <= 3.0 <= each.high for each in intervals])
    assert share == pytest.approx(0.9, abs=0.03)


def test_half_width_is_the_number_behind_plus_minus():
    assert Interval(2.0, 1.5, 2.5).half_width == 0.5


@pytest.mark.parametrize("values", [[], [1.0]])
def test_fewer_than_two_repetitions_are_refused(values):
    with pytest.raises(ArgumentError, match=rf"at least two .*got {len(values)}; run more seeds"):
        mean_interval(values)


@pytest.mark.parametrize("confidence", [0, 1, 95, -0.5, float("nan")])
def test_a_confidence_that_is_none_is_refused(confidence):
    with pytest.raises(ArgumentError, match="`confidence` must"):
        mean_interval([1.0, 2.0], confidence)
