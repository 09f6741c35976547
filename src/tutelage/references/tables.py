"""Models of tables in files, as teachers: scikit-learn, XGBoost, LightGBM, CatBoost; also of ONNX.

Each is called as its user would call it on the rows of `pandas.read_csv`: with a DataFrame that has
the columns and dtypes of the training file. What it cannot take, it says itself.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage.datasets import Columns
from tutelage.errors import ModelError, some_of
from tutelage.identity import identity
from tutelage.references.reference import Reference, digest_of
from tutelage.teachers import Predictor, Teacher

_ADVICE = "copy it again, or write it by save_model"
_PLAIN = (
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.metrics._dist_metrics.EuclideanDistance64",
    "sklearn.neighbors._ball_tree.BallTree",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    "sklearn.tree._tree.Tree",
)
"""Types that hold arrays alone and that skops asks about, such as the trees of any forest."""
_LIGHTGBM_CLASSES = ("binary", "cross_entropy", "multiclass", "multiclassova")
_CATBOOST_BINARY = ("MultiLogloss", "MultiCrossEntropy")
_CATBOOST_CLASSES = ("Logloss", "CrossEntropy", "MultiClass", "MultiClassOneVsAll")


@dataclass(repr=False)
class TableModel:
    """A function from rows of a table to predictions, of a `Predictor`.

    Args:
        name: Of the model, for messages and fingerprints.
        predict: From a DataFrame, or an array, to predictions.
        digest: Of the model's file.
        features: The names of the columns that it was fitted on; None if it was fitted on arrays.
        class_names: Names of the classes, in the order of the outputs.
        categories: The categories that it was fitted on, by column, as far as it tells them.
        coded: Which columns of a DataFrame it takes in pandas' dtype "category" only.
        own: The columns of an exported student, whose rows are given as that codes them.
        columns: What the rows are; None where they are given as they are.
        model: What the file holds, as its library has it.
    """

    name: str
    predict: Callable[[Any], Any]
    digest: str
    features: tuple[str, ...] | None = None
    class_names: tuple[str, ...] | None = None
    categories: dict[str, list[Any]] = field(default_factory=dict)
    coded: Callable[[Any], Sequence[str]] | None = None
    own: Columns | None = None
    columns: Columns | None = None
    model: Any = None

    def __call__(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Return the predictions for rows `[batch, columns]`, or for an array of texts."""
        if rows.dtype == object or (self.features is None and self.columns is None):
            return np.asarray(self.predict(rows))
        if self.columns is None:
            raise ModelError(
                f"the teacher ({self.name}) was fitted on named columns, "
                f"{some_of(self.features or ())}, got rows without names; name them by "
                "tutelage.references.with_columns(teacher, columns), or give the tokenizer of a "
                "model of texts by ?tokenizer=FOLDER"
            )
        if self.own is not None:
            return np.asarray(self.predict(self.own.recoded(rows, self.columns)))
        if self.features is None:
            return np.asarray(self.predict(_array_of(self.columns, rows)))
        frame: Any = self.columns.frame(rows)
        # LightGBM writes _ for spaces.
        names = {re.sub(r"\s", "_", str(each)): each for each in frame.columns}
        frame = frame[[each if each in frame else names.get(each, each) for each in self.features]]
        for name, known in self.categories.items():
            if name in frame:
                check_type(self.name, frame[name], known)
        if self.coded is not None:
            frame = frame.astype(dict.fromkeys(self.coded(frame), "category"))
        return np.asarray(self.predict(frame))

    def __repr__(self) -> str:
        return self.name

    def fingerprint(self) -> str:
        """Return the name, a hash of the model's file, and what its rows are."""
        columns = "" if self.columns is None else identity(self.columns.as_json())
        return f"{self.name} {self.digest} {columns}"


def _array_of(columns: Columns, rows: NDArray[Any]) -> NDArray[np.float64]:
    """Return rows for a model that was fitted on arrays, in the order of the file.

    Numbers are as the file has them, also where they are categories; texts are codes, their
    positions among all of the file, sorted, and NaN where they are missing.
    """
    import pandas as pd  # noqa: PLC0415 - heavy

    frame = columns.frame(rows)
    found = np.empty(frame.shape)
    for at, (label, cells) in enumerate(frame.items()):
        column = next(each for each in columns.columns if each.name == str(label).strip())
        if column.kind == "category" and not pd.api.types.is_numeric_dtype(cells.dtype):
            codes = pd.Categorical(cells, categories=list(column.categories)).codes
            found[:, at] = np.where(codes < 0, np.nan, codes)
        else:
            found[:, at] = cells.to_numpy(dtype=np.float64, na_value=np.nan)
    return found


