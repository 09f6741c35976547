"""The section of results: means over seeds and their intervals."""

import math
from types import SimpleNamespace
from typing import cast

import pytest

from tutelage.evaluation import mean_interval
from tutelage.reports.sections.outcome import spread
from tutelage.results.record import ArmRecord


def arm(*values: float) -> ArmRecord:
    return cast("ArmRecord", SimpleNamespace(intervals={}, values=lambda _name: list(values)))


def test_the_interval_of_a_metric_without_one_over_examples_is_over_seeds() -> None:
    assert spread(arm(0.5, 0.7, 0.6), "f1") == mean_interval([0.5, 0.7, 0.6])


@pytest.mark.parametrize(
    "values", [(0.5, 0.5), (0.5, math.nan), (math.nan, math.nan), (0.5, math.inf)]
)
def test_values_that_are_equal_or_not_finite_have_no_interval(values: tuple[float, ...]) -> None:
    assert spread(arm(*values), "f1") is None
