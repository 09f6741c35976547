"""The snippets of a page run, one after another."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import tutelage as tl

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    "page",
    [
        "compress",
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
    _run(f"docs/{page}.md", {})


@pytest.mark.parametrize(
    "page",
    ["README.md", "CONTRIBUTING.md", "docs/engine.md", "docs/store.md", "docs/temperature.md"],
)
def test_snippets_run_with_what_they_presuppose(page, tmp_path, monkeypatch):
    """Models and data sets of the reader's own, and a random transform of inputs."""
    monkeypatch.chdir(tmp_path)
    data = {f"{part}_set": _data() for part in ("train", "val")}
    models = {"teacher": _network(16), "student": _network(4)}
    _run(page, {"tl": tl, "torch": torch, "transform": _noisy, **models, **data})


def _run(page, names):
    text = (ROOT / page).read_text(encoding="utf-8")
    snippets = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert snippets
    for snippet in snippets:
        exec(compile(snippet, page, "exec"), names)


def _data():
    return TensorDataset(torch.randn(24, 8), torch.arange(24) % 3)


def _network(width):
    return nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, 3))


def _noisy(inputs):
    return inputs + torch.randn_like(inputs)
