"""A real browser, headless, and what a page looks like to it."""

import re
import shutil
import subprocess
from html import escape

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next((place for place in map(shutil.which, NAMES) if place), None)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome is installed")

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


def dump(html, folder):
    """Return the page as the browser has it after its scripts, and the lines of its console."""
    page = folder / "page.html"
    page.write_text(html, encoding="utf-8")
    command = [BROWSER, *FLAGS, f"--user-data-dir={folder / 'profile'}", "--dump-dom"]
    done = subprocess.run(
        [*command, page.as_uri()], check=True, capture_output=True, text=True, timeout=60
    )
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def look(html, width, folder):
    dumped, console = dump(OUTER.format(width=width, page=escape(html)), folder)
    found = re.search(r'data-probe="([\d ]+)"', dumped)
    assert found, console
    return [int(number) for number in found[1].split()], console
