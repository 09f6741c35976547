"""Intervals and paired statistics against scipy's, and against simulation."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import tutelage as tl
from tutelage.evaluation import (
    Interval,
    mean_interval,
    non_inferiority,
    paired_interval,
    seeds_needed,
)
from tutelage.evaluation.intervals import listed

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
            tl.ArgumentError, match=r"finite values of at least two .*got \[.*\]; run more seeds"
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


class TestPairedInterval:
    def test_one_seed_equals_scipys_t_interval_over_examples(self):
        scores = np.random.default_rng(1).integers(-1, 2, 300).astype(float)
        interval = paired_interval(scores[None], resolution=1)
        reference = stats.ttest_1samp(scores, 0).confidence_interval(0.95)
        assert (interval.low, interval.high) == pytest.approx(tuple(reference))

    @given(numbers, st.floats(0.5, 0.999))
    def test_without_examples_it_is_the_t_interval_over_seeds(self, differences, confidence):
        interval = paired_interval(differences, confidence=confidence)
        reference = mean_interval(differences, confidence)
        assert (interval.low, interval.high) == pytest.approx((reference.low, reference.high))

    def test_its_parts_are_the_mean_squares_of_the_analysis_of_variance(self):
        """Written out with sums over all cells, as in a textbook."""
        seeds, examples = 4, 30
        table = np.random.default_rng(2).integers(-1, 2, (seeds, examples)).astype(float)
        grand, rows, columns = table.mean(), table.mean(axis=1), table.mean(axis=0)
        of_seeds = examples * sum((row - grand) ** 2 for row in rows) / (seeds - 1)
        of_examples = seeds * sum((column - grand) ** 2 for column in columns) / (examples - 1)
        rest = sum(
            (table[s, i] - rows[s] - columns[i] + grand) ** 2
            for s in range(seeds)
            for i in range(examples)
        ) / ((seeds - 1) * (examples - 1))
        t_seeds, t_rest, t_examples = (
            stats.t.ppf(0.975, freedom)
            for freedom in (seeds - 1, (seeds - 1) * (examples - 1), examples - 1)
        )
        square = max(t_seeds**2 * of_seeds, t_rest**2 * rest)
        square += t_examples**2 * max(0, of_examples - rest)
        half = math.sqrt(square / table.size)
        interval = paired_interval(table)
        assert (interval.mean, interval.half_width) == pytest.approx((grand, half))

    def test_where_an_end_is_cut_off_the_number_after_plus_minus_is_that_of_the_other(self):
        """An accuracy of 90 % on 20 examples: no more than 100 % is possible."""
        table = np.ones((1, 20))
        table[0, :2] = 0
        interval = paired_interval(table, resolution=1)
        assert interval.high == 1
        assert interval.half_width == pytest.approx(math.log(40) / 20)

    def test_seeds_that_tie_give_no_certainty(self):
        """Both seeds gain 2 of 24 examples, and not the same ones."""
        table = np.zeros((2, 24))
        table[0, :2] = table[1, 2:4] = 1
        assert table.mean(axis=1).tolist() == [2 / 24, 2 / 24]
        interval = paired_interval(table, resolution=1)
        assert interval.low < 0 < interval.high

    @given(st.integers(1, 5), st.integers(2, 40), st.integers(0, 99))
    def test_it_is_never_narrower_than_the_test_set_resolves(self, seeds, examples, seed):
        rare = np.random.default_rng(seed).random((seeds, examples)) < 0.02
        interval = paired_interval(rare.astype(float), resolution=1)
        assert interval.half_width >= min(math.log(40) / examples, 0.5) - 1e-12
        assert -1 <= interval.low <= interval.mean <= interval.high <= 1

    def test_equal_outputs_differ_by_at_most_the_resolution(self):
        """With no difference in N examples, one in more than 1 − 0.025^(1/N) of all is refuted."""
        interval = paired_interval(np.zeros((3, 100)), resolution=1)
        exact = stats.binomtest(0, 100).proportion_ci(0.95).high
        assert interval.mean == 0
        assert interval.high == pytest.approx(exact, rel=0.02)

    def test_groups_of_one_change_nothing(self):
        table = torch.randn(3, 20)
        grouped, plain = paired_interval(table, groups=range(20)), paired_interval(table)
        assert grouped.mean == pytest.approx(plain.mean, abs=1e-9)
        assert grouped.half_width == pytest.approx(plain.half_width)

    @pytest.mark.parametrize("kind", [list, np.array, torch.tensor])
    def test_groups_are_told_apart_by_value(self, kind):
        """The elements of a tensor are different objects, whatever their values."""
        table, names = np.random.default_rng(6).normal(size=(3, 20)), [0, 1, 2, 3] * 5
        found = paired_interval(table, groups=kind(names))
        assert found == paired_interval(table, groups=[str(each) for each in names])

    def test_groups_with_an_index_of_their_own_are_taken_in_order(self):
        """As of a data frame that was shuffled."""
        column = pd.Series(["a", "b", "b", "c"], index=[3, 1, 2, 0])
        assert list(listed(column)) == ["a", "b", "b", "c"]
        assert [listed(column)[place] for place in range(4)] == ["a", "b", "b", "c"]

    def test_copies_of_examples_add_nothing_if_they_are_one_group(self):
        table = np.random.default_rng(3).normal(size=(3, 20))
        copied = np.repeat(table, 5, axis=1)
        grouped = paired_interval(copied, groups=np.repeat(np.arange(20), 5).tolist())
        plain, naive = paired_interval(table), paired_interval(copied)
        assert grouped.half_width == pytest.approx(plain.half_width)
        assert naive.half_width < plain.half_width

    def test_groups_of_unequal_size_equal_the_linearised_ratio(self):
        """One seed: the standard error of a ratio of sums over groups, as for cluster samples."""
        generator = np.random.default_rng(4)
        sizes = generator.integers(1, 9, 15)
        groups = np.repeat(np.arange(15), sizes)
        values = generator.normal(size=len(groups)) + generator.normal(size=15)[groups]
        mean, count = values.mean(), len(sizes)
        sums = np.array([(values[groups == each] - mean).sum() for each in range(count)])
        error = math.sqrt(count / (count - 1) * (sums**2).sum()) / len(values)
        interval = paired_interval(values[None], groups=groups.tolist())
        assert interval.mean == pytest.approx(mean)
        assert interval.half_width == pytest.approx(stats.t.ppf(0.975, count - 1) * error)

    @pytest.mark.parametrize(
        ("seeds", "by_seed"),
        [(2, 0.3), (5, 0.3), (10, 0.3), (10, 0)],
    )
    def test_coverage_when_seeds_and_examples_vary(self, seeds, by_seed):
        generator = np.random.default_rng(5)
        inside = 0
        for _ in range(600):
            table = (
                0.5
                + generator.normal(0, by_seed, (seeds, 1))
                + generator.normal(0, 1, (1, 100))
                + generator.normal(0, 0.5, (seeds, 100))
            )
            interval = paired_interval(table)
            inside += interval.low <= 0.5 <= interval.high
        assert 0.93 <= inside / 600 <= 0.985

    @pytest.mark.parametrize("bad", [[], [0.5], [[0.0, float("nan")]], np.zeros((2, 2, 2))])
    def test_an_invalid_table_is_refused(self, bad):
        with pytest.raises(tl.ArgumentError, match=r"table \[seeds, examples\]"):
            paired_interval(bad)

    @pytest.mark.parametrize(
        ("groups", "message"),
        [
            ([0, 1], "each of 4 examples, got 2"),
            ([0, 0, 0, 0], "at least two groups"),
            (np.arange(4)[:, None], "one name or number for each example, got ndarray of list"),
        ],
    )
    def test_invalid_groups_are_refused(self, groups, message):
        with pytest.raises(tl.ArgumentError, match=message):
            paired_interval(np.eye(4), groups=groups)


@pytest.mark.parametrize("measure", [
    paired_interval,
    lambda values: non_inferiority(values, 0.005),
    lambda values: seeds_needed(values, 0.004),
])  # fmt: skip
def test_ties_of_seeds_without_examples_are_refused(measure):
    with pytest.raises(tl.ArgumentError, match=r"must not all be equal.*give them for each"):
        measure([-0.004, -0.004])


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

    def test_seeds_cannot_make_up_for_few_test_examples(self):
        table = np.random.default_rng(0).normal(0.1, 1, (1, 50)) + np.zeros((3, 1))
        table += np.random.default_rng(1).normal(0, 0.01, table.shape)
        with pytest.raises(tl.ArgumentError, match="more test examples"):
            seeds_needed(table, 0.1)

    def test_one_seed_is_refused(self):
        with pytest.raises(tl.ArgumentError, match="at least two seeds"):
            seeds_needed(np.eye(3)[:1], 0.1)

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
        (lambda: paired_interval(SOME, resolution=-1), "`resolution` must be zero or more"),
        (lambda: seeds_needed(SOME, 0), "`effect` must be positive"),
        (lambda: seeds_needed(SOME, 0.01, power=1), "`power` must lie between 0 and 1"),
    ],
)
def test_bad_numbers(call, message):
    with pytest.raises(tl.ArgumentError, match=message):
        call()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_diverged_has_no_interval(value):
    with pytest.raises(tl.ArgumentError, match="needs finite values of at least two"):
        mean_interval([1.0, value])
