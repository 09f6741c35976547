"""Estimators of scikit-learn by reference, in files of skops."""

import numpy as np
import pandas as pd
import pytest
import skops.io
import torch
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression, Perceptron
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder

from tables import NAMES, ROWS, TENSOR, THREE, TWO, Columns, answer
from tutelage.errors import ModelError
from tutelage.references import class_names, load_model, with_columns


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


def test_a_classifier_without_probabilities_is_refused(tmp_path):
    path = dump(Perceptron().fit(ROWS, TWO), tmp_path / "m.skops")
    with pytest.raises(ModelError, match=r"with predict_proba, got sklearn.*Perceptron"):
        load_model("teacher", path)
