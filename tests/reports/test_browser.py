"""Pages as a browser sees them: no error, nothing wider than a phone."""

from browser import look, needs_browser
from tutelage.evaluation import Interval, Reliability
from tutelage.reports.figures import (
    Line,
    curves,
    deltas,
    intervals,
    reliability_diagram,
    residuals,
    series,
)
from tutelage.reports.page import Figure, Highlight, Page, Section, Table, render

pytestmark = needs_browser


def drawings():
    names = [f"a rather long name of a class, number {k}" for k in range(40)]
    values, later = [k / 40 for k in range(40)], [(39 - k) / 40 for k in range(40)]
    return (
        curves([Line("one", [1, 2], [0.5, 0.25])], "loss"),
        intervals([(name, Interval(2.7, 1.3, 4.1), 1) for name in names[:5]], "points"),
        reliability_diagram([("Student", Reliability(values, later, values), 1)]),
        series(
            [Line(name, [1, 2], [1, 2]) for name in names[:7]], "share", "accuracy", log_x=False
        ),
        residuals(values, later),
        deltas(list(zip(names[:30], values, strict=False)), "points"),
    )


def wide_page():
    row = [(f"Column {number}\nunit", "1234567.89") for number in range(12)]
    table = Table("wide", [row] * 3, "A note.")
    figures = tuple(Figure(svg, "Title", "Caption.") for svg in drawings())
    section = Section("Head", ("Text.",), table, figures, "Caption.", "command " * 40)
    long_word = "objective" * 20
    return Page(
        f"A title with {long_word}",
        f"A verdict {long_word}",
        (section,),
        "Lead.",
        "Warning.",
        (Highlight("+1.2 points", "label"),) * 4,
        long_word,
    )


def test_nothing_overflows_and_the_probe_sees_what_does_and_what_fails(tmp_path):
    """On a phone and a wide screen; the console speaks of the broken page only."""
    wide = render(wide_page())
    failing = '<main><p style="width: 900px">x</p><script>nothing()</script>'
    broken = wide.replace("<main>", failing)
    (*good, bad), console = look([(wide, 360), (wide, 1100), (broken, 360)], tmp_path)
    for width, (inner, scroll, beyond, small, images) in zip((360, 1100), good, strict=True):
        assert inner == width
        assert scroll <= inner
        assert beyond == small == images == 0
    inner, scroll, beyond, *_ = bad
    assert scroll > inner
    assert beyond >= 1
    [line] = console
    assert "nothing is not defined" in line
