"""From a CSV file alone to a student: the recipes that `tutelage init` writes for tables."""

import csv

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_wine
from typer.testing import CliRunner

import tutelage as tl
from tutelage.cli import app
from tutelage.datasets import load_data
from tutelage.recipes.fitted import boosted_trees


def write_csv(path, loaded, names):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*names, "answer"])
        for row, answer in zip(loaded.data, loaded.target, strict=True):
            writer.writerow([*row, answer])


def init(path, task):
    given = ["init", str(path), "--task", task, "--train", "table.csv", "--label", "answer"]
    assert CliRunner().invoke(app, given).exit_code == 0
    overrides = ["training.epochs=15", "training.optimizer.AdamW.lr=0.01"]
    return tl.Recipe.from_file(path, overrides)


def test_classes_from_a_csv_file(job):
    wine = load_wine()
    wine.target = [("red", "rose", "white")[each] for each in wine.target]
    write_csv(job / "table.csv", wine, wine.feature_names)
    recipe = init(job / "new.yaml", "table")
    recipe.run()
    assert recipe.evaluate("test")["student"]["accuracy"] > 0.85
    kept = tl.Recipe.from_file("runs/table/recipe.yaml")
    assert kept.run().best_epoch == recipe.run().best_epoch  # found, not trained again


def test_values_from_a_csv_file(job):
    diabetes = load_diabetes()
    diabetes.target = (diabetes.target - 150) / 75
    write_csv(job / "table.csv", diabetes, diabetes.feature_names)
    recipe = init(job / "new.yaml", "regression")
    recipe.run()
    assert recipe.evaluate("test")["student"]["r2"] > 0.3


def test_functions_are_given_what_the_data_tells(job):
    wine = load_wine()
    write_csv(job / "table.csv", wine, wine.feature_names)
    (job / "job.py").write_text(
        "from torch import nn\n"
        "def net(features, outputs):\n    return nn.Linear(features, outputs)\n"
    )
    run = tl.Recipe(
        {
            "teacher": "tutelage.recipes.fitted:boosted_trees",
            "student": "job.py:net",
            "data": {"train": "table.csv", "label": "answer", "kind": "classes"},
            "objective": {"SoftTargets": 2},
            "training": {"epochs": 1},
            "thresholds": 0,
        }
    ).run()
    assert [each.shape for each in run.student.parameters()] == [(3, 13), (3,)]


def test_trees_refuse_labels_that_they_cannot_learn(job):
    write_csv(job / "table.csv", load_wine(), load_wine().feature_names)
    recipe = tl.Recipe(
        {
            "teacher": "tutelage.recipes.fitted:boosted_trees",
            "student": {"mlp": {"hidden": [4]}},
            "data": {"train": "table.csv"},
            "objective": {"SoftTargets": 2},
            "training": {"epochs": 1},
        }
    )
    with pytest.raises(tl.DataError, match="boosted trees need a table with one column"):
        recipe.run()


def test_boosted_trees_are_fitted_on_all_domains(tmp_path):
    rows = [f"{at % 7},{'ab'[at % 2]},{'no' if at % 7 < 3 else 'yes'}" for at in range(80)]
    (tmp_path / "a.csv").write_text("\n".join(["x,from,y", *rows]))
    options = {"train": str(tmp_path / "a.csv"), "label": "y"}
    plain = boosted_trees(load_data("data", {**options, "omit": "from"}))
    by_domain = boosted_trees(load_data("data", {**options, "domain": "from"}))
    some = np.arange(7.0)[:, None]
    assert np.array_equal(by_domain.predict(some), plain.predict(some))


@pytest.mark.parametrize("change", ["classes", "rows", None])
def test_a_student_is_not_evaluated_with_other_data_than_it_was_trained_on(job, change):
    rows = [f"{at % 7},{'ab'[at % 2]}" for at in range(40)]
    (job / "table.csv").write_text("\n".join(["x,y", *rows]))
    values = {
        "teacher": "tutelage.recipes.fitted:boosted_trees",
        "student": {"mlp": {"hidden": [4]}},
        "data": {"train": "table.csv", "label": "y", "val": 0.2},
        "objective": {"SoftTargets": 2},
        "training": {"epochs": 1, "batch_size": 8},
    }
    tl.Recipe(values).run()
    if change == "classes":  # which are then in another order
        rows = [each.replace("a", "c") for each in rows]
    elif change == "rows":
        rows += ["90,a", "91,b"]
    (job / "table.csv").write_text("\n".join(["x,y", *rows]))
    if change is None:
        assert "student" in tl.Recipe(values).evaluate("val")
        return
    with pytest.raises(tl.TutelageError, match=f"got other .*{change.replace('rows', 'inputs')}"):
        tl.Recipe(values).evaluate("val")
