import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.errors import ArgumentError
from tutelage.schedules import (
    Constant,
    Cosine,
    Linear,
    Product,
    Step,
    positive_schedule,
    weight_schedule,
)

VALUES = st.floats(1e-6, 1e6)
PROGRESS = st.floats(0, 1)
RAMPS = pytest.mark.parametrize("ramp", [Linear, Cosine])


def test_values_by_hand():
    assert [Linear(8, 2)(at) for at in (0, 0.25, 0.5, 1)] == [8.0, 6.5, 5.0, 2.0]
    # Half a cosine wave lies above the line in its first half.
    expected = [8.0, 5 + 3 * math.cos(math.pi / 4), 5.0, 2.0]
    assert [Cosine(8, 2)(at) for at in (0, 0.25, 0.5, 1)] == pytest.approx(expected)
    staircase = Step({0.5: 4, 0.0: 8, 0.9: 1})
    assert [staircase(at) for at in (0, 0.49, 0.5, 0.89, 0.9, 1)] == [8, 8, 4, 4, 1, 1]


@given(VALUES, VALUES, PROGRESS)
def test_linear_equals_numpys_interpolation(start, end, progress):
    expected = np.interp(progress, [0.2, 0.7], [start, end])
    tolerance = 1e-12 * max(start, end)
    assert Linear(start, end, 0.2, 0.7)(progress) == pytest.approx(expected, abs=tolerance)


@RAMPS
@given(start=VALUES, end=VALUES)
def test_a_ramp_takes_exactly_its_ends_and_keeps_them_outside(ramp, start, end):
    schedule = ramp(start, end, begin=0.25, until=0.75)
    assert [schedule(at) for at in (-1, 0, 0.25)] == [start] * 3
    assert [schedule(at) for at in (0.75, 1, 2)] == [end] * 3


@RAMPS
@given(start=VALUES, end=VALUES, progress=PROGRESS)
def test_a_ramp_stays_between_its_ends(ramp, start, end, progress):
    low, high = sorted((start, end))
    schedule = ramp(start, end)
    assert low * (1 - 1e-12) <= schedule(progress) <= high * (1 + 1e-12)


@RAMPS
def test_a_ramp_that_ends_before_it_begins_is_refused(ramp):
    with pytest.raises(ArgumentError, match=r"`begin` must come before `until`, got 0\.5 and"):
        ramp(1, 2, begin=0.5, until=0.5)


@RAMPS
@pytest.mark.parametrize("arguments", [(math.nan, 1), (1, math.inf), ("1", 2)])
def test_a_ramp_between_invalid_numbers_is_refused(ramp, arguments):
    with pytest.raises(ArgumentError, match=r"`(start|end)` must be .*takes finite numbers"):
        ramp(*arguments)


@RAMPS
@pytest.mark.parametrize("span", [{"begin": -0.1}, {"until": 1.5}, {"until": 30}])
def test_a_ramp_outside_of_training_is_refused(ramp, span):
    with pytest.raises(ArgumentError, match=r"must lie in \[0, 1\].*progress runs from 0"):
        ramp(1, 2, **span)


@pytest.mark.parametrize("values", [{}, {0.5: 1.0}])
def test_a_staircase_must_begin_at_progress_0(values):
    with pytest.raises(ArgumentError, match=r"begins at progress 0, got .*add the key 0\.0"):
        Step(values)


@pytest.mark.parametrize("values", [[(0.0, 8)], 8, None])
def test_a_staircase_is_a_dict(values):
    with pytest.raises(ArgumentError, match=r"`values` must be a dict that begins at progress 0"):
        Step(values)


@pytest.mark.parametrize("values", [{0.0: math.nan}, {0.0: 1.0, 2: 1.0}])
def test_a_staircase_of_wrong_numbers_is_refused(values):
    with pytest.raises(ArgumentError, match="must"):
        Step(values)


@given(VALUES, VALUES, VALUES, PROGRESS)
def test_a_product_multiplies_at_every_progress(start, end, factor, progress):
    product = Product(Linear(start, end), Constant(factor))
    assert product(progress) == Linear(start, end)(progress) * factor


def test_repr_shows_how_to_write_it():
    schedules = [Constant(0.1), Linear(8, 1), Cosine(4, 2, 0.1, 0.5), Step({0: 8, 0.5: 4})]
    assert [repr(schedule) for schedule in schedules] == [
        "0.1",
        "Linear(8, 1)",
        "Cosine(4, 2, 0.1, 0.5)",
        "Step({0.0: 8.0, 0.5: 4.0})",
    ]
    assert repr(Product(schedules[1], schedules[0])) == "Linear(8, 1) * 0.1"


@pytest.mark.parametrize("value", [0, -1, Linear(4, 0), Cosine(-1, 4), Step({0: 4, 0.9: 0})])
def test_a_positive_schedule_never_touches_zero(value):
    with pytest.raises(ArgumentError, match=r"`temperature` must be positive, got .*; mend it"):
        positive_schedule("temperature", value, "mend it")


@pytest.mark.parametrize("value", [-0.1, Linear(1, -1), Step({0: 1, 0.5: -1})])
def test_a_weight_is_never_negative(value):
    with pytest.raises(ArgumentError, match=r"`weight` must be zero or more, got .*how much"):
        weight_schedule(value)


def test_a_weight_may_begin_or_end_at_zero():
    assert weight_schedule(0)(0.5) == 0.0
    assert weight_schedule(Linear(0, 1))(0.0) == 0.0


def test_a_number_becomes_a_schedule_and_a_schedule_does_not_change():
    ramp = Linear(1, 2)
    assert weight_schedule(ramp) is ramp
    assert positive_schedule("temperature", 4, "")(0.3) == 4.0
