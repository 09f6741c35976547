"""Predictions for files: own columns kept, by the names of classes, in the units of labels."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

import tutelage as tl
from tutelage.cli import app

BASE = {
    "teacher": "tutelage.recipes.fitted:boosted_trees",
    "student": {"mlp": {"hidden": [16]}},
    "data": {"train": "train.csv", "label": "kind", "val": 0.2},
    "objective": {"SoftTargets": 1},
    "training": {"epochs": 20, "batch_size": 16, "optimizer": {"AdamW": {"lr": 0.01}}},
}


@pytest.fixture
def frame(job):
    """Rows of numbers and categories, of three kinds by the one and a price by the other."""
    draw = np.random.default_rng(0)
    x, town = draw.normal(0, 1, 200).round(3), draw.choice(["Bonn", "Ulm"], 200)
    kind = np.where(x > 0.5, "high", np.where(x < -0.5, "low", "mid"))
    price = 20000 + 5000 * x + 3000 * (town == "Ulm")
    found = pd.DataFrame({"x": x, "town": town, "kind": kind, "price": price.round(1)})
    found.drop(columns="price").to_csv(job / "train.csv", index=False)
    found.drop(columns="kind").to_csv(job / "prices.csv", index=False)
    return found


def test_classes_and_probabilities_of_student_and_teacher(job, frame):
    recipe = tl.Recipe(BASE)
    recipe.run()
    new = frame[["x", "town"]][::-1]
    new.to_csv(job / "new.csv", index=False)
    found = recipe.predict("new.csv", "out.csv", teacher=True)
    assert [*found.columns[:3]] == ["x", "town", "prediction"]
    assert found["x"].tolist() == new["x"].tolist()
    assert (found["prediction"].to_numpy() == frame["kind"][::-1].to_numpy()).mean() > 0.8
    names = [f"probability {each}" for each in ("high", "low", "mid")]
    assert np.allclose(found[names].sum(axis=1), 1, atol=1e-5)
    assert (found["teacher prediction"].to_numpy() == frame["kind"][::-1].to_numpy()).mean() > 0.9
    readers = {
        "csv": pd.read_csv,
        "tsv": partial(pd.read_csv, sep="\t"),
        "jsonl": partial(pd.read_json, lines=True),
        "parquet": pd.read_parquet,
    }
    for suffix, read in readers.items():
        recipe.predict("new.csv", f"out.{suffix}", teacher=True)
        again = read(job / f"out.{suffix}")
        assert [*again.columns] == [*found.columns]
        assert again["prediction"].tolist() == found["prediction"].tolist()


@pytest.mark.usefixtures("frame")
def test_values_are_in_the_units_of_their_labels():
    values = BASE | {
        "data": {"train": "prices.csv", "label": "price", "val": 0.2},
        "objective": {"OutputRegression": {}},
    }
    recipe = tl.Recipe(values)
    recipe.run()
    found = recipe.predict("prices.csv", "out.csv")  # a file with labels
    assert [*found.columns] == ["x", "town", "price", "prediction"]
    assert np.corrcoef(found["prediction"], found["price"])[0, 1] > 0.9
    assert (found["prediction"] > 1000).all()
    again = recipe.predict("out.csv", "again.csv")  # which has such a column
    assert again["student prediction"].tolist() == found["prediction"].tolist()


LOGIT = """
import torch
from torch import nn

def teacher(features):
    layer = nn.Linear(features, 1)
    layer.load_state_dict({"weight": 8 * torch.eye(features)[:1], "bias": torch.full((1,), 4.0)})
    return layer

def student(features): return nn.Linear(features, 1)
"""


def test_the_single_logit_of_class_labels_is_that_of_the_second_class(job, frame, caplog):
    (job / "job.py").write_text(LOGIT)
    frame[["x"]].assign(y=(frame["x"] > -0.5).astype(int)).to_csv(job / "train.csv", index=False)
    models = {"teacher": "job.py:teacher", "student": "job.py:student"}
    data = {"train": "train.csv", "label": "y", "val": 0.2}
    recipe = tl.Recipe(BASE | models | {"data": data, "objective": {"BinaryTargets": {}}})
    recipe.run()
    assert "the teacher is right on" not in caplog.text
    found = recipe.predict("train.csv", "out.csv")
    assert [*found.columns] == ["x", "y", "probability 1"]
    assert ((found["probability 1"] > 0.5) == (found["y"] == 1)).mean() > 0.8


@pytest.mark.usefixtures("frame")
def test_an_embedding_of_labelled_rows_is_not_read_as_classes(job):
    source = LOGIT
    for old, new in (("features, 1", "features, 3"), ("[:1]", "[:3]"), ("(1,)", "(3,)")):
        source = source.replace(old, new)
    (job / "job.py").write_text(source)
    models = {"teacher": "job.py:teacher", "student": "job.py:student"}
    recipe = tl.Recipe(BASE | models | {"objective": {"OutputRegression": {}}})
    recipe.run()
    found = recipe.predict("train.csv", "out.csv")
    assert [*found.columns][3:] == [f"prediction {each}" for each in ("high", "low", "mid")]


@pytest.mark.usefixtures("frame")
def test_a_student_of_the_data_starts_from_given_weights(job):
    (job / "job.py").write_text(LOGIT.replace("features, 1", "features, 3"))
    weights = {"weight": torch.full((3, 3), 2.0), "bias": torch.ones(3)}
    torch.save(weights, job / "weights.pt")
    recipe = tl.Recipe(BASE | {"student": "job.py:student@weights.pt", "thresholds": 0})
    student = recipe._job().load().student()
    assert all(
        torch.equal(each, weights[name]) for name, each in student.wrapped.state_dict().items()
    )


@pytest.mark.usefixtures("frame")
def test_predictions_of_predictions_have_names_of_their_own():
    recipe = tl.Recipe(BASE | {"training": {"epochs": 1}})
    recipe.run()
    file = "train.csv"
    for number in range(4):
        found = recipe.predict(file, f"{number}.jsonl", teacher=True)
        assert found.columns.is_unique
        file = f"{number}.csv"
        found.to_csv(file, index=False)
    names = [each for each in found.columns if each.endswith("prediction")]
    assert names[:2] == ["prediction", "teacher prediction"]
    assert names[2:4] == ["student prediction", "new teacher prediction"]
    assert names[4:6] == ["new student prediction", "new new teacher prediction"]


@pytest.mark.usefixtures("frame")
def test_the_command(job):
    tl.Recipe(BASE | {"training": {"epochs": 1}}).run()
    arguments = ["predict", "runs/recipe", "train.csv", "--out"]
    found = CliRunner().invoke(app, [*arguments, "out.csv"])
    assert found.exit_code == 0, found.output
    assert "Predictions: out.csv (200 rows)" in found.stdout
    assert len(pd.read_csv(job / "out.csv")) == 200
    assert "must end in one of" in CliRunner().invoke(app, [*arguments, "out.doc"]).stderr


@pytest.mark.usefixtures("frame")
def test_without_a_trained_student_it_says_what_to_do():
    with pytest.raises(tl.RunFolderError, match="tutelage distill"):
        tl.Recipe(BASE).predict("train.csv", "out.csv")


@pytest.mark.usefixtures("frame")
def test_a_student_is_evaluated_when_its_teacher_is_gone(caplog):
    recipe = tl.Recipe({**BASE, "training": {"epochs": 1, "batch_size": 16}})
    recipe.run()
    gone = tl.Recipe({**BASE, "teacher": "gone.onnx", "training": {"epochs": 1}})
    assert [*gone.evaluate("val")] == ["student"]
    assert "The teacher is gone" in caplog.text