def check_type(model: str, values: Any, known: Sequence[Any]) -> None:
    """Refuse numbers for a model that knows texts, or the reverse, which it would not notice."""
    from pandas.api import types  # noqa: PLC0415 - heavy

    texts = {isinstance(each, str) for each in known if each is not None and each == each}  # noqa: PLR0124 - NaN
    numeric = types.is_numeric_dtype(values.dtype)
    as_text = not numeric and types.infer_dtype(values, skipna=True) == "string"
    if (numeric and texts == {True}) or (as_text and texts == {False}):
        raise ModelError(
            f"the teacher ({model}) was fitted on {values.name!r} as {some_of(map(repr, known))}, "
            f"got {values.dtype} in the data; read it as it was then (such as read: {{dtype: "
            f"{{{values.name}: str}}}}), or load the teacher in your own code: file.py:function"
        )


def with_columns(model: Any, columns: Columns) -> Any:
    """Return a model that gets rows as a table with named columns, if it was loaded from a file.

    A model that was fitted on arrays gets the columns in the file's order, categories by their
    position among all of the file, sorted, which a warning says.

    Args:
        model: What `load_model` returned.
        columns: What the columns of the data are.
    """
    if not isinstance(model, Predictor) or not isinstance(model.predict, TableModel):
        return model
    found, predict = copy(model), copy(model.predict)
    found.predict = predict
    predict.columns = columns
    by_position = predict.features is None and predict.own is None
    texts = [each for each in columns.columns if any(isinstance(c, str) for c in each.categories)]
    if texts and by_position:
        codes = some_of(f"{each} as {code}" for code, each in enumerate(texts[0].categories))
        logging.getLogger("tutelage").warning(
            f"the teacher ({predict.name}) was fitted on arrays and gets texts by their position: "
            f"in {texts[0].name!r} {codes}"
        )
    return found


def load_estimator(reference: Reference, classes: int | None) -> Teacher:
    """Return an estimator of scikit-learn, a file that `skops.io.dump` wrote.

    A classifier must have `predict_proba`. Types that skops does not know as safe are loaded only
    if `trust` says so.

    Raises:
        NotFoundError: There is no such file.
        ModelError: It is damaged, has types that are not trusted, or is another estimator.
    """
    reference.with_options()
    path, io, trust = reference.file, reference.needs("skops.io", "skops"), reference.trust
    advice = "write it again by skops.io.dump(model, path), with the installed versions"
    with reference.loading(advice):
        unknown = io.get_untrusted_types(file=path)
        known = {*_PLAIN, *(() if isinstance(trust, bool) else trust)}
        if refused := [each for each in unknown if trust is not True and each not in known]:
            raise ModelError(
                f"`{reference.argument}` {reference.text!r} has types that could run code when "
                f"they are loaded: {', '.join(refused)}; if you trust where it comes from, pass "
                "trust=True, on the command line --trust"
            )
        model = io.load(path, trusted=unknown)
        from sklearn.base import is_classifier  # noqa: PLC0415 - heavy

    name = f"{type(model).__module__}.{type(model).__qualname__}"
    classifies = is_classifier(model)
    if not hasattr(model, "predict_proba" if classifies else "predict"):
        raise ModelError(
            f"`{reference.argument}` must be a regressor, or a classifier with predict_proba, got "
            f"{name} in {reference.text!r}; fit one with probabilities, such as a "
            "sklearn.calibration.CalibratedClassifierCV around it"
        )
    rows = TableModel(name, model.predict, digest_of(path), _features_of(model))
    rows.categories, rows.coded, rows.model = dict(_encoded(model)), _coded_by(model), model
    if not classifies:
        return Predictor(rows)
    classes_of_model = model.classes_
    several = isinstance(classes_of_model, list)  # binary labels, each with classes of its own
    if several and any(len(each) != 2 for each in classes_of_model):  # noqa: PLR2004
        raise ModelError(
            f"`{reference.argument}` must have one answer for an example, or binary ones, got "
            f"several of many classes in {reference.text!r}; distil them one by one"
        )
    last = getattr(model, "best_estimator_", model)  # of a search
    last = last.steps[-1][1] if hasattr(last, "steps") else last  # of a pipeline
    network = getattr(getattr(last, "_label_binarizer", None), "y_type_", "")  # MLPClassifier
    binary = several or getattr(last, "multilabel_", False) or network.startswith("multilabel")

    def probabilities(given: Any) -> NDArray[Any]:
        found = model.predict_proba(given)
        if isinstance(found, list):  # for each label the probabilities of no and yes
            found = np.stack([each[:, 1] for each in found], axis=1)
        return np.asarray(found)

    reference.check_classes(len(classes_of_model), classes)
    rows.predict = probabilities
    rows.class_names = None if binary else _names_of(classes_of_model)
    return Predictor(rows, probabilities=True, binary=binary)


