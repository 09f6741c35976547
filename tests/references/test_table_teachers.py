"""Teachers of tables: each answers as its user's own call on the rows of `pandas.read_csv` does."""

import warnings

import catboost
import lightgbm
import numpy as np
import onnx
import pandas as pd
import pytest
import skops.io
import torch
import xgboost
from onnx import TensorProto, helper, numpy_helper
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor, make_column_selector
from sklearn.compose import make_column_transformer as by_column
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
    VotingClassifier,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Perceptron, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.multioutput import ClassifierChain
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
    TargetEncoder,
)
from sklearn.tree import DecisionTreeClassifier

from tables import NAMES, ROWS, THREE, TWO, answer
from tutelage.datasets import Column, Columns, load_data
from tutelage.errors import ArgumentError, ModelError
from tutelage.references import class_names, load_model, with_columns

COUNT = 240
NUMBERS, TEXTS = ["age", "height m", "code"], ["job", "city"]
QUIET = {"verbose": 0, "allow_writing_files": False, "thread_count": 1}
CAT = {"iterations": 8, **QUIET}
XGB = {"n_estimators": 5, "n_jobs": 1}
LGB = {"n_estimators": 5, "min_child_samples": 3, "verbose": -1, "n_jobs": 1}


def table():
    """Return a table as pandas reads it: every type of column, missing cells, a space in a name."""
    random = np.random.default_rng(0)
    found = pd.DataFrame(
        {
            "age": random.integers(18, 80, COUNT),
            "job": random.choice(["cook", "smith", "tailor"], COUNT),
            "height m": random.normal(1.7, 0.1, COUNT).round(3),
            "code": random.choice([10, 20, 30], COUNT),
            "smokes": random.random(COUNT) > 0.5,
            "city": random.choice(["Bonn", "Rome", "Oslo"], COUNT),
            "grade": random.choice([1, 2, 3], COUNT),
        }
    )
    found.loc[::11, "height m"] = np.nan
    found.loc[::7, "city"] = np.nan
    found.loc[::9, "grade"] = np.nan
    found["y"] = (found["job"] == "cook") | (found["code"] == 20) & (found["age"] > 40)
    found["y"] = found["y"].map({True: "yes", False: "no"})
    return found


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("tables") / "people.csv"
    table().to_csv(path, index=False)
    return path


def loaded(path, omit=(), **options):
    given = {"omit": list(omit)} if omit else {}
    return load_data("data", {"train": str(path), "label": "y", **given, **options})


def encoded():
    """A preprocessing of all columns of the table."""
    return by_column(
        (make_pipeline(SimpleImputer(), StandardScaler()), NUMBERS),
        (OneHotEncoder(handle_unknown="ignore"), TEXTS),
    )


def categories(frame, *names):
    return frame.astype(dict.fromkeys(names or TEXTS, "category"))


def whole(frame):
    """The columns without missing texts, which not all libraries take."""
    return frame[["age", "job", "height m", "code", "smokes"]]


def codes(frame):
    """Texts by their codes, as users make arrays."""
    found = frame.copy()
    for name in TEXTS:
        known = categories(found, name)[name].cat.codes
        found[name] = known.where(known >= 0, np.nan)
    return found.to_numpy(dtype=float)


def values(frame):
    return frame["age"] + 10 * (frame["job"] == "cook")


