"""Models of XGBoost, LightGBM and CatBoost by reference, whole and damaged."""

import catboost
import lightgbm
import numpy as np
import pandas as pd
import pytest
import skops.io
import torch
import xgboost
from sklearn.linear_model import LogisticRegression

from tables import NAMES, ROWS, THREE, TWO, Columns, answer
from tutelage.datasets import Column, load_data
from tutelage.datasets import Columns as Categories
from tutelage.errors import ModelError
from tutelage.references import class_names, load_model, output_kind, with_columns

QUIET = {"verbose": 0, "allow_writing_files": False, "thread_count": 1}


@pytest.mark.parametrize("labels", [TWO, THREE])
@pytest.mark.parametrize("ending", ["ubj", "json"])
def test_classifiers_of_xgboost(labels, ending, tmp_path):
    model = xgboost.XGBClassifier(n_estimators=3, n_jobs=1).fit(ROWS, labels)
    model.save_model(tmp_path / f"m.{ending}")
    teacher = load_model("teacher", str(tmp_path / f"m.{ending}"), classes=labels.max() + 1)
    expected = torch.from_numpy(model.predict_proba(ROWS[:6]))
    torch.testing.assert_close(answer(teacher).softmax(1), expected)


@pytest.mark.parametrize("kind", ["XGBClassifier", "XGBRegressor"])
def test_a_model_of_xgboost_that_was_stopped_early_has_its_best_trees(kind, tmp_path):
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(200, 2))
    labels = (rows[:, 0] + 2 * generator.normal(size=200) > 0).astype(int)
    model = getattr(xgboost, kind)(n_estimators=80, early_stopping_rounds=3, n_jobs=1)
    model.fit(rows[:100], labels[:100], eval_set=[(rows[100:], labels[100:])], verbose=False)
    assert model.best_iteration + 1 < model.get_booster().num_boosted_rounds()
    model.save_model(tmp_path / "m.ubj")
    found = answer(load_model("teacher", str(tmp_path / "m.ubj")), torch.from_numpy(rows))
    if kind == "XGBRegressor":
        torch.testing.assert_close(found[:, 0], torch.from_numpy(model.predict(rows)))
    else:
        torch.testing.assert_close(
            found.softmax(1), torch.from_numpy(model.predict_proba(rows)), rtol=1e-4, atol=1e-5
        )


def test_several_binary_labels_of_xgboost(tmp_path):
    labels = np.stack([TWO, 1 - TWO, THREE > 0], axis=1)
    model = xgboost.XGBClassifier(n_estimators=3, n_jobs=1).fit(ROWS, labels)
    model.save_model(tmp_path / "m.ubj")
    teacher = load_model("teacher", str(tmp_path / "m.ubj"), classes=3)
    assert output_kind(teacher) == "binary"
    expected = torch.from_numpy(model.predict_proba(ROWS[:6]))
    torch.testing.assert_close(answer(teacher).sigmoid(), expected)


def test_a_linear_model_of_xgboost_that_was_stopped_early(tmp_path):
    model = xgboost.XGBRegressor(
        n_estimators=80, early_stopping_rounds=3, n_jobs=1, booster="gblinear"
    )
    model.fit(ROWS, TWO, eval_set=[(ROWS[::-1], TWO)], verbose=False)
    model.save_model(tmp_path / "m.ubj")
    found = answer(load_model("teacher", str(tmp_path / "m.ubj")))
    torch.testing.assert_close(found[:, 0], torch.from_numpy(model.predict(ROWS[:6])))


@pytest.mark.parametrize("labels", [TWO, THREE])
def test_classifiers_of_lightgbm(labels, tmp_path):
    model = lightgbm.LGBMClassifier(n_estimators=3, verbose=-1, n_jobs=1).fit(ROWS, labels)
    model.booster_.save_model(tmp_path / "m.txt")
    teacher = load_model("teacher", str(tmp_path / "m.txt"), classes=labels.max() + 1)
    expected = torch.from_numpy(model.booster_.predict(ROWS[:6])).float()
    found = answer(teacher).softmax(1)
    torch.testing.assert_close(found[:, 1] if labels is TWO else found, expected)


