"""Estimators of scikit-learn by reference, in files of skops."""

import numpy as np
import pandas as pd
import pytest
import skops.io
import torch
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Perceptron
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, TargetEncoder

from tables import NAMES, ROWS, TENSOR, THREE, TWO, Columns, answer
from tutelage.datasets import Column, load_data
from tutelage.datasets import Columns as TableColumns
from tutelage.errors import ModelError
from tutelage.references import class_names, load_model, output_kind, with_columns


def dump(model, path):
    skops.io.dump(model, path)
    return str(path)


def test_a_classifier_teaches_by_its_probabilities(tmp_path):
    model = LogisticRegression().fit(ROWS, NAMES[THREE])
    teacher = load_model("teacher", dump(model, tmp_path / "m.skops"))
    expected = torch.from_numpy(model.predict_log_proba(ROWS[:6])).float()
    torch.testing.assert_close(answer(teacher), expected, rtol=1e-4, atol=1e-5)
    assert class_names(teacher) == ("high", "low", "middle")
    with pytest.raises(ModelError, match="must have 2 classes, got a model with 3"):
        load_model("teacher", str(tmp_path / "m.skops"), classes=2)


def test_a_regressor_teaches_its_values(tmp_path):
    model = LinearRegression().fit(ROWS, ROWS[:, 0])
    teacher = load_model("teacher", dump(model, tmp_path / "m.skops"))
    torch.testing.assert_close(answer(teacher)[:, 0], TENSOR[:, 0].float())


def test_binary_labels(tmp_path):
    labels = np.stack([TWO, 1 - TWO], axis=1)
    model = RandomForestClassifier(3, random_state=0).fit(ROWS, labels)
    path = dump(model, tmp_path / "m.skops")
    teacher = load_model("teacher", f"{path}?trust=sklearn.tree._tree.Tree")
    expected = np.stack([each[:, 1] for each in model.predict_proba(ROWS[:6])], axis=1)
    found = answer(teacher).sigmoid()
    torch.testing.assert_close(found, torch.from_numpy(expected).float(), rtol=0, atol=1e-5)


def test_a_classifier_of_texts(tmp_path):
    texts = ["good day", "bad day", "good food", "bad food"]
    model = make_pipeline(CountVectorizer(), LogisticRegression()).fit(texts, [1, 0, 1, 0])
    teacher = load_model("teacher", dump(model, tmp_path / "m.skops"))
    assert answer(teacher, ["good", "bad"]).argmax(1).tolist() == [1, 0]


def test_named_columns_are_those_that_it_was_fitted_on(tmp_path):
    rows = np.stack([ROWS[:40, 0], np.arange(40) % 3, np.ones(40)], axis=1)
    rows[rows[:, 1] == 2, 1] = np.nan
    frame = pd.DataFrame(Columns().named(rows)).drop(columns="unused")
    frame["color"] = frame["color"].astype(object).where(frame["color"].notna(), np.nan)
    labels = (rows[:, 1] == 0).astype(int)
    encode = make_column_transformer((OneHotEncoder(), ["color"]), remainder="passthrough")
    model = make_pipeline(encode, LogisticRegression()).fit(frame, labels)
    path = dump(model, tmp_path / "m.skops")
    teacher = load_model("teacher", path)
    with pytest.raises(ModelError, match=r"fitted on named columns .*with_columns"):
        answer(teacher, torch.from_numpy(rows))
    found = answer(with_columns(teacher, Columns()), torch.from_numpy(rows))
    expected = torch.from_numpy(model.predict_log_proba(frame)).float()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_rows_of_the_same_codes_but_other_categories_are_other_answers(tmp_path):
    """So that a run is not taken for one on a table in which a category was renamed."""
    frame = pd.DataFrame({"job": ["cook", "smith"] * 20})
    encode = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["job"]))
    model = make_pipeline(encode, LogisticRegression()).fit(frame, [0, 1] * 20)
    teacher = load_model("teacher", dump(model, tmp_path / "m.skops"))
    prints = {
        with_columns(teacher, TableColumns((Column("job", "category", names),))).fingerprint()
        for names in (("cook", "smith"), ("cook", "tailor"))
    }
    assert len(prints) == 2


def ignoring(inner):
    return make_column_transformer((inner, ["code"]), remainder="passthrough")


def loaded(model, path):
    """Return the teacher of a model whose types are all trusted."""
    types = skops.io.get_untrusted_types(file=dump(model, path))
    return load_model("teacher", f"{path}?trust={','.join(types)}" if types else str(path))


def one_hot():
    return OneHotEncoder(handle_unknown="ignore")


def imputed():
    return SimpleImputer(strategy="most_frequent")