def three(frame):
    return (frame["code"] // 10 - 1).to_numpy()


def two(frame):
    return ((frame["job"] == "cook") | (frame["code"] == 20)).to_numpy().astype(int)


def several(frame):
    return np.stack([two(frame), three(frame) > 0], axis=1).astype(int)


# By name: a model, what it is fitted on, and its labels; it predicts for what it was fitted on.
SKLEARN = {
    "one-hot": (make_pipeline(encoded(), LogisticRegression()), None, two),
    "three classes": (make_pipeline(encoded(), LogisticRegression()), None, three),
    "strict": (
        make_pipeline(by_column((OneHotEncoder(), ["job"])), LogisticRegression()),
        None,
        two,
    ),
    "codes and truths": (
        make_pipeline(by_column((OneHotEncoder(), ["code", "smokes"])), LogisticRegression()),
        None,
        two,
    ),
    "whole numbers with gaps": (
        make_pipeline(by_column((OneHotEncoder(), ["grade"])), LogisticRegression()),
        None,
        two,
    ),
    "ordinal": (
        make_pipeline(
            by_column(
                (OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), TEXTS),
                remainder="passthrough",
            ),
            RandomForestClassifier(3, random_state=0),
        ),
        None,
        two,
    ),
    "imputed": (
        make_pipeline(
            by_column(
                (make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder()), TEXTS)
            ),
            LogisticRegression(),
        ),
        None,
        two,
    ),
    "target": (
        make_pipeline(by_column((TargetEncoder(), ["job", "code"])), LogisticRegression()),
        None,
        two,
    ),
    "by type": (
        make_pipeline(
            ColumnTransformer(
                [
                    ("n", SimpleImputer(), make_column_selector(dtype_include="number")),
                    ("t", OneHotEncoder(), make_column_selector(dtype_include=["str", object])),
                ]
            ),
            LogisticRegression(max_iter=2000),
        ),
        None,
        two,
    ),
    "by position": (
        make_pipeline(
            ColumnTransformer([("t", OneHotEncoder(), [1]), ("n", SimpleImputer(), [0, 2])]),
            LogisticRegression(max_iter=2000),
        ),
        None,
        two,
    ),
    "calibrated": (
        CalibratedClassifierCV(make_pipeline(encoded(), LogisticRegression()), cv=2),
        None,
        two,
    ),
    "voting": (
        VotingClassifier([("a", make_pipeline(encoded(), LogisticRegression()))], voting="soft"),
        None,
        two,
    ),
    "boosting by type": (
        HistGradientBoostingClassifier(max_iter=5, categorical_features="from_dtype"),
        lambda frame: categories(frame, "job", "city", "code"),
        two,
    ),
    "boosting of numbers": (
        HistGradientBoostingClassifier(max_iter=5),
        lambda frame: frame[NUMBERS],
        two,
    ),
    "a function": (
        make_pipeline(FunctionTransformer(np.sqrt), LogisticRegression()),
        lambda frame: frame[["age", "code"]],
        two,
    ),
    "several labels": (
        make_pipeline(encoded(), RandomForestClassifier(3, random_state=0)),
        None,
        several,
    ),
    "values": (make_pipeline(encoded(), Ridge()), None, values),
    "log of values": (
        TransformedTargetRegressor(
            make_pipeline(encoded(), Ridge()), func=np.log1p, inverse_func=np.expm1
        ),
        None,
        values,
    ),
    "an array": (LogisticRegression(), lambda frame: frame[["age", "code"]].to_numpy(), two),
    "an array of codes": (DecisionTreeClassifier(max_depth=4), codes, two),
    "values of an array": (RandomForestRegressor(3, random_state=0), codes, values),
    "gradient boosting": (
        GradientBoostingClassifier(n_estimators=3),
        lambda frame: frame[["code", "age"]],
        three,
    ),
    "xgboost's class": (
        xgboost.XGBClassifier(enable_categorical=True, **XGB),
        lambda frame: categories(frame, "job", "city"),
        two,
    ),
    "lightgbm's class": (
        lightgbm.LGBMClassifier(**LGB),
        lambda frame: categories(frame, "job", "city", "code"),
        two,
    ),
    "catboost's class": (
        catboost.CatBoostClassifier(cat_features=["job", "code"], **CAT),
        lambda frame: frame[["age", "job", "height m", "code"]],
        two,
    ),
    "catboost in a pipeline": (
        make_pipeline(catboost.CatBoostRegressor(**CAT)),
        lambda frame: frame[["code", "age"]],
        values,
    ),
    "a search": (
        GridSearchCV(
            make_pipeline(encoded(), LogisticRegression()), {"logisticregression__C": [1, 2]}, cv=2
        ),
        None,
        two,
    ),
    "catboost's values": (
        catboost.CatBoostRegressor(**CAT),
        lambda frame: frame[NUMBERS],
        values,
    ),
    "lightgbm in a pipeline": (
        make_pipeline(encoded(), lightgbm.LGBMClassifier(**LGB)),
        None,
        two,
    ),
}
LIGHTGBM = {
    "categories": (lightgbm.LGBMClassifier(**LGB), categories, two),
    "codes and truths": (
        lightgbm.LGBMClassifier(**LGB),
        lambda frame: categories(frame, "job", "code", "smokes", "city", "grade"),
        two,
    ),
    "a constant category": (
        lightgbm.LGBMClassifier(**LGB),
        lambda frame: categories(frame[["job", "city", "age"]].assign(job="cook")),
        two,
    ),
    "numbers": (lightgbm.LGBMClassifier(**LGB), lambda frame: frame[NUMBERS], two),
    "three classes": (lightgbm.LGBMClassifier(**LGB), categories, three),
    "values": (lightgbm.LGBMRegressor(**LGB), categories, values),
    "counts": (lightgbm.LGBMRegressor(objective="poisson", **LGB), categories, values),
    "probabilities": (lightgbm.LGBMRegressor(objective="xentropy", **LGB), categories, two),
    "an array": (lightgbm.LGBMClassifier(**LGB), codes, two),
}
XGBOOST = {
    "categories": (xgboost.XGBClassifier(enable_categorical=True, **XGB), categories, two),
    "codes": (
        xgboost.XGBClassifier(enable_categorical=True, **XGB),
        lambda frame: categories(frame[["code", "job", "age"]], "code", "job"),
        two,
    ),
    "numbers": (xgboost.XGBClassifier(**XGB), lambda frame: frame[NUMBERS], two),
    "truths": (xgboost.XGBClassifier(**XGB), lambda frame: frame[["smokes", "age"]], two),
    "three classes": (xgboost.XGBClassifier(enable_categorical=True, **XGB), categories, three),
    "values": (xgboost.XGBRegressor(enable_categorical=True, **XGB), categories, values),
    "counts": (
        xgboost.XGBRegressor(objective="count:poisson", **XGB),
        lambda frame: frame[NUMBERS],
        values,
    ),
    "linear": (
        xgboost.XGBRegressor(booster="gblinear", n_estimators=5),
        lambda frame: frame[["age", "code"]],
        values,
    ),
    "several labels": (xgboost.XGBClassifier(**XGB), lambda frame: frame[NUMBERS], several),
    "an array": (xgboost.XGBClassifier(**XGB), codes, two),
}
CATBOOST = {
    "categories": (
        catboost.CatBoostClassifier(cat_features=["job", "code"], **CAT),
        whole,
        two,
    ),
    "truths": (
        catboost.CatBoostClassifier(cat_features=["job", "smokes"], **CAT),
        whole,
        two,
    ),
    "pandas' categories": (
        catboost.CatBoostClassifier(cat_features=["job", "code"], **CAT),
        lambda frame: categories(whole(frame), "job", "code"),
        two,
    ),
    "names of classes": (
        catboost.CatBoostClassifier(cat_features=["job"], **CAT),
        whole,
        lambda frame: frame["y"],
    ),
    "three classes": (catboost.CatBoostClassifier(cat_features=["job"], **CAT), whole, three),
    "several labels": (
        catboost.CatBoostClassifier(loss_function="MultiLogloss", **CAT),
        lambda frame: frame[NUMBERS],
        several,
    ),
    "values": (catboost.CatBoostRegressor(cat_features=["job"], **CAT), whole, values),
    "values and their variance": (
        catboost.CatBoostRegressor(
            loss_function="RMSEWithUncertainty", cat_features=["job"], **CAT
        ),
        whole,
        values,
    ),
    "counts": (
        catboost.CatBoostRegressor(loss_function="Poisson", **CAT),
        lambda frame: frame[NUMBERS],
        values,
    ),
    "an array": (catboost.CatBoostClassifier(**CAT), codes, two),
}