def load_boosted_json(reference: Reference, classes: int | None) -> Teacher:
    """Return a model of XGBoost or CatBoost, a file `.json`."""
    with reference.loading(_ADVICE):
        is_catboost = "oblivious_trees" in json.loads(reference.file.read_bytes())
    return (load_catboost if is_catboost else load_xgboost)(reference, classes)


def load_xgboost(reference: Reference, classes: int | None) -> Teacher:
    """Return a model of XGBoost, a file `.ubj` or `.json` that its `save_model` wrote.

    Where its training was stopped early, its trees are those up to the best iteration, as in
    `XGBClassifier.predict`.

    Raises:
        NotFoundError: There is no such file.
        ModelError: It is damaged.
    """
    reference.with_options()
    path, xgboost = reference.file, reference.needs("xgboost", "boosting")
    with reference.loading(_ADVICE):
        content = path.read_bytes().strip()
        if not content.startswith(b"{") or not content.endswith(b"}"):  # XGBoost may crash
            raise ValueError("it lacks its beginning or its end")
        booster = xgboost.Booster()
        booster.load_model(path)
        config = json.loads(booster.save_config())["learner"]
        objective = str(config["objective"]["name"])
        known = objective.startswith(("binary:", "multi:"))
        model = (xgboost.XGBClassifier if known else xgboost.XGBRegressor)()
        model.load_model(path)
    labels = int(config["learner_model_param"]["num_target"])

    def predict(rows: Any) -> NDArray[Any]:
        if objective == "binary:logitraw":
            found = 1 / (1 + np.exp(-model.predict(rows, output_margin=True)))
            return found if labels > 1 else np.stack([1 - found, found], axis=1)
        return model.predict_proba(rows) if known else model.predict(rows)

    names = booster.feature_names
    if known:
        reference.check_classes(labels if labels > 1 else model.n_classes_, classes)
    rows = TableModel("xgboost.Booster", predict, digest_of(path), names and tuple(names))
    rows.coded, rows.model = _coded_by(model), model
    return Predictor(rows, probabilities=known, binary=known and labels > 1)


def load_lightgbm(reference: Reference, classes: int | None) -> Teacher:
    """Return a model of LightGBM, a file `.txt` that its `save_model` wrote.

    Raises:
        NotFoundError: There is no such file.
        ModelError: It is damaged.
    """
    reference.with_options()
    path, lightgbm = reference.file, reference.needs("lightgbm", "boosting")
    content = path.read_bytes()
    with reference.loading(_ADVICE):
        # LightGBM reads a part of a file without a word, or ends the process.
        if not content.startswith(b"tree\n") or b"\nend of parameters" not in content:
            raise ValueError("it lacks its beginning or its end")
        booster = lightgbm.Booster(model_file=str(path))
        head = content.split(b"\n\n", 1)[0].decode()
        objective = dict(re.findall(r"^(\w+)=(\S*)", head, re.MULTILINE)).get("objective", "")
    known = objective in _LIGHTGBM_CLASSES

    def predict(rows: Any) -> NDArray[Any]:
        found = np.asarray(booster.predict(rows))
        return np.stack([1 - found, found], axis=1) if known and found.ndim == 1 else found

    names = tuple(booster.feature_name())
    of_arrays = names == tuple(f"Column_{at}" for at in range(len(names)))
    if known:
        reference.check_classes(max(int(booster.num_model_per_iteration()), 2), classes)
    rows = TableModel("lightgbm.Booster", predict, digest_of(path), None if of_arrays else names)
    rows.coded, rows.model = _coded_by(booster), booster
    return Predictor(rows, probabilities=known)


def load_catboost(reference: Reference, classes: int | None) -> Teacher:
    """Return a model of CatBoost, a file `.cbm` or `.json` that its `save_model` wrote.

    Of `RMSEWithUncertainty` the means are taken.

    Raises:
        NotFoundError: There is no such file.
        ModelError: It is damaged.
    """
    reference.with_options()
    path, catboost = reference.file, reference.needs("catboost", "boosting")
    with reference.loading(_ADVICE):
        model, kind = catboost.CatBoost(), path.suffix.lower().removeprefix(".")
        model.load_model(str(path), format=kind)
        loss = str(model.get_all_params().get("loss_function")).partition(":")[0]
        known = loss in (*_CATBOOST_CLASSES, *_CATBOOST_BINARY)
        model = (catboost.CatBoostClassifier if known else catboost.CatBoostRegressor)()
        model.load_model(str(path), format=kind)
    several = loss in _CATBOOST_BINARY
    if several and kind == "json" and json.loads(path.read_bytes()).get("ctr_data"):
        raise ModelError(
            f"`{reference.argument}` {reference.text!r} has lost what it knew of categories: "
            "CatBoost's .json keeps one label's; write it by model.save_model('model.cbm')"
        )
    names, own = tuple(model.feature_names_), model.classes_ if known else ()
    coded = [names[at] for at in model.get_cat_feature_indices()]

    def predict(rows: Any) -> NDArray[Any]:
        dtypes = getattr(rows, "dtypes", {})
        while coded:
            if str(dtypes.get(name := coded.pop())) == "bool":
                logging.getLogger("tutelage").warning(
                    f"the teacher (catboost.CatBoost) is given {name!r} as true and false; if it "
                    "was fitted on the texts 'True' and 'False', which it would not know, write "
                    f"read: {{dtype: {{{name}: str}}}}"
                )
        found = np.asarray(model.predict_proba(rows) if known else model.predict(rows))
        return found[:, 0] if loss == "RMSEWithUncertainty" else found

    reference.check_classes(len(own) or None, classes)
    rows = TableModel("catboost.CatBoost", predict, digest_of(path), _features_of(model))
    rows.class_names, rows.model = _names_of(own), model
    return Predictor(rows, probabilities=known, binary=several)


