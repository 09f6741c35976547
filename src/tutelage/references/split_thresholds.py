"""Where a teacher's trees split numbers, which a student can be given as inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage._checks import integer
from tutelage.datasets import Columns
from tutelage.references.tables import TableModel
from tutelage.teachers import Predictor, Teacher

_Splits = Iterator[tuple[int, NDArray[np.float64]]]
"""Columns, by position, and thresholds t of them: a row goes to the right where x > t."""


def split_thresholds(model: Any, most: int = 48) -> dict[int | str, list[float]]:
    """Return the thresholds at which the trees of a model split each number, ascending.

    A network sees a standardised number as one value and can follow the jumps of trees only by
    steep weights. If it is also given the steps 1[x > t], each jump is one weight of its first
    layer: see `TableInputs.fit`, which takes what this function returns.

    Args:
        model: Of scikit-learn (trees, forests, gradient boosting; also as the best of a search, or
            as the last step of a pipeline whose other steps pass numbers through), LightGBM,
            XGBoost or CatBoost; or a `Predictor` of one. Of another model nothing is known.
        most: Of a column with more thresholds, as many as this are kept: quantiles of their uses in
            all trees (of CatBoost, of the different ones). With many synthetic rows to learn from
            256 came nearer to the teacher; with the labelled rows alone they overfit.

    Returns:
        By the name of the column, or by its position if the model was fitted on arrays; without
        columns that no tree splits and categories. Empty where nothing is known.

    Raises:
        ArgumentError: `most` is below 1.

    >>> from sklearn.tree import DecisionTreeRegressor
    >>> split_thresholds(DecisionTreeRegressor().fit([[1.0], [2.0], [4.0]], [0.0, 1.0, 1.0]))
    {0: [1.5]}
    """
    integer("most", most, 1, "it is the number of thresholds that are kept of a column")
    model = _model_of(model)
    uses: dict[int, list[NDArray[np.float64]]] = {}
    for column, thresholds in _splits(model):
        uses.setdefault(column, []).append(thresholds)
    names = _names_of(model)
    found = {at: np.concatenate(each) for at, each in sorted(uses.items())}
    return {
        at if names is None else names[at]: _quantiles(each, most).tolist()
        for at, each in found.items()
        if len(each)
    }


def thresholds_by_name(teacher: Any, columns: Columns, most: int) -> dict[str, list[float]]:
    """Return the `split_thresholds` of a teacher of a table, or of each of several together.

    Args:
        teacher: Of a recipe: a `Predictor`, or several teachers: a list, a mapping, or a teacher
            that has members; of others nothing is known.
        columns: What the rows' columns are.
        most: As for `split_thresholds`.
    """
    several = teacher.members if isinstance(teacher, Teacher) else teacher
    if isinstance(several, Mapping):
        several = tuple(several.values())
    if isinstance(several, (list, tuple)) and several:
        found: dict[str, list[float]] = {}
        for each in several:
            for name, own in thresholds_by_name(each, columns, most).items():
                found.setdefault(name, []).extend(own)
        return {name: _quantiles(np.array(own), most).tolist() for name, own in found.items()}
    if not isinstance(teacher, Predictor):
        return {}
    known = split_thresholds(teacher, most)
    # A model that was fitted on arrays has the columns of the file, or only the inputs.
    whole = isinstance(teacher.predict, TableModel)
    places = (columns if whole else columns.inputs).names
    numbers = {each.name for each in columns.columns if each.kind == "number"}
    spelled = {each.replace(" ", "_"): each for each in numbers} | {each: each for each in numbers}
    by_name = {
        (places[key] if isinstance(key, int) else spelled.get(key, key)): own
        for key, own in known.items()
        if not isinstance(key, int) or key < len(places)
    }
    return {name: own for name, own in by_name.items() if name in numbers}


def _quantiles(values: NDArray[np.float64], most: int) -> NDArray[np.float64]:
    different = np.unique(values)
    if len(different) <= most:
        return different
    levels = (np.arange(most) + 0.5) / most
    return np.unique(np.quantile(values, levels, method="nearest"))


def _model_of(given: Any) -> Any:
    """Return the model that a function belongs to, such as that of `model.predict_proba`."""
    while True:
        if isinstance(given, Predictor):
            given = given.predict
        elif isinstance(given, TableModel):
            given = given.model
        elif isinstance(given, partial) and given.func.__module__.startswith("tutelage."):
            given = given.args[0]  # of ours, which gives the model the columns in their order
        elif (best := getattr(given, "best_estimator_", None)) is not None:
            given = best
        else:
            owner = getattr(given, "__self__", None)
            if owner is None:
                return given
            given = owner


def _names_of(model: Any) -> Sequence[str] | None:
    """Return the names of the columns that a model was fitted on."""
    names = getattr(model, "feature_names_in_", None)
    if names is None and hasattr(model, "trees_to_dataframe"):
        named = getattr(model, "feature_names", None)
        names = model.feature_name() if named is None and hasattr(model, "feature_name") else named
    if names is None:
        names = getattr(model, "feature_names_", None)
    if names is None:
        return None
    names = [str(each) for each in names]
    made_up = (f"Column_{at}" for at in range(len(names))), map(str, range(len(names)))
    return None if names in [[*each] for each in made_up] else names


def _splits(model: Any) -> _Splits:
    """Yield the splits of a model, by what the libraries' models have."""
    package = type(model).__module__.partition(".")[0]
    if package in ("lightgbm", "xgboost", "catboost"):
        yield from {"lightgbm": _of_lightgbm, "xgboost": _of_xgboost, "catboost": _of_catboost}[
            package
        ](model)
    elif hasattr(model, "steps"):
        yield from _of_pipeline(model)
    elif hasattr(model, "tree_"):
        tree = model.tree_
        inner = tree.feature >= 0
        yield from _grouped(tree.feature[inner], tree.threshold[inner])
    elif hasattr(model, "_predictors"):
        yield from _of_histograms(model)
    elif hasattr(model, "estimators_"):
        for each in np.ravel(np.array(model.estimators_, dtype=object)):
            yield from _splits(each)