def trusted(model, path):
    skops.io.dump(model, path)
    return {"trust": skops.io.get_untrusted_types(file=path)}


def native(model, path):
    if path.suffix == ".skops":
        return trusted(model, path)
    if isinstance(model, catboost.CatBoost):
        model.save_model(path, format=path.suffix[1:])
    else:
        getattr(model, "booster_", model).save_model(path)
    return {}


CASES = [
    *(("skops", *each) for each in SKLEARN.items()),
    *(("txt", *each) for each in LIGHTGBM.items()),
    *((kind, *each) for kind in ("ubj", "json") for each in XGBOOST.items()),
    *((kind, *each) for kind in ("cbm", "json") for each in CATBOOST.items()),
]


@pytest.mark.parametrize(
    ("kind", "case"),
    [(kind, case) for kind, _, case in CASES],
    ids=[f"{kind}-{name}" for kind, name, _ in CASES],
)
def test_a_teacher_answers_as_its_users_own_call(kind, case, file, tmp_path):
    model, prepare, labels = case
    frame = pd.read_csv(file).drop(columns="y")
    given = frame if prepare is None else prepare(frame)
    model.fit(given, labels(pd.read_csv(file)))
    expected = model.predict_proba(given) if hasattr(model, "predict_proba") else None
    if expected is None:
        expected = model.predict(given)
    if isinstance(expected, list):
        expected = np.stack([each[:, 1] for each in expected], axis=1)
    if getattr(model, "objective", None) == "xentropy":
        expected = np.stack([1 - expected, expected], axis=1)
    if "RMSEWithUncertainty" in str(getattr(model, "get_params", dict)()):
        expected = expected[:, 0]
    options = native(model, tmp_path / f"m.{kind}")
    omitted = []
    if isinstance(given, np.ndarray) and given.shape[1] == 2:
        omitted = [each for each in frame.columns if each not in ("age", "code")]
    data = loaded(file, **({"omit": omitted} if omitted else {}))
    if isinstance(given, pd.DataFrame) and (given["job"].nunique() if "job" in given else 2) == 1:
        data = loaded(constant(file, tmp_path))
    teacher = with_columns(
        load_model("teacher", str(tmp_path / f"m.{kind}"), **options), data.columns
    )
    rows = data.rows.numpy()
    np.testing.assert_allclose(teacher.predict(rows), expected, rtol=1e-6, atol=1e-6)
    # Also of some rows alone, which need not have all categories.
    np.testing.assert_allclose(teacher.predict(rows[3:5]), expected[3:5], rtol=1e-6, atol=1e-6)
    assert torch.isfinite(answer(teacher, data.rows)).all()
    assert np.ptp(expected[:, 0] if expected.ndim > 1 else expected) > 0.01


