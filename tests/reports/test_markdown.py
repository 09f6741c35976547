"""Markdown: everything that the page says, and nothing that it does not."""

import re

from tutelage.reports.figures import deltas
from tutelage.reports.page import Figure, Highlight, Page, Section, Table, render_markdown

TABLE = Table(
    "models",
    [
        [("Model", "a|b"), ("Accuracy\n%", "96.7 ± 1.2")],
        [("Model", "two\nlines"), ("Accuracy\n%", "94.1")],
        [("Model", "*star*"), ("Accuracy\n%", "–")],
    ],
    "A note.",
    emphasis=1,
)
SVG = deltas([("cat", -10.0), ("dog & <co>", 25.0)], "points")


def page(**options):
    section = Section(
        "Heading", ("Some text.",), TABLE, (Figure(SVG, "Gains", "Why."),), "Below.", "make demo"
    )
    return Page("Title", "It works.", (section,), **options)


def lines(text, start):
    return [line for line in text.splitlines() if line.startswith(start)]


def test_all_parts_are_there_in_their_order():
    text = render_markdown(
        page(
            lead="A lead.",
            warning="Careful.",
            highlights=(Highlight("+3.1 points", "gained"), Highlight("48×", "smaller")),
            footer="The end.",
            reasons="It does more.",
        )
    )
    parts = (
        "# Title\n\nA lead.\n\n**Careful.**\n\n> **Verdict.** It works.\n>\n> It does more.\n\n"
        "- **+3.1 points** gained\n- **48×** smaller\n\n## Heading\n\nSome text.\n\n"
        "```\nmake demo\n```\n\n| Model"
    )
    assert text.startswith(parts)
    assert text.endswith(
        "A note.\n\n### Gains\n\nWhy.\n\n*Figure:* points. cat −10.0, dog & \\<co\\> +25.0.\n\n"
        "Below.\n\nThe end.\n"
    )


def test_a_table_has_a_line_for_each_row_and_a_cell_for_each_column():
    table = lines(render_markdown(page()), "|")
    assert table == [
        "| Model | Accuracy, % |",
        "| --- | ---: |",
        r"| a\|b | 96.7 ± 1.2 |",
        "| **two lines** | **94.1** |",
        r"| \*star\* | – |",
    ]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {3}


def test_text_has_no_meaning_to_markdown():
    nasty = '<script>alert("x")</script> [link](there) `code` _under_ a\\b'
    text = render_markdown(Page(nasty, nasty, (Section(nasty, (nasty, "# head", "1. one")),)))
    assert not re.search(r"(?<!\\)[<\[`]", text)
    assert "\\# head" in text
    assert "1\\. one" in text
    assert len(lines(text, "#")) == 2


def test_code_with_fences_stays_whole():
    text = render_markdown(Page("t", "v", (Section("h", code="```\nx\n```"),)))
    assert "````\n```\nx\n```\n````" in text


def test_empty_parts_leave_no_trace():
    assert render_markdown(Page("t", "v", (Section("h"),))) == "# t\n\n> **Verdict.** v\n\n## h\n"
