"""Boosted trees in the formats of XGBoost, LightGBM and CatBoost, as teachers."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from tutelage.errors import ModelError
from tutelage.references.catboost_forms import known_forms
from tutelage.references.known_categories import KnownCategories
from tutelage.references.reference import Reference
from tutelage.references.row_model import RowModel, digest_of, names_of
from tutelage.references.ubjson import check_ubjson
from tutelage.teachers import Predictor, Teacher

_XGBOOST_VALUES = ("reg:", "count:")
_LIGHTGBM_VALUES = (
    "regression", "regression_l1", "huber", "fair", "poisson", "quantile", "mape", "gamma",
    "tweedie",
)  # fmt: skip
_LIGHTGBM_END = b"end of trees"
_CATBOOST_CLASSES = ("Logloss", "CrossEntropy", "MultiClass")
_CATBOOST_VALUES = ("RMSE", "MAE", "Quantile", "MultiRMSE", "Huber")
_ADVICE = "copy it again, or write it by save_model"


def load_xgboost(reference: Reference, classes: int | None) -> Teacher:
    """Return a model of XGBoost, a file `.ubj` or `.json` that its `save_model` wrote.

    Where its training was stopped early, its trees are those up to the best iteration, as in
    `XGBClassifier.predict`.

    Raises:
        ArgumentError: There is no such file.
        ModelError: It is damaged, has categorical features, or is of another objective.
    """
    path, xgboost = _opened(reference, "xgboost")
    with reference.loading(_ADVICE):
        check = json.loads if path.suffix == ".json" else check_ubjson
        check(path.read_bytes())
        booster = xgboost.Booster()
        booster.load_model(path)
        config = json.loads(booster.save_config())["learner"]
        objective = str(config["objective"]["name"])
        count = int(config["learner_model_param"]["num_class"])
        labels = int(config["learner_model_param"]["num_target"])
        best = booster.attr("best_iteration")
        has_trees = config["gradient_booster"]["name"] != "gblinear"
        last = int(best) + 1 if best is not None and has_trees else 0  # 0 is all
    if "c" in (booster.feature_types or ()):
        raise ModelError(
            f"`{reference.argument}` {reference.text!r} has categorical features, whose codes are "
            "those of the table it was fitted on; load it in your own code: file.py:function"
        )
    known = objective.startswith(("binary:logistic", "binary:logitraw", "multi:"))
    if not known and not objective.startswith(_XGBOOST_VALUES):
        raise _unknown(reference, objective)
    binary = objective.startswith("binary:") and labels > 1

    def run(rows: Any) -> NDArray[Any]:
        matrix = xgboost.DMatrix(rows, feature_names=booster.feature_names)
        margin = booster.predict(matrix, output_margin=known, iteration_range=(0, last))
        if binary:
            return 1 / (1 + np.exp(-margin))
        return _softmax(margin) if known else margin

    names = booster.feature_names
    reference.check_classes((labels if binary else max(count, 2)) if known else None, classes)
    model = RowModel("xgboost.Booster", run, digest_of(path), names and tuple(names))
    return Predictor(model, probabilities=known, binary=binary)


def load_lightgbm(reference: Reference, classes: int | None) -> Teacher:
    """Return a model of LightGBM, a file `.txt` that its `save_model` wrote.

    Raises:
        ArgumentError: There is no such file.
        ModelError: It is damaged, or of another objective.
    """
    path, lightgbm = _opened(reference, "lightgbm")
    content = path.read_bytes()
    head = dict(
        line.split("=", 1)
        for line in content.split(b"\n\n", 1)[0].decode(errors="replace").splitlines()
        if "=" in line
    )
    whole = content.startswith(b"tree\n") and b"\nend of parameters" in content
    with reference.loading(_ADVICE):
        if not whole or not _has_all_trees(content, head):
            raise ValueError("it lacks trees, or its end")
        objective = head.get("objective", "").split(" ")[0]
        if objective not in ("binary", "multiclass", *_LIGHTGBM_VALUES):
            raise _unknown(reference, objective)
        booster = lightgbm.Booster(model_file=str(path))
        count = max(int(head["num_class"]), 2)
    known = objective not in _LIGHTGBM_VALUES
    categories = cast("list[list[Any]] | None", booster.pandas_categorical) or []

    def run(rows: Any) -> NDArray[Any]:
        found = np.asarray(booster.predict(rows))
        return np.stack([1 - found, found], axis=1) if objective == "binary" else found

    # Columns of arrays are called Column_0 and so on.
    names = tuple(booster.feature_name())
    features = None if names == tuple(f"Column_{i}" for i in range(len(names))) else names
    reference.check_classes(count if known else None, classes)
    own = KnownCategories(in_order=categories)
    model = RowModel("lightgbm.Booster", run, digest_of(path), features, categories=True, known=own)
    return Predictor(model, probabilities=known)


def load_catboost(reference: Reference, classes: int | None) -> Teacher:
    """Return a model of CatBoost, a file `.cbm` that its `save_model` wrote.

    Raises:
        ArgumentError: There is no such file.
        ModelError: It is damaged, or of another loss.
    """
    path, catboost = _opened(reference, "catboost")
    with reference.loading(_ADVICE):
        found = catboost.CatBoost()
        found.load_model(str(path), format="cbm")
        loss = str(found.get_all_params().get("loss_function")).partition(":")[0]
    names = tuple(found.feature_names_)
    features = None if names == tuple(map(str, range(len(names)))) else names
    binary = loss in ("MultiLogloss", "MultiCrossEntropy")
    known = binary or loss in _CATBOOST_CLASSES
    if not known and not loss.startswith(_CATBOOST_VALUES):
        raise _unknown(reference, loss)
    kind = "Probability" if known else "RawFormulaVal"

    def run(rows: Any) -> NDArray[Any]:
        return np.asarray(found.predict(rows, prediction_type=kind, thread_count=1))

    own = found.classes_ if known else []
    reference.check_classes(len(own) or None, classes)
    model = RowModel("catboost.CatBoost", run, digest_of(path), features, names_of(own))
    model.forms = partial(known_forms, found)
    return Predictor(model, probabilities=known, binary=binary)


def _opened(reference: Reference, package: str) -> tuple[Path, Any]:
    """Return the path of an existing file, and the package that reads it."""
    reference.check()
    return reference.file, reference.needs(package, "boosting")


def _has_all_trees(content: bytes, head: dict[str, str]) -> bool:
    """Tell whether the trees have the sizes that the head says; LightGBM does not look."""
    try:
        sizes = [int(each) for each in head["tree_sizes"].split()]
        start = content.index(b"\nTree=0\n") + 1
    except (KeyError, ValueError):
        return False
    for number, size in enumerate(sizes):
        if size <= 0 or not content[start : start + size].startswith(b"Tree=%d\n" % number):
            return False
        start += size
    return content[start:].startswith(_LIGHTGBM_END)


def _softmax(margin: NDArray[Any]) -> NDArray[Any]:
    """Return probabilities for margins; of two classes there is one margin."""
    if margin.ndim == 1:
        margin = np.stack([np.zeros_like(margin), margin], axis=1)
    powers = np.exp(margin - margin.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def _unknown(reference: Reference, objective: str) -> ModelError:
    return ModelError(
        f"`{reference.argument}` must be a model of classes or values, got one of the objective "
        f"{objective!r} in {reference.text!r}; load it in your own code, with "
        "tl.teachers.Predictor: file.py:function"
    )