def constant(file, folder):
    pd.read_csv(file).assign(job="cook").to_csv(folder / "constant.csv", index=False)
    return folder / "constant.csv"


def teacher_of(model, path, columns, **options):
    """Save a fitted model as its library does, and return it as the teacher of a table."""
    options |= native(model, path)
    return with_columns(load_model("teacher", str(path), **options), columns)


def coded(frame):
    return categories(frame[["age", "job", "code"]], "job", "code")


def test_a_json_of_catboost_loses_the_categories_of_several_labels(file, tmp_path):
    """As their own user's call on the file that was read again does, too."""
    frame = whole(pd.read_csv(file))
    model = catboost.CatBoostClassifier(
        loss_function="MultiLogloss", cat_features=["job", "code"], **CAT
    ).fit(frame, several(pd.read_csv(file)))
    data = loaded(file)
    found = teacher_of(model, tmp_path / "m.cbm", data.columns).predict(data.rows.numpy())
    np.testing.assert_allclose(found, model.predict_proba(frame))
    native(model, tmp_path / "m.json")
    again = catboost.CatBoostClassifier().load_model(tmp_path / "m.json", format="json")
    assert np.abs(again.predict_proba(frame) - found).max() > 0.1
    with pytest.raises(ModelError, match=r"lost what it knew.*save_model\('model.cbm"):
        load_model("teacher", str(tmp_path / "m.json"))


@pytest.mark.parametrize(
    ("objective", "labels"),
    [("binary:logistic", two), ("binary:logitraw", two), ("reg:squarederror", two),
     ("multi:softprob", three), ("multi:softmax", three), ("rank:pairwise", two)],
)  # fmt: skip
def test_boosters_of_xgboost(objective, labels, file, tmp_path):
    frame, parameters = pd.read_csv(file), {"objective": objective}
    parameters |= {"num_class": 3} if labels is three else {}
    matrix = xgboost.DMatrix(coded(frame), labels(frame), enable_categorical=True)
    booster = xgboost.train(parameters, matrix, 5)
    data = loaded(file)
    found = answer(teacher_of(booster, tmp_path / "m.ubj", data.columns), data.rows)
    margin = torch.from_numpy(booster.predict(matrix, output_margin=True))
    if objective.startswith("multi"):
        torch.testing.assert_close(found, margin.log_softmax(1), rtol=1e-4, atol=1e-5)
    elif objective.startswith("binary"):
        torch.testing.assert_close(found[:, 1] - found[:, 0], margin, rtol=1e-3, atol=1e-4)
    else:
        torch.testing.assert_close(found[:, 0], margin)


