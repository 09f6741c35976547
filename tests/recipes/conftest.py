"""A folder with a small job, which is the working folder."""

import sys

import pytest

from recipe_sources import RECIPE, SOURCE


@pytest.fixture
def job(tmp_path, monkeypatch):
    """The working folder: `job.py` with models and data, `job.yaml` with a recipe."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "job.py").write_text(SOURCE)
    (tmp_path / "job.yaml").write_text(RECIPE)
    yield tmp_path
    sys.modules.pop("job", None)
