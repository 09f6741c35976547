"""Numbers as readers of a table want them."""

from __future__ import annotations

import math

NONE = "–"
"""What a table shows where there is no number."""


def percent(fraction: float, decimals: int = 1) -> str:
    """Return a fraction as per cent.

    >>> percent(0.9666)
    '96.7 %'
    """
    return f"{100 * fraction:.{decimals}f} %"


def signed(number: float, decimals: int = 1) -> str:
    """Return a number with its sign; what rounds to zero has none.

    >>> signed(2.71), signed(-0.3), signed(0.00314, 4), signed(-0.04)
    ('+2.7', '−0.3', '+0.0031', '0.0')
    """
    if round(number, decimals) == 0:
        return f"{0:.{decimals}f}"
    return f"{number:+.{decimals}f}".replace("-", "−")


def count(number: int) -> str:
    """Return an integer with its thousands set apart.

    >>> count(90250)
    '90,250'
    """
    return f"{number:,}"


def counted(number: int, noun: str) -> str:
    """Return a number of things.

    >>> counted(1, "epoch"), counted(1200, "epoch")
    ('1 epoch', '1,200 epochs')
    """
    return f"{count(number)} {noun}" + ("" if number == 1 else "s")


def file_size(number: int) -> str:
    """Return bytes in a unit that fits, thousands to the step.

    >>> file_size(940), file_size(9400), file_size(365_000), file_size(45_200_000)
    ('940 B', '9.4 kB', '365 kB', '45.2 MB')
    """
    return _in_units(number, ("B", "kB", "MB", "GB"))


def flops(number: int) -> str:
    """Return a number of FLOPs in a unit that fits.

    >>> flops(940), flops(999_900), flops(2_400_000), flops(3_000_000_000)
    ('940', '1 M', '2.4 M', '3 G')
    """
    return _in_units(number, ("", "k", "M", "G", "T")).strip()


def _in_units(number: int, units: tuple[str, ...]) -> str:
    """Return a number in the first unit in which it has three figures; each is 1000 of the last."""
    power = 0
    while power < len(units) - 1 and number >= 999.5 * 1000**power:  # what would read as 1000
        power += 1
    return f"{number / 1000**power:.3g} {units[power]}"


def milliseconds(seconds: float) -> str:
    """Return seconds in milliseconds, with three significant figures.

    >>> milliseconds(0.0001234), milliseconds(0.0789), milliseconds(2.5)
    ('0.123', '78.9', '2,500')
    """
    return significant(seconds * 1000)


def significant(number: float, figures: int = 3) -> str:
    """Return a number with so many significant figures and no exponent.

    >>> significant(0.012345), significant(12.0), significant(0.0), significant(123456.0)
    ('0.0123', '12.0', '0', '123,456')
    """
    if number == 0 or not math.isfinite(number):
        return f"{number:g}"
    decimals = max(0, figures - 1 - math.floor(math.log10(abs(number))))
    return f"{number:,.{decimals}f}"


def times(ratio: float) -> str:
    """Return how many times one number is another.

    >>> times(47.55), times(1.894), times(9.96)
    ('48×', '1.9×', '10×')
    """
    return f"{ratio:.1f}×" if ratio < 9.95 else f"{ratio:.0f}×"  # noqa: PLR2004 - two figures