def _features_of(model: Any) -> tuple[str, ...] | None:
    """Return the names of the columns that a model was fitted on; None if it had arrays."""
    inner = getattr(model, "best_estimator_", model)
    inner = inner.steps[0][1] if hasattr(inner, "steps") else inner
    names = getattr(model, "feature_names_in_", getattr(inner, "feature_names_in_", None))
    if names is None and (found := getattr(inner, "feature_names_", None)):  # of CatBoost
        names = None if found == [*map(str, range(len(found)))] else found
    return None if names is None else tuple(map(str, names))


def _coded_by(model: Any) -> Callable[[Any], Sequence[str]] | None:
    """Return which columns of a DataFrame were categories to pandas when a model was fitted.

    XGBoost and LightGBM take texts in this dtype only, and find a value's code by their own list.
    """
    package = type(model).__module__.partition(".")[0]
    if package == "xgboost":
        booster = model.get_booster()
        kinds = zip(booster.feature_names or (), booster.feature_types or (), strict=False)
        coded = [name for name, kind in kinds if kind == "c"]
        if coded and booster.get_categories().empty():
            raise ModelError(
                f"a model of XGBoost must know its categories, got none for {coded[0]!r}, as before"
                " XGBoost 3.1; fit it again, or load it in your own code: file.py:function"
            )
        return lambda _: coded
    if package != "lightgbm":
        return None
    booster = getattr(model, "booster_", model)
    lists: list[list[Any]] = booster.pandas_categorical or []
    text = booster.model_to_string(num_iteration=1)
    kinds = re.findall(r"^feature_infos=(.*)$", text, re.MULTILINE)[0].split(" ") if lists else []

    def coded_of(frame: Any) -> list[str]:
        from pandas.api.types import is_numeric_dtype  # noqa: PLC0415 - heavy

        # The kind of a constant column, which no tree uses, is unknown: "none".
        found = [
            str(name)
            for name, kind in zip(frame.columns, kinds, strict=False)
            if (kind == "none" and not is_numeric_dtype(frame[name])) or kind[0] not in "[n"
        ]
        for name, known in zip(found, lists, strict=False):
            check_type("lightgbm.Booster", frame[name], known)
        return found

    return coded_of


def _encoded(
    part: Any, names: Iterable[Any] | None = None, seen: set[int] | None = None
) -> Iterator[tuple[str, list[Any]]]:
    """Yield the columns that the encoders in an estimator of scikit-learn get, and their lists."""
    seen = set() if seen is None else seen
    if isinstance(part, (dict, list, tuple)):
        for each in part.values() if isinstance(part, dict) else part:
            yield from _encoded(each, None, seen)
    if not type(part).__module__.startswith("sklearn.") or id(part) in seen:
        return
    seen.add(id(part))
    names = getattr(part, "feature_names_in_", names)
    lists = getattr(part, "categories_", None)
    if names is not None and isinstance(lists, list):
        yield from ((str(name), own.tolist()) for name, own in zip(names, lists, strict=False))
    steps = getattr(part, "steps", None)
    if steps is None:
        yield from _encoded(getattr(part, "__dict__", {}), None, seen)
        return
    for _, step in steps:
        yield from _encoded(step, names, seen)
        try:
            names = step.get_feature_names_out(names)
        except Exception:  # noqa: BLE001 - not every transformer knows its names
            names = None


def _names_of(classes: Iterable[Any]) -> tuple[str, ...] | None:
    """Return class names as text, 1.0 as 1; None if there are none, or only numbers from 0."""
    whole = (
        int(each) if isinstance(each, float) and each.is_integer() else each for each in classes
    )
    names = tuple(str(each).strip() for each in whole)
    return None if names == tuple(map(str, range(len(names)))) else names
