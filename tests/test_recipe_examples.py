"""The recipes of examples/ run on small data and do what they claim."""

import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import tutelage as tl

ROOT = Path(__file__).parents[1]
RECIPES = sorted((ROOT / "examples").glob("*.yaml"))


def recipe(name, *overrides):
    return tl.Recipe.from_file(ROOT / "examples" / f"{name}.yaml", overrides)


def table(rows=700):
    """Return a table in the form of adult income: numbers, texts, missing cells, two classes."""
    random = np.random.default_rng(0)
    age, hours = random.integers(17, 90, rows), random.integers(1, 99, rows)
    work = random.choice(["Private", "State-gov", "Self-emp"], rows).astype(object)
    rich = (age + hours + 30 * (work == "Self-emp") + random.normal(0, 10, rows)) > 110
    work[random.random(rows) < 0.1] = None
    income = np.where(rich, ">50K", "<=50K")
    return pd.DataFrame({"age": age, "work": work, "hours": hours, "income": income})


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_are_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 20


def test_boosting_on_a_table(tmp_path, monkeypatch):
    """The student agrees with the trees on rows that neither has seen."""
    pytest.importorskip("lightgbm")
    prepare = runpy.run_path(str(ROOT / "benchmarks" / "boosting.py"))["prepare"]
    prepare(table(), "income", tmp_path, trees=30)
    monkeypatch.chdir(tmp_path)
    job = recipe("boosting", "training.epochs=12", "training.batch_size=32")
    run = job.run()
    found = job.evaluate("test")
    assert found["teacher"]["accuracy"] > 0.85
    assert found["student"]["agreement"] > 0.85
    assert sorted(map(str, run.out.glob("student.*"))) == ["runs/boosting/student.safetensors"]
