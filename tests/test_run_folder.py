"""docs/run_folder.md: the student is used in a process that cannot import this library."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import tutelage as tl

PAGE = Path(__file__).parents[1] / "docs" / "run_folder.md"
BLOCKED = 'import sys\nsys.modules["tutelage"] = None\n'


def test_the_document_runs_without_this_library(tmp_path, monkeypatch):
    pytest.importorskip("transformers")
    monkeypatch.chdir(tmp_path)
    first, *others = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), flags=re.DOTALL)
    exec(compile(first, "run_folder.md", "exec"), {})
    assert "tutelage" not in "".join(others)
    (tmp_path / "elsewhere.py").write_text(BLOCKED + "".join(others))
    refused = BLOCKED + "import tutelage"
    environment = {key: each for key, each in os.environ.items() if key != "PYTHONPATH"}
    for program, works in ((refused, False), ((tmp_path / "elsewhere.py").read_text(), True)):
        command = [sys.executable, "-W", "error::UserWarning:torch.nn", "-c", program]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode == 0) == works, done.stderr
    assert "['high', 'low']" in done.stdout
    _files_are_those_of_the_document(tmp_path / "runs" / "texts")


def _files_are_those_of_the_document(folder):
    """The tree of the document names all that a run leaves."""
    tree = PAGE.read_text("utf-8").split("```")[1]
    for path in folder.iterdir():
        name = "best-EPOCH.safetensors" if path.name.startswith("best-") else path.name
        assert name in tree or name.startswith("."), name
    about = json.loads((folder / "student.json").read_text())
    page = PAGE.read_text("utf-8")
    assert all(f"| `{key}" in page for key in about if key != "format")
    assert (about["outputs"], about["classes"]) == ("classes", ["glad", "sad"])
    student = tl.references.load_model("student", f"hf:{folder / 'student'}")
    assert tl.references.class_names(student) == ("glad", "sad")
    expected = torch.load(folder.parents[1] / "expected.pt")["texts"]
    torch.testing.assert_close(student(["good day", "bad"]).logits, expected)
