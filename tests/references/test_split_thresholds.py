"""Thresholds of a teacher's trees, and the steps that a student gets of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import catboost
import lightgbm
import numpy as np
import pandas as pd
import pytest
import torch
import xgboost
from sklearn.compose import make_column_transformer
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

import tutelage as tl
from tutelage.datasets import Column, Columns, TableInputs
from tutelage.references import split_thresholds

_ALL = 10**6

LIBRARIES: dict[str, Callable[[], Any]] = {
    "a tree": lambda: DecisionTreeClassifier(max_depth=4, random_state=0),
    "a forest": lambda: RandomForestClassifier(4, max_depth=4, random_state=0),
    "random splits": lambda: ExtraTreesClassifier(4, max_depth=4, random_state=0),
    "scikit-learn": lambda: GradientBoostingClassifier(n_estimators=4, random_state=0),
    "histograms": lambda: HistGradientBoostingClassifier(max_iter=4),
    "a search": lambda: GridSearchCV(DecisionTreeClassifier(), {"max_depth": [3, 4]}),
    "a pipeline": lambda: make_pipeline(SimpleImputer(), DecisionTreeClassifier(max_depth=4)),
    "LightGBM": lambda: lightgbm.LGBMClassifier(n_estimators=4, verbose=-1),
    "XGBoost": lambda: xgboost.XGBClassifier(n_estimators=4),
    "CatBoost": lambda: catboost.CatBoostClassifier(
        iterations=4, depth=4, verbose=0, allow_writing_files=False
    ),
}


def _table(rows: int = 300) -> tuple[pd.DataFrame, np.ndarray]:
    """Return numbers, with a space in a name and whole ones, a category and labels."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "a b": random.normal(size=rows).round(2),
            "kind": pd.Categorical(random.choice(["x", "y", "z"], rows)),
            "count": random.integers(0, 9, rows).astype(float),
        }
    )
    labels = ((frame["a b"] > 0.3) ^ (frame["count"] > 4) ^ (frame["kind"] == "x")).to_numpy()
    return frame, labels.astype(np.int64)


@pytest.mark.parametrize("make", LIBRARIES.values(), ids=LIBRARIES)
def test_a_model_of_trees_answers_alike_for_all_rows_of_equal_steps(
    make: Callable[[], Any],
) -> None:
    frame, labels = _table()
    rows = frame[["a b", "count"]].to_numpy()
    model = make().fit(rows, labels)
    thresholds = split_thresholds(model, _ALL)
    assert set(thresholds) <= {0, 1}
    assert all(thresholds.values())
    # Every threshold itself and points about it, which are rows as good as any.
    near = [np.nextafter(each, [-np.inf, np.inf], dtype=np.float32) for each in thresholds[0]]
    first = np.unique(np.concatenate([thresholds[0], np.ravel(near), rows[:50, 0]]))
    first = first.astype(np.float32).astype(np.float64)  # as XGBoost and CatBoost take them
    grid = np.array([(one, two) for one in first for two in np.arange(-1, 10, 0.5)])
    steps = np.concatenate(
        [grid[:, [int(at)]] > np.array(own) for at, own in thresholds.items()], axis=1
    )
    answers = model.predict_proba(grid)[:, 1]
    _, cells = np.unique(steps, axis=0, return_inverse=True)
    for cell in range(cells.max() + 1):
        assert np.ptp(answers[cells == cell]) < 1e-6


@pytest.mark.parametrize("name", ["LightGBM", "XGBoost", "CatBoost", "histograms"])
def test_columns_have_their_names_and_categories_no_thresholds(name: str) -> None:
    frame, labels = _table()
    options: dict[str, Any] = {
        "XGBoost": {"enable_categorical": True},
        "histograms": {"categorical_features": "from_dtype"},
    }.get(name, {})
    model = LIBRARIES[name]().set_params(**options)
    model.fit(frame, labels, **({"cat_features": ["kind"]} if name == "CatBoost" else {}))
    found = split_thresholds(model)
    assert {str(each).replace("_", " ") for each in found} == {"a b", "count"}
    assert all(0 < each < 9 for each in found["count"])


def test_few_thresholds_are_quantiles_of_their_uses() -> None:
    model = ExtraTreesClassifier(30, random_state=0).fit(*_numbers())
    found = split_thresholds(model, 5)[0]
    uses = np.concatenate(
        [each.tree_.threshold[each.tree_.feature == 0] for each in model.estimators_]
    )
    assert len(found) == 5
    below = [(uses <= each).mean() for each in found]
    np.testing.assert_allclose(below, [0.1, 0.3, 0.5, 0.7, 0.9], atol=0.01)


def test_numbers_that_a_pipeline_changes_have_none() -> None:
    frame, labels = _table()
    encoded = make_column_transformer(
        (OneHotEncoder(), ["kind"]), (StandardScaler(), ["count"]), remainder="passthrough"
    )
    model = make_pipeline(encoded, RandomForestClassifier(3, random_state=0)).fit(frame, labels)
    found = split_thresholds(model, _ALL)
    assert [*found] == ["a b"]
    last = model.steps[-1][1]
    column = [*encoded.get_feature_names_out()].index("remainder__a b")
    own = [each.tree_.threshold[each.tree_.feature == column] for each in last.estimators_]
    assert found["a b"] == np.unique(np.concatenate(own)).tolist()