@pytest.mark.parametrize("objective", ["binary", "regression", "multiclass", "lambdarank"])
def test_boosters_of_lightgbm(objective, file, tmp_path):
    frame = pd.read_csv(file)
    labels, size = (three, 3) if objective == "multiclass" else (two, 1)
    groups = {"group": [24] * 10} if objective == "lambdarank" else {}
    parameters = {"objective": objective, "num_class": size, "verbose": -1, "min_data_in_leaf": 3}
    booster = lightgbm.train(parameters, lightgbm.Dataset(coded(frame), labels(frame), **groups), 5)
    data = loaded(file)
    teacher = teacher_of(booster, tmp_path / "m.txt", data.columns)
    found = teacher.predict(data.rows.numpy())
    expected = booster.predict(coded(frame))
    np.testing.assert_allclose(found[:, 1] if objective == "binary" else found, expected)
    assert teacher.probabilities == (objective in ("binary", "multiclass"))


@pytest.mark.parametrize("kind", ["XGBClassifier", "XGBRegressor"])
def test_a_model_of_xgboost_that_was_stopped_early_has_its_best_trees(kind, tmp_path):
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(200, 2))
    labels = (rows[:, 0] + 2 * generator.normal(size=200) > 0).astype(int)
    model = getattr(xgboost, kind)(n_estimators=80, early_stopping_rounds=3, n_jobs=1)
    model.fit(rows[:100], labels[:100], eval_set=[(rows[100:], labels[100:])], verbose=False)
    assert model.best_iteration + 1 < model.get_booster().num_boosted_rounds()
    model.save_model(tmp_path / "m.ubj")
    teacher = load_model("teacher", str(tmp_path / "m.ubj"))
    own = model.predict if kind == "XGBRegressor" else model.predict_proba
    np.testing.assert_array_equal(teacher.predict(rows), own(rows))


def test_of_values_with_a_variance_the_mean_is_taught(file, tmp_path):
    model, prepare, labels = CATBOOST["values and their variance"]
    frame = pd.read_csv(file)
    model.fit(prepare(frame), labels(frame))
    data = loaded(file)
    found = answer(teacher_of(model, tmp_path / "m.cbm", data.columns), data.rows)
    expected = torch.from_numpy(model.predict(prepare(frame))[:, :1]).float()
    torch.testing.assert_close(found, expected)


def test_columns_may_stand_in_another_order_beside_others(file, tmp_path):
    frame = pd.read_csv(file)
    model = LogisticRegression().fit(frame[["code", "age"]], two(frame))
    other = tmp_path / "other.csv"
    frame[["smokes", "age", "job", "code", "y"]].to_csv(other, index=False)
    data = loaded(other)
    teacher = teacher_of(model, tmp_path / "m.skops", data.columns)
    expected = model.predict_proba(frame[["code", "age"]])
    np.testing.assert_allclose(teacher.predict(data.rows.numpy()), expected)


@pytest.mark.parametrize("seed", range(3))
def test_codes_for_arrays_do_not_depend_on_the_split(seed, file, tmp_path):
    """A category of validation rows alone would move the codes of all others."""
    frame = pd.read_csv(file)
    frame.loc[:5, "job"] = ["actor", "baker", "dancer", "guard", "judge", "pilot"]
    frame.to_csv(tmp_path / "rare.csv", index=False)
    model = DecisionTreeClassifier().fit(codes(frame.drop(columns="y")), two(frame))
    data = loaded(tmp_path / "rare.csv", val=0.5, split={"seed": seed})
    teacher = teacher_of(model, tmp_path / "m.skops", data.columns)
    found = []
    for part in (data.train, data.val):
        rows = torch.stack([part[at][0] for at in range(len(part))])
        given = data.columns.frame(rows)
        expected = (given["job"] == "cook") | (given["code"] == 20)
        found.append((teacher.predict(rows.numpy())[:, 1] > 0.5) == expected)
    assert len(found[1]) == 120
    assert np.concatenate(found).all()