@pytest.mark.parametrize("labels", [NAMES[TWO], NAMES[THREE]])
def test_classifiers_of_catboost(labels, tmp_path):
    model = catboost.CatBoostClassifier(iterations=3, **QUIET)
    model.fit(ROWS, labels).save_model(tmp_path / "m.cbm")
    teacher = load_model("teacher", str(tmp_path / "m.cbm"))
    expected = torch.from_numpy(model.predict_proba(ROWS[:6])).float()
    torch.testing.assert_close(answer(teacher).softmax(1), expected)
    assert class_names(teacher) == tuple(model.classes_)


def test_regressors(tmp_path):
    values = ROWS[:, 0] + 1
    models = {
        "m.ubj": xgboost.XGBRegressor(n_estimators=3, n_jobs=1),
        "m.txt": lightgbm.LGBMRegressor(n_estimators=3, verbose=-1, n_jobs=1),
        "m.cbm": catboost.CatBoostRegressor(iterations=3, **QUIET),
    }
    for name, model in models.items():
        path = tmp_path / name
        model.fit(ROWS, values)
        getattr(model, "booster_", model).save_model(path)
        expected = torch.from_numpy(np.asarray(model.predict(ROWS[:6]))).float()
        found = answer(load_model("teacher", str(path)))
        torch.testing.assert_close(found[:, 0], expected)


def test_named_columns(tmp_path):
    rows = np.stack([ROWS[:, 0], np.arange(80) % 2, np.ones(80)], axis=1)
    frame = pd.DataFrame(Columns().named(rows)).drop(columns="unused")
    frame["color"] = frame["color"].astype("category")
    model = lightgbm.LGBMClassifier(n_estimators=3, min_child_samples=2, verbose=-1, n_jobs=1)
    model.fit(frame, (rows[:, 1] == 0).astype(int)).booster_.save_model(tmp_path / "m.txt")
    teacher = with_columns(load_model("teacher", str(tmp_path / "m.txt")), Columns())
    # Also of rows that have one of the categories only.
    for some in (rows, rows[::2], rows[1::2]):
        found = answer(teacher, torch.from_numpy(some)).argmax(1)
        assert torch.equal(found, torch.from_numpy(some[:, 1] == 0).long())


@pytest.mark.parametrize("kind", [int, float, str, bool])
@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_categories_of_lightgbm_are_those_it_was_fitted_on(tmp_path, kind, name):
    codes = pd.Series(np.arange(240) % 4 * 10 * (np.arange(240) % 7 > 0))
    codes, labels = codes.astype(kind), (codes.isin([0, 20]) | (kind is bool)) & (codes != 0)
    table = pd.DataFrame({"code": codes, "y": labels.astype(int)})
    getattr(table, "to_csv" if name == "a.csv" else "to_parquet")(tmp_path / name, index=False)
    model = lightgbm.LGBMClassifier(
        n_estimators=9, min_child_samples=2, min_data_per_group=1, cat_smooth=0, verbose=-1
    )
    frame = table[["code"]].astype("category")
    model.fit(frame, table["y"]).booster_.save_model(tmp_path / "m.txt")
    options = {"train": str(tmp_path / name), "label": "y", "categories": "code"}
    data = load_data("data", {**options, "kind": "classes"})
    assert data.columns is not None
    teacher = with_columns(load_model("teacher", str(tmp_path / "m.txt")), data.columns)
    found = answer(teacher, data.rows).softmax(1)[:, 1]
    torch.testing.assert_close(found.numpy(), model.predict_proba(frame)[:, 1].astype("float32"))


