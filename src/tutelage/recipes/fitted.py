"""Teachers that are fitted on the training data of a recipe, for tables without a trained model."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from tutelage.datasets import Splits
from tutelage.errors import DataError
from tutelage.teachers import Predictor

_MAX_CATEGORIES = 255


def boosted_trees(data: Splits) -> Predictor:
    """Return scikit-learn's histogram gradient boosting, fitted on the labelled training data.

    It is `HistGradientBoostingClassifier` for classes and `HistGradientBoostingRegressor` for
    values; categories and missing cells are used as they are. In a recipe:
    `teacher: tutelage.recipes.fitted:boosted_trees`.

    Args:
        data: The data of a recipe, a table.

    Raises:
        DataError: The data is not a table, or has other labels than classes or one value.
    """
    if data.columns is None or data.kind not in ("classes", "values") or len(data.labels) > 1:
        raise DataError(
            "boosted trees need a table with one column of classes or values as its label, got "
            f"{data.form or 'other data'} with labels of kind {data.kind}; name another teacher"
        )
    values = data.kind == "values"
    rows = np.asarray(data.rows)
    labels = torch.stack([each[1] for each in data.labelled]).numpy()
    known = ~np.isnan(labels) if values else labels >= 0
    kind: Any = HistGradientBoostingRegressor if values else HistGradientBoostingClassifier
    columns = data.columns.inputs.columns
    coded = [
        each.kind == "category" and len(each.categories) <= _MAX_CATEGORIES for each in columns
    ]
    model = kind(categorical_features=coded, random_state=0).fit(rows[known], labels[known])
    predict = model.predict if values else model.predict_proba
    missing = [] if values else sorted(set(range(len(data.classes))) - set(model.classes_.tolist()))
    if missing:
        raise DataError(
            f"boosted trees need training rows of every class, got none of "
            f"{', '.join(data.classes[each] for each in missing)}; leave those classes out"
        )
    return Predictor(partial(_predicted, predict, rows.shape[1]), probabilities=not values)


def _predicted(predict: Callable[[Any], Any], inputs: int, rows: NDArray[Any]) -> Any:
    """Return predictions for rows, of which the first columns are the inputs."""
    return predict(rows[:, :inputs])