UNKNOWN = {"handle_unknown": "use_encoded_value", "unknown_value": -1}
MODELS = {
    "one-hot": lambda: [ignoring(one_hot())],
    "strict": lambda: [ignoring(OneHotEncoder())],
    "ordinal": lambda: [
        ignoring(OrdinalEncoder(**UNKNOWN)),
        one_hot(),
    ],
    "target": lambda: [ignoring(TargetEncoder())],
    "imputed": lambda: [ignoring(make_pipeline(imputed(), one_hot()))],
    "by place": lambda: [
        ColumnTransformer([("i", imputed(), ["x"])], remainder="passthrough"),
        ColumnTransformer([("o", one_hot(), [1])], remainder="passthrough"),
    ],
    "whole": lambda: [one_hot()],
}


def coded(kind):
    """Return a table of codes of a type, of which two have another label than the others."""
    codes = pd.Series(np.arange(240) % 4 * 10)
    labels = codes.isin([0, 20]).astype(int)
    if kind is bool:
        codes, labels = codes > 10, (codes > 10).astype(int)
    elif kind == "missing":
        codes = codes.where(codes > 0)
    return pd.DataFrame(
        {"x": np.arange(240) % 7, "code": codes.astype(kind if kind != "missing" else float)}
    ), labels


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("kind", [int, float, str, bool, "missing"])
@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_categories_are_those_that_encoders_were_fitted_on(tmp_path, model, kind, name):
    table, labels = coded(kind)
    getattr(table, "to_csv" if name == "a.csv" else "to_parquet")(tmp_path / name, index=False)
    if kind is bool and model in ("imputed", "by place"):
        return  # imputers take none
    fitted = make_pipeline(*MODELS[model](), LogisticRegression()).fit(table, labels)
    options = {"train": str(tmp_path / name), "categories": "code"}
    data = load_data("data", options)
    assert data.columns is not None
    teacher = with_columns(loaded(fitted, tmp_path / "m.skops"), data.columns)
    assert fitted.score(table, labels) >= 0.75
    expected = fitted.predict_log_proba(table).astype("float32")
    np.testing.assert_allclose(answer(teacher, data.rows), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", [int, float, bool])
def test_categories_of_boosted_trees(tmp_path, kind):
    table, labels = coded(kind)
    table.to_csv(tmp_path / "a.csv", index=False)
    frame = table.astype({"code": "category"})
    fitted = HistGradientBoostingClassifier(max_iter=5).fit(frame, labels)
    data = load_data("data", {"train": str(tmp_path / "a.csv"), "categories": "code"})
    assert data.columns is not None
    teacher = with_columns(loaded(fitted, tmp_path / "m.skops"), data.columns)
    expected = np.log(fitted.predict_proba(frame)).astype("float32")
    np.testing.assert_allclose(answer(teacher, data.rows), expected, rtol=1e-3, atol=1e-3)


def test_calibrated_encoders_are_known(tmp_path):
    table, labels = coded(int)
    inner = make_pipeline(ignoring(one_hot()), LogisticRegression())
    fitted = CalibratedClassifierCV(inner, cv=2).fit(table, labels)
    columns = TableColumns(
        (Column("code", "category", ("0", "10", "20", "30")), Column("x", "number"))
    )
    teacher = with_columns(loaded(fitted, tmp_path / "m.skops"), columns)
    rows = torch.tensor(np.stack([table["code"] / 10, table["x"]], axis=1))
    expected = np.log(fitted.predict_proba(table)).astype("float32")
    np.testing.assert_allclose(answer(teacher, rows), expected, rtol=1e-3, atol=1e-3)


def test_numbers_in_the_data_may_be_texts_for_the_encoder(tmp_path):
    table, labels = coded(int)
    texts = table.astype({"code": str}).astype({"code": object})
    fitted = make_pipeline(*MODELS["one-hot"](), LogisticRegression()).fit(texts, labels)
    columns = TableColumns((Column("code", "number"), Column("x", "number")))
    teacher = with_columns(loaded(fitted, tmp_path / "m.skops"), columns)
    found = answer(teacher, torch.tensor(table[["code", "x"]].to_numpy(dtype=float)))
    assert (found.argmax(1).numpy() == labels).all()


@pytest.mark.parametrize(
    "column",
    [
        Column("code", "number"),
        Column("code", "date"),
        Column("code", "category", ("M", "F")),
        Column("code", "category", ("1", "2")),
    ],
)
def test_values_that_an_encoder_cannot_know_are_refused(tmp_path, column):
    table = pd.DataFrame({"code": ["male", "female"] * 20, "x": range(40)}).astype({"code": object})
    fitted = make_pipeline(*MODELS["one-hot"](), LogisticRegression()).fit(table, [0, 1] * 20)
    teacher = loaded(fitted, tmp_path / "m.skops")
    with pytest.raises(ModelError, match=r"know the values of 'code', got .* on 'female', 'male'"):
        with_columns(teacher, TableColumns((column, Column("x", "number"))))


def test_some_categories_that_an_encoder_does_not_know_are_told(tmp_path, caplog):
    table = pd.DataFrame({"code": ["a", "b"] * 20, "x": range(40)}).astype({"code": object})
    fitted = make_pipeline(*MODELS["one-hot"](), LogisticRegression()).fit(table, [0, 1] * 20)
    columns = TableColumns((Column("code", "category", ("a", "b", "c")), Column("x", "number")))
    with_columns(loaded(fitted, tmp_path / "m.skops"), columns)
    assert "was not fitted on these categories of 'code': 'c'; it was on 'a', 'b'" in caplog.text


def test_codes_for_a_teacher_without_names_are_told(tmp_path, caplog):
    fitted = LogisticRegression().fit(ROWS[:, :2], TWO)
    columns = [Column("a", "category", ("3", "5")), Column("b", "category", ("0", "1"))]
    with_columns(
        load_model("teacher", dump(fitted, tmp_path / "m.skops")), TableColumns((*columns,))
    )
    assert "the categories of 'a' by their place: 3 as 0, 5 as 1;" in caplog.text
    assert "'b'" not in caplog.text


def test_an_encoder_of_numbers_in_another_place_is_refused(tmp_path):
    table, labels = coded(int)
    halved = FunctionTransformer(np.asarray)
    fitted = make_pipeline(halved, *MODELS["whole"](), LogisticRegression()).fit(table, labels)
    columns = TableColumns(
        (Column("code", "category", ("0", "10", "20", "30")), Column("x", "number"))
    )
    teacher = with_columns(loaded(fitted, tmp_path / "m.skops"), columns)
    with pytest.raises(ModelError, match=r"given 'code' as it was fitted on it, .* out of `categ"):
        answer(teacher, torch.tensor([[1.0, 2.0]]))


def test_names_of_columns_may_have_spaces_around_them(tmp_path):
    (tmp_path / "a.csv").write_text(
        "x, c\n" + "\n".join(f"{at}, {'uv'[at % 2]}" for at in range(40))
    )
    table = pd.read_csv(tmp_path / "a.csv").astype({" c": object})
    encode = make_column_transformer((one_hot(), [" c"]), remainder="passthrough")
    fitted = make_pipeline(encode, LogisticRegression()).fit(table, table[" c"] == " v")
    data = load_data("data", {"train": str(tmp_path / "a.csv")})
    assert data.columns is not None
    teacher = with_columns(loaded(fitted, tmp_path / "m.skops"), data.columns)
    expected = fitted.predict_log_proba(table).astype("float32")
    np.testing.assert_allclose(answer(teacher, data.rows), expected, rtol=1e-3, atol=1e-3)


def test_types_that_are_not_trusted_are_refused(tmp_path):
    halve = FunctionTransformer(np.testing.rundocs)
    model = make_pipeline(halve, LogisticRegression())
    model.steps[-1][1].fit(ROWS, TWO)
    path = dump(model, tmp_path / "m.skops")
    with pytest.raises(ModelError, match=r"could run code .*rundocs.*\?trust=numpy"):
        load_model("teacher", path)
    with pytest.raises(ModelError, match=r"could run code .*rundocs"):
        load_model("teacher", f"{path}?trust=numpy.other")
    assert load_model("teacher", f"{path}?trust=numpy.testing._private.utils.rundocs")


@pytest.mark.parametrize(
    ("labels", "names"), [(TWO + 1.0, ("1", "2")), (TWO > 0, ("False", "True")), (TWO * 1.0, None)]
)
def test_classes_may_be_numbers(tmp_path, labels, names):
    """They are called as those of data, whether its file has 1 or 1.0."""
    path = dump(LogisticRegression().fit(ROWS, labels), tmp_path / "m.skops")
    assert class_names(load_model("teacher", path)) == names


def test_one_class_against_the_others(tmp_path):
    """Those of scikit-learn return probabilities that sum to 1, or are of binary labels."""
    model = OneVsRestClassifier(LogisticRegression()).fit(ROWS, NAMES[THREE])
    teacher = load_model("teacher", dump(model, tmp_path / "m.skops"))
    expected = torch.from_numpy(model.predict_proba(ROWS[:6])).float()
    torch.testing.assert_close(answer(teacher).softmax(1), expected)
    assert (output_kind(teacher), class_names(teacher)) == ("classes", ("high", "low", "middle"))
    model = OneVsRestClassifier(LogisticRegression()).fit(ROWS, np.stack([TWO, THREE > 0], axis=1))
    teacher = load_model("teacher", dump(model, tmp_path / "m.skops"))
    expected = torch.from_numpy(model.predict_proba(ROWS[:6])).float()
    torch.testing.assert_close(answer(teacher).sigmoid(), expected, rtol=1e-4, atol=1e-5)
    assert output_kind(teacher) == "binary"
    model = OneVsOneClassifier(LogisticRegression()).fit(ROWS, THREE)
    with pytest.raises(ModelError, match="with predict_proba"):
        load_model("teacher", dump(model, tmp_path / "m.skops"))


def test_a_classifier_without_probabilities_is_refused(tmp_path):
    path = dump(Perceptron().fit(ROWS, TWO), tmp_path / "m.skops")
    with pytest.raises(ModelError, match=r"with predict_proba, got sklearn.*Perceptron"):
        load_model("teacher", path)