def test_other_models_have_none_and_predictors_those_of_their_models() -> None:
    rows, labels = _numbers()
    assert split_thresholds(LogisticRegression().fit(rows, labels)) == {}
    assert split_thresholds(len) == split_thresholds(lambda rows: rows) == {}
    model = RandomForestClassifier(3, random_state=0).fit(rows, labels)
    teacher = tl.teachers.Predictor(model.predict_proba, probabilities=True)
    assert split_thresholds(teacher) == split_thresholds(model) != {}


def test_steps_stand_behind_the_numbers() -> None:
    columns = Columns((Column("sex", "category", ("f", "m")), Column("age", "number")))
    rows = np.array([[0, 20.0], [1, 40.0], [0, np.nan]])
    plain = TableInputs.fit(columns, rows)
    stepped = TableInputs.fit(columns, rows, thresholds={"age": [25.0, 40.0]})
    given = torch.tensor([[1, 40.0], [0, 41.0], [0, torch.nan]], dtype=torch.float64)
    steps = [[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]]
    before = 2  # the number itself, and whether it is missing
    expected = plain(given).tolist()
    expected = [
        [*one[:before], *two, *one[before:]] for one, two in zip(expected, steps, strict=True)
    ]
    assert stepped(given).tolist() == expected
    assert stepped.steps == {"age": [25.0, 40.0]}
    assert plain.steps == {}
    by_position = TableInputs.fit(columns, rows, thresholds={0: [0.5], 1: [25.0, 40.0]})
    assert by_position.statistics == stepped.statistics  # a category has no steps
    # What a teacher splits although it is not an input, such as an identifier, has no steps either.
    whole = Columns((*columns.columns, Column("id", "number", used=False)))
    for key in ("id", 2):
        found = TableInputs.fit(
            whole, np.c_[rows, [3, 1, 2]], thresholds={1: [25.0, 40.0], key: [1.5]}
        )
        assert found.statistics == stepped.statistics
    again = TableInputs.of_json(stepped.as_json())
    assert torch.equal(again(given), stepped(given))


def test_thresholds_of_other_columns_are_refused() -> None:
    columns = Columns((Column("age", "number"),))
    with pytest.raises(tl.errors.ArgumentError, match="columns among age, got 'height'"):
        TableInputs.fit(columns, [[1.0]], thresholds={"height": [1.0]})


def test_a_recipe_gives_the_steps_of_its_teacher_to_the_student(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame, labels = _table()
    frame = frame.assign(kind=frame["kind"].astype(str), label=np.where(labels, "yes", "no"))
    frame["customer_id"] = np.random.default_rng(1).permutation(len(frame))
    frame.to_csv(tmp_path / "train.csv", index=False)
    inputs = pd.read_csv(tmp_path / "train.csv").drop(columns="label")
    inputs["kind"] = inputs["kind"].astype("category")
    model = lightgbm.LGBMClassifier(n_estimators=4, verbose=-1).fit(inputs, frame["label"])
    model.booster_.save_model(tmp_path / "teacher.txt")
    monkeypatch.chdir(tmp_path)
    recipe = {
        "teacher": "teacher.txt",
        "student": {"mlp": {"hidden": [4]}},
        "data": {"train": "train.csv", "label": "label", "val": 0.2},
        "objective": {"SoftTargets": {"temperature": 1}},
        "training": {"epochs": 1},
        "thresholds": 7,
        "out": "steps",
    }
    run = tl.Recipe(recipe).run()
    steps = _steps(run)
    known = split_thresholds(model, 7)
    assert "customer_id" in known  # which is an input of the teacher only
    assert steps == {"a b": known["a_b"], "count": known["count"]}
    exported = tl.Recipe(recipe).export()
    assert exported.difference < 1e-5
    # The student keeps its steps when the teacher is gone.
    before = tl.Recipe(recipe).evaluate("val")["student"]
    (tmp_path / "teacher.txt").unlink()
    after = tl.Recipe(recipe).evaluate("val")["student"]
    assert after["accuracy"] == before["accuracy"]
    plain = tl.Recipe(recipe | {"thresholds": 0, "out": "plain", "teacher": "forest.py:teacher"})
    (tmp_path / "forest.py").write_text(_FOREST)
    assert _steps(plain.run()) == {}


def _steps(run: tl.Run) -> dict[str, list[float]]:
    assert isinstance(run.student, tl.layers.Prepared)
    assert isinstance(run.student.prepare, TableInputs)
    return run.student.prepare.steps


_FOREST = """
from sklearn.ensemble import RandomForestClassifier
import numpy as np, pandas as pd, tutelage as tl

frame = pd.read_csv("train.csv")
frame["kind"] = frame["kind"].astype("category").cat.codes
rows = frame[["a b", "kind", "count", "customer_id"]].to_numpy()
model = RandomForestClassifier(3, random_state=0).fit(rows, frame["label"])
teacher = tl.teachers.Predictor(model.predict_proba, probabilities=True)
"""


def _numbers() -> tuple[np.ndarray, np.ndarray]:
    frame, labels = _table()
    return frame[["a b", "count"]].to_numpy(), labels