def test_names_of_columns_may_have_spaces(tmp_path):
    """LightGBM writes others for them."""
    table = pd.DataFrame({"b c": np.arange(80) % 7.5, "d": np.arange(80) % 3.5})
    model = lightgbm.LGBMClassifier(n_estimators=3, verbose=-1, n_jobs=1)
    model.fit(table, table["b c"] > 3).booster_.save_model(tmp_path / "m.txt")
    table[["d", "b c"]].to_csv(tmp_path / "a.csv", index=False)
    data = load_data("data", {"train": str(tmp_path / "a.csv")})
    assert data.columns is not None
    teacher = with_columns(load_model("teacher", str(tmp_path / "m.txt")), data.columns)
    expected = np.asarray(model.predict_proba(table)).astype("float32")
    np.testing.assert_allclose(answer(teacher, data.rows).softmax(1), expected, rtol=1e-4)


def test_categories_of_lightgbm_may_be_missing(tmp_path):
    rows = np.stack([np.arange(80) % 2, np.arange(80) % 3], axis=1)
    frame = pd.DataFrame(
        {"code": pd.Series(rows[:, 0] * 5 + 1).astype("category"), "x": rows[:, 1]}
    )
    frame.loc[::7, "code"] = np.nan
    model = lightgbm.LGBMClassifier(n_estimators=3, min_child_samples=2, verbose=-1, n_jobs=1)
    model.fit(frame, rows[:, 0]).booster_.save_model(tmp_path / "m.txt")
    frame.to_csv(tmp_path / "a.csv", index=False)
    data = load_data("data", {"train": str(tmp_path / "a.csv"), "categories": "code"})
    assert data.columns is not None
    teacher = with_columns(load_model("teacher", str(tmp_path / "m.txt")), data.columns)
    found = answer(teacher, data.train[:][0]).softmax(1)[:, 1].numpy()
    np.testing.assert_allclose(found, model.predict_proba(frame)[:, 1], rtol=1e-5)


