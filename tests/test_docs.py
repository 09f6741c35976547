"""The snippets of the documents run, in their order."""

import re
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def snippets(name):
    return re.findall(
        r"^```python\n(.*?)^```", (DOCS / name).read_text(encoding="utf-8"), re.S | re.M
    )


def test_training():
    said = {}
    for snippet in snippets("training.md"):
        exec(snippet, said)
    assert len(snippets("training.md")) == 6
    assert len(said["run"].history) == 15
    assert said["run"].history[-1]["val/accuracy/upright"] > 0.6
    assert said["run"].history[-1]["val/accuracy/reversed"] > 0.6
    assert not any(each.requires_grad is False for each in said["model"].parameters())
