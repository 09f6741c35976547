"""Amounts with units."""

import pytest

from tutelage.compression.amounts import BYTES, COUNTS, POINTS, TIMES, amount
from tutelage.errors import ArgumentError


@pytest.mark.parametrize(
    ("given", "units", "expected"),
    [
        ("2h", TIMES, 7200.0),
        ("90", TIMES, 90.0),
        (1.5, TIMES, 1.5),
        ("5 ms", TIMES, 0.005),
        ("0.5x", TIMES, 0.004),
        ("5M", COUNTS, 5e6),
        ("1e6", COUNTS, 1e6),
        ("10MB", BYTES, 1e7),
        ("3B", BYTES, 3.0),
        ("3B", COUNTS, 3e9),
        ("0.5 points", POINTS, 0.005),
        ("1 point", POINTS, 0.01),
    ],
)
def test_amounts_are_read_with_their_units(given, units, expected):
    assert amount("it", given, units, 0.008) == pytest.approx(expected)


@pytest.mark.parametrize("given", ["", "h", "2 hours", "-1s", "0", "nan", "inf", "1.2.3s", True])
def test_other_amounts_are_refused(given):
    with pytest.raises(ArgumentError, match="`budget` must be a number above zero with one of the"):
        amount("budget", given, TIMES)


def test_shares_need_a_teacher_that_was_measured():
    with pytest.raises(ArgumentError, match=r"got '0\.5x'"):
        amount("latency", "0.5x", TIMES)
