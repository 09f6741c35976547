"""Pages: escaped, complete, self-contained, light."""

import re
from html.parser import HTMLParser

import matplotlib as mpl

from reports.test_figures import FIGURES, MATRIX, drawn
from tutelage.reports.figures import heat_map
from tutelage.reports.page import Figure, Highlight, Page, Section, Table, render

NASTY = '<script>alert("&")</script>'


def page(text="plain"):
    table = Table(text, [[(f"{text}\n{text}", text), ("n", "1")]], text, 0)
    figures = tuple(Figure(svg, text, text) for svg in map(drawn, FIGURES))
    section = Section(text, (text,), table, figures, text, text)
    return Page(text, text, (section,), text, text, (Highlight(text, text),), text, "open", text)


class Reader(HTMLParser):
    """Gathers what a browser would load, and checks that tags are closed in order."""

    VOID = frozenset({"meta", "link", "br", "img", "input"})

    def __init__(self):
        super().__init__()
        self.open, self.loads, self.tags, self.ids = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name in {"src", "href", "xlink:href", "srcset", "poster", "action"}:
                self.loads.append(value)
            if name == "id":
                self.ids.append(value)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def read(html):
    reader = Reader()
    reader.feed(html)
    assert reader.open == []
    return reader


def test_text_is_escaped_everywhere():
    html = render(page(NASTY))
    assert "<script" not in html
    assert html.count("&lt;script&gt;alert(") >= 15


def test_a_page_holds_all_that_it_was_given():
    html = render(page("Needle"))
    reader = read(html)
    assert reader.tags.count("figure") == reader.tags.count("svg") == len(FIGURES)
    assert reader.tags.count("figcaption") == len(FIGURES)
    assert reader.tags.count("table") == reader.tags.count("h1") == 1
    assert re.search(r"<title>Needle</title>", html)
    assert html.index('id="verdict"') < html.index("<table")


def test_a_page_loads_nothing():
    html = render(page())
    for place in read(html).loads:
        assert place.startswith(("#", "data:"))
    outside = re.sub(r'xmlns(:xlink)?="[^"]*"', "", html)
    assert "://" not in outside
    assert "@import" not in html
    assert not re.search(r"url\((?!#)", html)


def test_ids_are_unique_and_references_meet_one():
    html = render(page())
    ids = read(html).ids
    assert len(ids) == len(set(ids))
    for reference in re.findall(r'(?:url\(|href=")#([^)"]+)', html):
        assert reference in ids


def test_a_page_is_light():
    assert len(render(page())) < 200_000


def test_empty_parts_leave_no_trace():
    html = render(Page("t", "v", (Section("h"),)))
    reader = read(html)
    assert not {"table", "figure", "footer", "ul", "pre"} & set(reader.tags)


def test_numbers_stay_with_their_per_cent_sign():
    assert "95\N{NO-BREAK SPACE}%" in render(Page("t", "a 95 % interval", ()))


def test_figures_leave_matplotlib_as_it_was():
    before = dict(mpl.rcParams)
    for draw in FIGURES.values():
        draw()
    assert dict(mpl.rcParams) == before


def test_the_diagonal_of_a_heat_map_has_no_colour():
    svg = drawn("heat_map")
    cells = re.findall(r'<path[^>]*style="fill: #[0-9a-f]{6}', svg)
    assert len(cells) == len(MATRIX) ** 2 - len(MATRIX)


def test_a_description_is_escaped():
    assert '"<&' not in heat_map(MATRIX, ["x", "y", "z"], (0.01, 0.2), '"<&')


def test_a_table_finds_its_columns():
    rows = [
        [("Model", "10"), ("Size\nof the file", "9.4 kB"), ("Note", "3 of 4"), ("Gone", "–")],
        [("Model", "9"), ("Size\nof the file", "–"), ("Note", "none"), ("Gone", "–")],
    ]
    table = Table("c", rows)
    assert table.columns == [
        ("Model", "", False),
        ("Size", "of the file", True),
        ("Note", "", False),
    ]
    assert table.cells == [["10", "9.4 kB", "3 of 4"], ["9", "–", "none"]]