class TestMismatches:
    """What would be another answer without a word is refused, or told."""

    @pytest.mark.parametrize("kind", ["skops", "imputed.skops", "txt", "ubj"])
    def test_texts_where_the_file_has_numbers(self, kind, file, tmp_path):
        frame = pd.read_csv(file)[["code"]].astype(str)
        inner = OneHotEncoder(handle_unknown="ignore")
        if kind.startswith("imputed"):
            inner = make_pipeline(SimpleImputer(strategy="most_frequent"), inner)
        model = {
            "txt": lightgbm.LGBMClassifier(**LGB),
            "ubj": xgboost.XGBClassifier(enable_categorical=True, **XGB),
        }.get(kind, make_pipeline(by_column((inner, ["code"])), LogisticRegression()))
        model.fit(frame if "skops" in kind else frame.astype("category"), two(pd.read_csv(file)))
        data = loaded(file)
        teacher = teacher_of(model, tmp_path / f"m.{kind}", data.columns)
        with pytest.raises(ModelError, match=r"fitted on 'code' as '10'|refused its inputs"):
            answer(teacher, data.rows)

    def test_numbers_where_the_file_has_texts(self, file, tmp_path):
        frame = pd.read_csv(file)[["code"]]
        encode = by_column((OneHotEncoder(handle_unknown="ignore"), ["code"]))
        model = make_pipeline(encode, LogisticRegression()).fit(frame, two(pd.read_csv(file)))
        pd.read_csv(file).assign(code="c" + frame["code"].astype(str)).to_csv(
            tmp_path / "texts.csv", index=False
        )
        data = loaded(tmp_path / "texts.csv")
        with pytest.raises(ModelError, match=r"fitted on 'code' as 10, 20, 30, got"):
            answer(teacher_of(model, tmp_path / "m.skops", data.columns), data.rows)

    def test_truths_of_catboost_are_told(self, file, tmp_path, caplog):
        model, prepare, labels = CATBOOST["truths"]
        frame = pd.read_csv(file)
        model.fit(prepare(frame), labels(frame))
        data = loaded(file)
        answer(teacher_of(model, tmp_path / "m.cbm", data.columns), data.rows)
        assert "given 'smokes' as true and false" in caplog.text

    def test_codes_for_arrays_are_told(self, file, tmp_path, caplog):
        model = DecisionTreeClassifier().fit(
            codes(pd.read_csv(file).drop(columns="y")), [0, 1] * 120
        )
        teacher_of(model, tmp_path / "m.skops", loaded(file).columns)
        assert "gets texts by their position: in 'job' cook as 0, smith as 1" in caplog.text

    def test_a_column_that_is_missing(self, file, tmp_path):
        frame = pd.read_csv(file)
        model = LogisticRegression().fit(frame[["code", "age"]], two(frame))
        data = loaded(file, omit=["age"])
        with pytest.raises(ModelError, match=r"refused its inputs .*age.* not in index"):
            answer(teacher_of(model, tmp_path / "m.skops", data.columns), data.rows)

    def test_missing_texts_are_refused_by_catboost_itself(self, file, tmp_path):
        frame = pd.read_csv(file)[["city"]].fillna("none")
        model = catboost.CatBoostClassifier(cat_features=["city"], **CAT)
        model.fit(frame, two(pd.read_csv(file)))
        data = loaded(file)
        with pytest.raises(ModelError, match=r"refused its inputs .*NaN"):
            answer(teacher_of(model, tmp_path / "m.cbm", data.columns), data.rows)

    def test_rows_without_names(self, file, tmp_path):
        frame = pd.read_csv(file)
        model = LogisticRegression().fit(frame[["code", "age"]], two(frame))
        skops.io.dump(model, tmp_path / "m.skops")
        with pytest.raises(ModelError, match=r"fitted on named columns.*with_columns"):
            answer(load_model("teacher", str(tmp_path / "m.skops")))

    def test_one_class_against_all_others(self, tmp_path):
        """Their probabilities do not sum to 1, and are no logits either."""
        model = lightgbm.LGBMClassifier(objective="ova", **LGB).fit(ROWS, THREE)
        native(model, tmp_path / "m.txt")
        with pytest.raises(ModelError, match="must sum to 1"):
            answer(load_model("teacher", str(tmp_path / "m.txt")))
        model = catboost.CatBoostClassifier(loss_function="MultiClassOneVsAll", **CAT)
        native(model.fit(ROWS, THREE), tmp_path / "m.cbm")
        with pytest.raises(ModelError, match="must sum to 1"):
            answer(load_model("teacher", str(tmp_path / "m.cbm")))


