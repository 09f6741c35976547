"""Pages as a browser sees them: no error, nothing wider than a phone, tables that sort."""

import re

import pytest

from browser import dump, look, needs_browser
from tutelage.evaluation import Interval, Reliability
from tutelage.reports import Cell, Column, Figure, Highlight, Page, Section, Table, render
from tutelage.reports.figures import (
    Line,
    curves,
    deltas,
    intervals,
    reliability_diagram,
    residuals,
    series,
)

pytestmark = needs_browser


def drawings():
    names = [f"a rather long name of a class, number {k}" for k in range(40)]
    values, later = [k / 40 for k in range(40)], [(39 - k) / 40 for k in range(40)]
    return (
        curves([Line("one", [1, 2], [0.5, 0.25])], "loss"),
        intervals(
            [(name, Interval(2.7, 1.3, 4.1), 1) for name in names[:5]], "points", as_percent=False
        ),
        reliability_diagram([("Student", Reliability(values, later, values), 1)]),
        series(
            [Line(name, [1, 2], [1, 2]) for name in names[:7]],
            "share",
            "accuracy",
            log_x=False,
            as_percent=False,
        ),
        residuals(values, later),
        deltas(names, values, later, "points"),
    )


def wide_page():
    columns = tuple(Column(f"Column {number}", "unit") for number in range(12))
    table = Table("wide", columns, (tuple("1234567.89" for _ in columns),) * 3, "A note.")
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


@pytest.mark.parametrize("width", [360, 1100])
def test_nothing_overflows_and_the_console_is_silent(width, tmp_path):
    (inner, scroll, wide, small, images), console = look(render(wide_page()), width, tmp_path)
    assert inner == width
    assert scroll <= inner
    assert wide == small == images == 0
    assert console == []


def test_the_probe_sees_what_overflows_and_what_fails(tmp_path):
    broken = '<main><p style="width: 900px">x</p><script>nothing()</script>'
    html = render(wide_page()).replace("<main>", broken)
    (inner, scroll, wide, *_), console = look(html, 360, tmp_path)
    assert "nothing is not defined" in console[0]
    assert scroll > inner
    assert wide >= 1


# Each step clicks on heads, or presses a key on one, and notes down the rows' names.
STEPS = """<script>
const heads = [...document.querySelectorAll("thead button")];
const state = () => [...document.querySelectorAll("tbody th")].map((each) => each.textContent)
  .join(" ") + " / " + [...document.querySelectorAll("thead th")].map((each) =>
  (each.ariaSort || "-")[0]).join("");
const seen = [];
for (const column of [%s]) { heads[column].click(); seen.push(state()); }
document.documentElement.setAttribute("data-seen", seen.join("|"));
document.documentElement.setAttribute("data-buttons", heads.length);
</script></body>"""

CELLS = (
    ("b", "96.7 ± 1.2", "−0.3", "363 kB", "90,250", "0.031"),
    ("a", "–", "+2.7", "15.2 MB", "3,706", "1.2"),
    ("10", "100.0", "–", "940 B", "12,000", "–"),
    ("9", "9.5", "+0.4", "1.1 GB", "610", "0.5"),
)


def table(**options):
    columns = (Column("Model", numeric=False), *map(Column, "vwxyz"))
    return Table("sorted", columns, CELLS, emphasis=1, **options)


def browse(html, steps, folder):
    script = STEPS % ", ".join(map(str, steps))
    dumped, console = dump(html.replace("</body>", script), folder)
    assert console == []
    seen = re.search(r'data-seen="([^"]*)"', dumped)[1].split("|")
    return seen, int(re.search(r'data-buttons="(\d+)"', dumped)[1])


def test_a_click_sorts_a_second_reverses_a_third_restores(tmp_path):
    html = render(Page("t", "v", (Section("h", table=table()),)))
    seen, buttons = browse(html, [0, 0, 0, 1, 1, 2, 3, 4, 5, 5], tmp_path)
    assert buttons == 6
    assert seen == [
        "9 10 a b / annnnn",
        "b a 10 9 / dnnnnn",
        "b a 10 9 / nnnnnn",  # as they were
        "9 b 10 a / nannnn",  # what is missing is last
        "10 b 9 a / ndnnnn",  # both ways
        "b 9 a 10 / nnannn",
        "10 b a 9 / nnnann",  # by bytes, not by the figure before the unit
        "9 a 10 b / nnnnan",
        "b 9 a 10 / nnnnna",
        "a 9 b 10 / nnnnnd",
    ]


def test_a_cell_says_what_it_is_sorted_by(tmp_path):
    rows = tuple((name, Cell(text, value)) for name, text, value in (
        ("one", "often", 3.0), ("two", "never", 1.0), ("three", "unknown", None),
        ("four", "at times", 2.0),
    ))  # fmt: skip
    columns = (Column("Name", numeric=False), Column("How often", numeric=False))
    html = render(Page("t", "v", (Section("h", table=Table("c", columns, rows)),)))
    seen, _ = browse(html, [1, 1], tmp_path)
    assert seen == ["two four one three / na", "one four two three / nd"]


def test_where_there_is_nothing_to_sort_there_is_no_button(tmp_path):
    single = Table("single", (Column("n"),), (("1",),))
    for each in (single, table(sortable=False)):
        html = render(Page("t", "v", (Section("h", table=each),)))
        assert "<script" not in html
        assert browse(html, [], tmp_path)[1] == 0


def test_keys_reach_the_heads_and_the_emphasis_moves_along(tmp_path):
    html = render(Page("t", "v", (Section("h", table=table()),)))
    steps = STEPS.replace("[%s]", "[0]").replace("</script>", """
const button = heads[0], marked = document.querySelector("tr.emphasis th").textContent;
button.focus();
document.documentElement.setAttribute("data-keys",
  [button.tagName, button.tabIndex, document.activeElement === button, marked].join(" "));
</script>""")  # fmt: skip
    dumped, _ = dump(html.replace("</body>", steps), tmp_path)
    assert 'data-keys="BUTTON 0 true a"' in dumped