def _grouped(columns: NDArray[Any], thresholds: NDArray[Any]) -> _Splits:
    for column in np.unique(columns):
        yield int(column), np.asarray(thresholds[columns == column], dtype=np.float64)


def _of_histograms(model: Any) -> _Splits:
    """Yield those of scikit-learn's histogram gradient boosting, which puts categories first."""
    order = np.arange(model.n_features_in_)
    if model.is_categorical_ is not None:
        order = np.concatenate([order[model.is_categorical_], order[~model.is_categorical_]])
    for round_of_trees in model._predictors:  # noqa: SLF001 - scikit-learn tells them nowhere else
        for tree in round_of_trees:
            nodes = tree.nodes[(tree.nodes["is_leaf"] == 0) & (tree.nodes["is_categorical"] == 0)]
            yield from _grouped(order[nodes["feature_idx"]], nodes["num_threshold"])


def _of_pipeline(model: Any) -> _Splits:
    """Yield those of a pipeline's model for the columns that its other steps leave as they are."""
    *before, (_, last) = model.steps
    places = {at: at for at in range(model.n_features_in_)}
    for _, step in before:
        places = _passed(step, places)
    for column, thresholds in _splits(last):
        if column in places:
            yield places[column], thresholds


def _passed(step: Any, places: Mapping[int, int]) -> dict[int, int]:
    """Return, for a step's outputs that equal numbers of its inputs, where these came from."""
    kind, columns_of = type(step).__name__, getattr(step, "output_indices_", {})
    if (
        step in (None, "passthrough")
        or getattr(step, "func", step) is None
        or kind == "SimpleImputer"
    ):
        return dict(places)
    names = [*getattr(step, "feature_names_in_", ())]
    found: dict[int, int] = {}
    for name, transformer, columns in getattr(step, "transformers_", ()):
        if isinstance(columns, (slice, str)) or callable(columns):
            continue
        given = [names.index(each) if isinstance(each, str) else int(each) for each in columns]
        own = _passed(transformer, dict(enumerate(given))) if transformer != "drop" else {}
        start = columns_of[name].start
        found |= {start + at: places[place] for at, place in own.items() if place in places}
    return found


def _of_lightgbm(model: Any) -> _Splits:
    booster = getattr(model, "booster_", model)
    frame = booster.trees_to_dataframe()
    frame = frame[frame["decision_type"] == "<="]
    places = {name: at for at, name in enumerate(booster.feature_name())}
    yield from _grouped(
        frame["split_feature"].map(places).to_numpy(),
        frame["threshold"].astype(float).to_numpy(),
    )


def _of_xgboost(model: Any) -> _Splits:
    booster = model.get_booster() if hasattr(model, "get_booster") else model
    frame = booster.trees_to_dataframe()
    frame = frame[(frame["Feature"] != "Leaf") & frame["Category"].isna()]
    names = booster.feature_names or [f"f{at}" for at in range(booster.num_features())]
    places = {name: at for at, name in enumerate(names)}
    # XGBoost goes to the right where x >= t in float32.
    below = np.nextafter(frame["Split"].to_numpy(np.float32), np.float32(-np.inf))
    yield from _grouped(frame["Feature"].map(places).to_numpy(), below.astype(np.float64))


def _of_catboost(model: Any) -> _Splits:
    for column, borders in model.get_borders().items():
        yield int(column), np.asarray(borders, dtype=np.float64)
