"""The snippets of a page run, one after another."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.parametrize(
    "page",
    [
        "data",
        "labels",
        "layers",
        "metrics",
        "models",
        "objectives",
        "language",
        "own_loss",
        "rows",
        "teachers",
        "training",
        "views",
    ],
)
def test_the_snippets_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    snippets = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert snippets
    names = {}
    for snippet in snippets:
        exec(compile(snippet, f"{page}.md", "exec"), names)
