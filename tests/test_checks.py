import math

import numpy as np
import pytest

from tutelage import _checks as checks
from tutelage.errors import ArgumentError

NOT_NUMBERS = ["1", None, True, 1j, [1.0]]
NOT_FINITE = [math.nan, math.inf, -math.inf]


@pytest.mark.parametrize(
    "check", [checks.finite_number, checks.positive, checks.not_negative, checks.fraction]
)
class TestEveryNumber:
    @pytest.mark.parametrize("value", NOT_NUMBERS)
    def test_must_be_a_number(self, check, value):
        with pytest.raises(ArgumentError, match=r"`x` must be a number, got .*; mend it"):
            check("x", value, "mend it")

    @pytest.mark.parametrize("value", NOT_FINITE)
    def test_must_be_finite(self, check, value):
        with pytest.raises(ArgumentError, match=r"`x` must be finite, got (nan|inf|-inf); mend it"):
            check("x", value, "mend it")

    @pytest.mark.parametrize("value", [1, 1.0, np.float32(1), np.int64(1)])
    def test_may_be_of_any_real_type_and_becomes_a_float(self, check, value):
        result = check("x", value, "mend it")
        assert type(result) is float
        assert result == 1.0


@pytest.mark.parametrize(
    ("check", "wrong", "message"),
    [
        (checks.positive, 0, r"must be positive, got 0\.0"),
        (checks.positive, -0.5, r"must be positive, got -0\.5"),
        (checks.not_negative, -1e-9, r"must be zero or more, got -1e-09"),
        (checks.fraction, -0.1, r"must lie in \[0, 1\], got -0\.1"),
        (checks.fraction, 1.1, r"must lie in \[0, 1\], got 1\.1"),
    ],
)
def test_a_number_outside_its_range_is_named(check, wrong, message):
    with pytest.raises(ArgumentError, match=rf"`x` {message}; mend it"):
        check("x", wrong, "mend it")


def test_ends_of_a_range_belong_to_it():
    assert checks.not_negative("x", 0, "") == 0.0
    assert [checks.fraction("x", end, "") for end in (0, 1)] == [0.0, 1.0]


@pytest.mark.parametrize("value", [1.0, "1", True, None])
def test_an_integer_is_neither_float_nor_bool(value):
    with pytest.raises(ArgumentError, match="`n` must be an integer, got"):
        checks.integer("n", value, 1, "mend it")


def test_an_integer_has_a_minimum():
    assert checks.integer("n", np.int32(2), 2, "mend it") == 2
    with pytest.raises(ArgumentError, match="`n` must be at least 2, got 1; mend it"):
        checks.integer("n", 1, 2, "mend it")
