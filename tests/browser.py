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
PROBE = """<!doctype html><script>
function probe(frame) {
  const page = frame.contentDocument, view = frame.contentWindow;
  const wide = [...page.querySelectorAll("main *")].filter((each) =>
    !each.closest(".scroll *, pre *, caption") &&
    each.getBoundingClientRect().right > view.innerWidth);
  const small = [...page.querySelectorAll("p, td, th, li")].filter((each) =>
    parseFloat(view.getComputedStyle(each).fontSize) < 12);
  frame.setAttribute("data-probe", [view.innerWidth,
    page.documentElement.scrollWidth, wide.length, small.length, page.images.length].join(" "));
}
</script>"""
FRAME = """<iframe data-probe="" width="{width}" height="800" style="border:0" onload="probe(this)"
srcdoc="{page}"></iframe>"""


def look(pages, folder):
    """Return what a browser finds of some pages, each as HTML and a width, and its console's lines.

    Of each page these are: its width, that of its content, how many parts reach beyond it, how many
    texts are too small, and how many images it has. All are looked at by one browser.
    """
    frames = [FRAME.format(width=width, page=escape(html)) for html, width in pages]
    file = folder / "pages.html"
    file.write_text(PROBE + "".join(frames), encoding="utf-8")
    command = [BROWSER, *FLAGS, f"--user-data-dir={folder / 'profile'}", "--dump-dom"]
    done = subprocess.run(
        [*command, file.as_uri()], check=True, capture_output=True, text=True, timeout=120
    )
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    found = re.findall(r'<iframe data-probe="([\d ]+)"', done.stdout)
    assert len(found) == len(pages), console
    return [[int(number) for number in each.split()] for each in found], console