def onnx_table(path, inputs):
    """Write the sum of all inputs, weighed by their position, as a model of two outputs."""
    parts, nodes = [], []
    for at, name in enumerate(inputs):
        nodes.append(helper.make_node("MatMul", [name, f"w{at}"], [f"p{at}"]))
        parts.append(f"p{at}")
    nodes.append(helper.make_node("Sum", parts, ["logits"]))
    graph = helper.make_graph(
        nodes,
        "model",
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", width])
            for name, width in inputs.items()
        ],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
        [
            numpy_helper.from_array(np.full((width, 2), at + 1, dtype=np.float32), f"w{at}")
            for at, width in enumerate(inputs.values())
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, path)


def test_a_model_of_onnx_gets_an_array_or_an_input_for_each_column(file, tmp_path):
    data, frame = loaded(file), pd.read_csv(file).drop(columns="y")
    onnx_table(tmp_path / "array.onnx", {"x": frame.shape[1]})
    teacher = with_columns(load_model("t", str(tmp_path / "array.onnx")), data.columns)
    found = teacher.predict(data.rows.numpy())[:, 0]
    np.testing.assert_allclose(found, codes(frame).sum(axis=1), rtol=1e-5)
    onnx_table(tmp_path / "columns.onnx", {"code": 1, "age": 1})
    teacher = with_columns(load_model("t", str(tmp_path / "columns.onnx")), data.columns)
    found = teacher.predict(data.rows.numpy())[:, 0]
    np.testing.assert_allclose(found, frame["code"] + 2 * frame["age"], rtol=1e-5)


