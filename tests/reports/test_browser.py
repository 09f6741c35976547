"""Pages as a browser sees them: no error, and nothing wider than a phone."""

import re
import shutil
import subprocess
from html import escape

import pytest

from tutelage.reports import Column, Figure, Highlight, Page, Section, Table, render
from tutelage.reports.figures import Curve, curves

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next((place for place in map(shutil.which, NAMES) if place), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome is installed")

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--enable-logging=stderr",
)

# A window cannot be as narrow as a phone, but a frame can.
OUTER = """<!doctype html><script>
function probe(frame) {{
  const page = frame.contentDocument, view = frame.contentWindow;
  const wide = [...page.querySelectorAll("main *")].filter((each) =>
    !each.closest(".scroll *, pre *, caption") &&
    each.getBoundingClientRect().right > view.innerWidth);
  const small = [...page.querySelectorAll("p, td, th, li")].filter((each) =>
    parseFloat(view.getComputedStyle(each).fontSize) < 12);
  document.documentElement.setAttribute("data-probe", [view.innerWidth,
    page.documentElement.scrollWidth, wide.length, small.length, page.images.length].join(" "));
}}
</script><iframe width="{width}" height="800" style="border:0" onload="probe(this)" srcdoc="{page}">
</iframe>"""


def wide_page():
    columns = tuple(Column(f"Column {number}", "unit") for number in range(12))
    table = Table("wide", columns, (tuple("1234567.89" for _ in columns),) * 3, "A note.")
    figure = Figure(curves("c", [Curve("one", [1, 2], [0.5, 0.25])], "loss"), "Title", "Caption.")
    section = Section("Head", ("Text.",), table, (figure, figure), "Caption.", "command " * 40)
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


def look(html, width, folder):
    outer = folder / "outer.html"
    outer.write_text(OUTER.format(width=width, page=escape(html)), encoding="utf-8")
    command = [BROWSER, *FLAGS, f"--user-data-dir={folder / 'profile'}", "--dump-dom"]
    done = subprocess.run(
        [*command, outer.as_uri()], check=True, capture_output=True, text=True, timeout=60
    )
    found = re.search(r'data-probe="([\d ]+)"', done.stdout)
    assert found, done.stderr[-2000:]
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return [int(number) for number in found[1].split()], console


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