def test_an_objective_of_another_kind_is_refused(tmp_path):
    model = xgboost.XGBRanker(n_estimators=1, n_jobs=1)
    model.fit(ROWS, TWO, qid=np.arange(80) // 10)
    model.save_model(tmp_path / "m.ubj")
    with pytest.raises(ModelError, match="classes or values, got one of the objective 'rank:"):
        load_model("teacher", str(tmp_path / "m.ubj"))


FORMS = {
    "text": lambda codes: codes.map({0: "a", 10: "b", 20: "c", 30: "d"}),
    "spaces": lambda codes: codes.map({0: " a", 10: " b", 20: " c", 30: " d"}),
    "int": lambda codes: codes,
    "float": lambda codes: codes.astype(float).astype(str),
    "bool": lambda codes: codes > 10,
    "bool text": lambda codes: (codes > 10).astype(str),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["a.csv", "a.parquet", "gaps.csv"])
def test_categories_of_catboost_are_those_it_was_fitted_on(tmp_path, form, name):
    codes = pd.Series(np.arange(240) % 4 * 10)
    table = pd.DataFrame({"x": np.arange(240) % 7, "code": FORMS[form](codes)})
    labels = table["code"].isin(table["code"].unique()[1::2]).astype(int)
    model = catboost.CatBoostClassifier(iterations=20, cat_features=["code"], **QUIET)
    model.fit(table, labels).save_model(tmp_path / "m.cbm")
    written = table
    if name == "gaps.csv" and form == "int":  # as pandas writes them where a cell is missing
        written = table.assign(code=codes.astype(float))
    getattr(written, "to_parquet" if name == "a.parquet" else "to_csv")(
        tmp_path / name, index=False
    )
    data = load_data("data", {"train": str(tmp_path / name), "categories": "code"})
    assert data.columns is not None
    teacher = with_columns(load_model("teacher", str(tmp_path / "m.cbm")), data.columns)
    expected = model.predict_proba(table).astype("float32")
    np.testing.assert_allclose(answer(teacher, data.rows).softmax(1), expected, rtol=1e-4)
    assert np.abs(expected[:, 1] - labels).max() < 0.5


@pytest.mark.parametrize("kind", ["xgboost", "catboost", "scikit-learn"])
def test_true_and_false_may_be_numbers(tmp_path, kind):
    table = pd.DataFrame({"x": np.arange(80) % 7, "b": np.arange(80) % 3 > 0})
    table.to_csv(tmp_path / "a.csv", index=False)
    if kind == "xgboost":
        model = xgboost.XGBClassifier(n_estimators=3, n_jobs=1).fit(table, table["b"].astype(int))
        path = tmp_path / "m.ubj"
    elif kind == "scikit-learn":
        model, path = LogisticRegression().fit(table, table["b"]), tmp_path / "m.skops"
    else:
        model = catboost.CatBoostClassifier(iterations=3, **QUIET).fit(
            table, table["b"].astype(int)
        )
        path = tmp_path / "m.cbm"
    skops.io.dump(model, path) if kind == "scikit-learn" else model.save_model(path)
    data = load_data("data", {"train": str(tmp_path / "a.csv")})
    assert data.columns is not None
    teacher = with_columns(load_model("teacher", str(path)), data.columns)
    expected = model.predict_proba(table).astype("float32")
    np.testing.assert_allclose(answer(teacher, data.rows).softmax(1), expected, rtol=1e-4)


def test_categories_that_catboost_does_not_know_are_refused(tmp_path):
    table = pd.DataFrame({"x": np.arange(80) % 7, "sex": ["male", "female"] * 40})
    model = catboost.CatBoostClassifier(iterations=9, cat_features=["sex"], **QUIET)
    model.fit(table, np.arange(80) % 2).save_model(tmp_path / "m.cbm")
    columns = Categories((Column("x", "number"), Column("sex", "category", ("F", "M"))))
    with pytest.raises(ModelError, match=r"know the values of 'sex', got 'F', 'M', of which"):
        with_columns(load_model("teacher", str(tmp_path / "m.cbm")), columns)
    columns = Categories((Column("x", "number"), Column("sex", "category", ("female", "M"))))
    assert with_columns(load_model("teacher", str(tmp_path / "m.cbm")), columns)


@pytest.mark.parametrize(
    ("name", "model", "objective"),
    [
        (
            "m.txt",
            lightgbm.LGBMClassifier(n_estimators=2, objective="ova", verbose=-1),
            "multiclassova",
        ),
        (
            "m.cbm",
            catboost.CatBoostClassifier(iterations=2, loss_function="MultiClassOneVsAll", **QUIET),
            "MultiClassOneVsAll",
        ),
    ],
)
def test_classes_against_all_others_are_refused(name, model, objective, tmp_path):
    """Their probabilities do not sum to 1, and are no logits either."""
    model.fit(ROWS, THREE)
    getattr(model, "booster_", model).save_model(tmp_path / name)
    with pytest.raises(ModelError, match=f"one of the objective '{objective}' .* your own code"):
        load_model("teacher", str(tmp_path / name))


@pytest.mark.parametrize("name", ["m.ubj", "m.json", "m.txt", "m.cbm"])
def test_damaged_files_are_refused(name, tmp_path):
    """Some of these libraries would end the process."""
    model = {
        "txt": lightgbm.LGBMClassifier(n_estimators=3, verbose=-1, n_jobs=1),
        "cbm": catboost.CatBoostClassifier(iterations=3, **QUIET),
    }.get(name[2:], xgboost.XGBClassifier(n_estimators=3, n_jobs=1))
    model.fit(ROWS, TWO)
    getattr(model, "booster_", model).save_model(tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    for content in (b"", b"garbage", *(whole[: len(whole) * part // 7] for part in range(1, 6))):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ModelError, match="could not be loaded"):
            load_model("teacher", str(tmp_path / name))
