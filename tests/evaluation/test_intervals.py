"""Intervals and paired statistics against scipy's, and against simulation."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import tutelage as tl
from tutelage.evaluation import (
    Interval,
    bootstrap_interval,
    mean_interval,
    non_inferiority,
    seeds_needed,
)

SOME = [0.011, -0.004, 0.007, 0.002, 0.009, -0.001]
numbers = st.lists(st.floats(-1, 1), min_size=2, max_size=12).filter(lambda v: np.std(v) > 1e-6)


class TestMeanInterval:
    @given(st.lists(st.floats(-100, 100), min_size=2, max_size=10), st.floats(0.5, 0.999))
    def test_equals_scipys_t_interval(self, values, confidence):
        interval = mean_interval(values, confidence)
        error = stats.sem(values)
        low, high = (
            stats.t.interval(confidence, len(values) - 1, np.mean(values), error)
            if error > 0
            else (np.mean(values),) * 2
        )
        assert (interval.mean, interval.low, interval.high) == pytest.approx(
            (np.mean(values), low, high), rel=1e-9, abs=1e-9
        )

    def test_equal_values_have_width_zero(self):
        assert mean_interval([2.0, 2.0, 2.0]) == Interval(2.0, 2.0, 2.0)

    def test_coverage_equals_the_confidence(self):
        draws = np.random.default_rng(0).normal(3.0, size=(1000, 4))
        intervals = [mean_interval(row.tolist(), 0.9) for row in draws]
        fraction = np.mean([each.low <= 3.0 <= each.high for each in intervals])
        assert fraction == pytest.approx(0.9, abs=0.03)

    def test_half_width(self):
        assert Interval(2.0, 1.5, 2.5).half_width == 0.5

    @pytest.mark.parametrize("values", [[], [1.0]])
    def test_fewer_than_two_repetitions_are_refused(self, values):
        with pytest.raises(
            tl.ArgumentError, match=rf"at least two .*got {len(values)}; run more seeds"
        ):
            mean_interval(values)

    @pytest.mark.parametrize("confidence", [0, 1, 95, -0.5, float("nan")])
    def test_an_invalid_confidence_is_refused(self, confidence):
        with pytest.raises(tl.ArgumentError, match="`confidence` must"):
            mean_interval([1.0, 2.0], confidence)


class TestNonInferiority:
    @given(numbers, st.floats(0, 1))
    def test_it_is_the_one_sided_t_test_of_a_shifted_hypothesis(self, differences, margin):
        test = non_inferiority(differences, margin)
        reference = stats.ttest_1samp(differences, -margin, alternative="greater")
        assert test.bound == pytest.approx(reference.confidence_interval(0.95).low)
        assert test.shown == (reference.pvalue < 0.05) or math.isclose(reference.pvalue, 0.05)

    def test_a_non_significant_difference_is_not_non_inferiority(self):
        """A wide spread around zero is not significant, and yet shows nothing."""
        wide = [0.05, -0.05, 0.04, -0.04]
        assert stats.ttest_1samp(wide, 0).pvalue > 0.9
        assert not non_inferiority(wide, margin=0.02).shown

    def test_a_small_and_certain_loss_is_within_the_margin(self):
        assert non_inferiority([-0.004, -0.005, -0.006], margin=0.01).shown

    def test_its_error_rate_equals_the_level(self):
        """A student that is worse by the whole margin passes in 5 % of studies."""
        generator = np.random.default_rng(0)
        studies = generator.normal(-0.01, 0.02, (4000, 5))
        passed = np.mean([non_inferiority(list(each), 0.01).shown for each in studies])
        assert passed == pytest.approx(0.05, abs=4 * math.sqrt(0.05 * 0.95 / 4000))


class TestBootstrap:
    def test_one_seed_equals_the_bootstrap_of_scipy(self):
        scores = np.random.default_rng(1).integers(-1, 2, 300).astype(float)
        interval = bootstrap_interval(scores, resamples=20_000)
        reference = stats.bootstrap(
            (scores,), np.mean, n_resamples=20_000, method="percentile", rng=2
        )
        assert interval.low == pytest.approx(reference.confidence_interval.low, abs=0.005)
        assert interval.high == pytest.approx(reference.confidence_interval.high, abs=0.005)

    def test_coverage_when_seeds_and_examples_vary(self):
        """The interval is allowed to be too wide, and not to be too narrow."""
        generator = np.random.default_rng(3)
        inside = 0
        for _ in range(200):
            by_seed = generator.normal(0, 0.3, (8, 1))
            by_example = generator.normal(0, 1, (1, 40))
            table = 0.5 + by_seed + by_example + generator.normal(0, 0.5, (8, 40))
            interval = bootstrap_interval(table, resamples=300)
            inside += interval.low <= 0.5 <= interval.high
        assert inside / 200 > 0.90

    def test_equal_arms_differ_by_exactly_zero(self):
        interval = bootstrap_interval(np.zeros((3, 10)))
        assert (interval.mean, interval.low, interval.high) == (0, 0, 0)

    def test_a_tensor_is_accepted_and_the_same_seed_gives_the_same_interval(self):
        table = torch.randn(3, 20)
        assert bootstrap_interval(table) == bootstrap_interval(table)

    @pytest.mark.parametrize("bad", [[], [[0.0, float("nan")]], np.zeros((2, 2, 2))])
    def test_an_invalid_table_is_refused(self, bad):
        with pytest.raises(tl.ArgumentError, match=r"table \[seeds, examples\]"):
            bootstrap_interval(bad)


class TestSeedsNeeded:
    def test_equals_the_number_found_by_simulation(self):
        """With n pairs the effect is found in at least 80 % of studies, and with n − 2 in fewer."""
        effect, spread = 0.01, np.std(SOME, ddof=1)
        number = seeds_needed(SOME, effect)
        generator = np.random.default_rng(0)

        def found(pairs):
            studies = generator.normal(effect, spread, (4000, pairs))
            return np.mean(stats.ttest_1samp(studies, 0, axis=1).pvalue < 0.05)

        assert found(number) > 0.78
        assert found(number - 2) < 0.8

    @given(numbers, st.floats(0.2, 1))
    def test_a_larger_effect_never_needs_more(self, differences, effect):
        assert seeds_needed(differences, 2 * effect) <= seeds_needed(differences, effect)

    def test_pairs_without_spread_need_two(self):
        assert seeds_needed([0.25, 0.25, 0.25], 0.1) == 2

    def test_an_effect_that_is_too_small_is_refused(self):
        with pytest.raises(tl.ArgumentError, match="larger effect"):
            seeds_needed([-100.0, 100.0], 0.01)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: non_inferiority([0.1], 0.01), "at least two"),
        (lambda: non_inferiority([0.1, math.nan], 0.01), "finite"),
        (lambda: non_inferiority(SOME, -0.01), "`margin` must be zero or more"),
        (lambda: non_inferiority(SOME, 0.01, confidence=95), "`confidence` must lie between"),
        (lambda: bootstrap_interval(SOME, resamples=5), "`resamples` must be at least 100"),
        (lambda: seeds_needed(SOME, 0), "`effect` must be positive"),
        (lambda: seeds_needed(SOME, 0.01, power=1), "`power` must lie between 0 and 1"),
    ],
)
def test_bad_numbers(call, message):
    with pytest.raises(tl.ArgumentError, match=message):
        call()