class TestEstimators:
    def test_texts(self, tmp_path):
        texts = ["good day", "bad day", "good food", "bad food"]
        model = make_pipeline(CountVectorizer(), LogisticRegression()).fit(texts, [1, 0, 1, 0])
        skops.io.dump(model, tmp_path / "m.skops")
        teacher = load_model("teacher", str(tmp_path / "m.skops"))
        assert answer(teacher, ["good", "bad"]).argmax(1).tolist() == [1, 0]

    def test_classes_and_their_number(self, tmp_path):
        skops.io.dump(LogisticRegression().fit(ROWS, NAMES[THREE]), tmp_path / "m.skops")
        teacher = load_model("teacher", str(tmp_path / "m.skops"), classes=3)
        assert class_names(teacher) == ("high", "low", "middle")
        with pytest.raises(ModelError, match="must have 2 classes, got a model with 3"):
            load_model("teacher", str(tmp_path / "m.skops"), classes=2)

    @pytest.mark.parametrize(
        ("labels", "names"),
        [(TWO + 1.0, ("1", "2")), (TWO > 0, ("False", "True")), (TWO * 1.0, None)],
    )
    def test_classes_may_be_numbers(self, tmp_path, labels, names):
        """They are called as those of data, whether its file has 1 or 1.0."""
        skops.io.dump(LogisticRegression().fit(ROWS, labels), tmp_path / "m.skops")
        assert class_names(load_model("teacher", str(tmp_path / "m.skops"))) == names

    def test_one_class_against_the_others(self, tmp_path):
        """Those of scikit-learn return probabilities that sum to 1, or are of binary labels."""
        path = tmp_path / "m.skops"
        model = OneVsRestClassifier(LogisticRegression()).fit(ROWS, NAMES[THREE])
        skops.io.dump(model, path)
        teacher = load_model("teacher", str(path))
        expected = torch.from_numpy(model.predict_proba(ROWS[:6])).float()
        torch.testing.assert_close(answer(teacher).softmax(1), expected)
        assert not teacher.binary
        model = OneVsRestClassifier(LogisticRegression())
        skops.io.dump(model.fit(ROWS, np.stack([TWO, THREE > 0], axis=1)), path)
        teacher = load_model("teacher", str(path))
        expected = torch.from_numpy(model.predict_proba(ROWS[:6])).float()
        torch.testing.assert_close(answer(teacher).sigmoid(), expected, rtol=1e-4, atol=1e-5)
        assert teacher.binary

    @pytest.mark.parametrize(
        "model",
        [
            make_pipeline(StandardScaler(), OneVsRestClassifier(LogisticRegression())),
            GridSearchCV(OneVsRestClassifier(LogisticRegression()), {"estimator__C": [0.1, 1.0]}),
            MLPClassifier(4, max_iter=20),
            ClassifierChain(LogisticRegression()),
        ],
    )
    def test_several_labels_by_any_estimator(self, model, tmp_path):
        path = tmp_path / "m.skops"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            skops.io.dump(model.fit(ROWS, np.stack([TWO, THREE > 0, THREE > 1], axis=1)), path)
        teacher = load_model("teacher", str(path), trust=True)
        assert teacher.binary
        expected = torch.from_numpy(np.asarray(model.predict_proba(ROWS[:6]))).float()
        torch.testing.assert_close(answer(teacher).sigmoid(), expected, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("model", [Perceptron(), OneVsOneClassifier(LogisticRegression())])
    def test_a_classifier_without_probabilities_is_refused(self, model, tmp_path):
        skops.io.dump(model.fit(ROWS, THREE), tmp_path / "m.skops")
        with pytest.raises(ModelError, match=r"with predict_proba, got sklearn"):
            load_model("teacher", str(tmp_path / "m.skops"))

    def test_types_that_are_not_trusted_are_refused(self, tmp_path):
        path = tmp_path / "m.skops"
        model = make_pipeline(FunctionTransformer(np.testing.rundocs), LogisticRegression())
        model.steps[-1][1].fit(ROWS, TWO)
        skops.io.dump(model, path)
        for trust in (False, ["numpy.other"]):
            with pytest.raises(ModelError, match=r"could run code .*rundocs.* pass trust=True"):
                load_model("teacher", str(path), trust=trust)
        with pytest.raises(ArgumentError, match="cannot consent to code itself"):
            load_model("teacher", f"{path}?trust=numpy.testing._private.utils.rundocs")
        for trust in (True, ["numpy.testing._private.utils.rundocs"]):
            assert load_model("teacher", str(path), trust=trust)


def test_rows_of_the_same_codes_but_other_categories_are_another_teacher(tmp_path):
    """So that a run is not taken for one on a table in which a category was renamed."""
    frame = pd.DataFrame({"job": ["cook", "smith"] * 20})
    encode = by_column((OneHotEncoder(handle_unknown="ignore"), ["job"]))
    model = make_pipeline(encode, LogisticRegression()).fit(frame, [0, 1] * 20)
    skops.io.dump(model, tmp_path / "m.skops")
    teacher = load_model("teacher", str(tmp_path / "m.skops"))
    prints = {
        with_columns(teacher, Columns((Column("job", "category", names),))).fingerprint()
        for names in (("cook", "smith"), ("cook", "tailor"))
    }
    assert len(prints) == 2


@pytest.mark.parametrize("name", ["m.ubj", "m.json", "m.txt", "m.cbm", "m.skops"])
def test_damaged_files_are_refused(name, tmp_path):
    """LightGBM would end the process, or read a part."""
    model = {
        "txt": lightgbm.LGBMClassifier(**LGB),
        "cbm": catboost.CatBoostClassifier(**CAT),
        "skops": LogisticRegression(),
    }.get(name[2:], xgboost.XGBClassifier(**XGB))
    native(model.fit(ROWS, TWO), tmp_path / name)
    content = (tmp_path / name).read_bytes()
    for part in (b"", b"garbage", *(content[: len(content) * at // 7] for at in range(1, 6))):
        (tmp_path / name).write_bytes(part)
        with pytest.raises(ModelError, match="could not be loaded"):
            load_model("teacher", str(tmp_path / name))
