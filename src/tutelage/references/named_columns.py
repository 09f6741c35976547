"""Models of rows for the columns of a table: their names, and the categories that a model knows."""

from __future__ import annotations

import copy
import logging
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tutelage.datasets import Column, Columns
from tutelage.datasets.cells import as_text, number
from tutelage.errors import ModelError, some_of
from tutelage.references.known_categories import KnownCategories, are_numbers, unknown_of
from tutelage.references.onnx_model import OnnxModel
from tutelage.references.row_model import NamedColumns, RowModel
from tutelage.teachers import Predictor


def with_columns(model: Any, columns: NamedColumns) -> Any:
    """Return a model that gets rows as a table with named columns, if it was loaded from a file.

    Args:
        model: What `load_model` returned.
        columns: Its method `named` returns the columns of rows, by name.

    Raises:
        ModelError: The model was fitted on other categories than all of a column.
    """
    if not isinstance(model, Predictor) or not isinstance(model.predict, (RowModel, OnnxModel)):
        return model
    found, predict = copy.copy(model), copy.copy(model.predict)
    found.predict = predict
    if isinstance(predict, OnnxModel):
        if predict.columns is None:
            _tell_codes(predict.path.name, columns)
        elif isinstance(columns, Columns):
            predict.given = columns
        return found
    if predict.features is None:
        _tell_codes(predict.name, columns)
    elif isinstance(columns, Columns):
        columns = _renamed(columns, predict.features)
        _fit_forms(predict, columns)
        _check_categories(predict, columns)
    predict.columns = columns
    return found


def _renamed(columns: Columns, features: Sequence[str]) -> Columns:
    """Return columns under the names that a model has for them.

    LightGBM writes _ for spaces, and pandas keeps those around names, which `load_data` removes.
    """
    forms = Counter(map(_form, columns.names))
    name_of = {_form(each): each for each in features if each not in columns.names}

    def renamed(column: Column) -> Column:
        form = _form(column.name)
        if column.name in features or form not in name_of or forms[form] > 1:
            return column
        return replace(column, name=name_of[form])

    return replace(columns, columns=tuple(map(renamed, columns.columns)))


def _form(name: str) -> str:
    return re.sub(r"\s", "_", name.strip())


def _fit_forms(model: RowModel, columns: Columns) -> None:
    """Find the forms in which a model knows the categories of the data.

    Raises:
        ModelError: It knows none of a column that matters to it.
    """
    if model.forms is None or model.features is None:
        return
    texts = {each.name: each.categories for each in columns.columns if each.kind == "category"}
    found, unknown = model.forms({name: texts[name] for name in model.features if name in texts})
    if unknown:
        raise ModelError(
            f"the teacher ({model.name}) must know the values of {unknown[0]!r}, got "
            f"{some_of(map(repr, texts[unknown[0]]))}, of which it was fitted on none; write them "
            "as in the table that it was fitted on"
        )
    model.known = KnownCategories(found)


def _tell_codes(model: str, columns: NamedColumns) -> None:
    """Tell numbers that a model without names of columns is given as codes of categories."""
    for column in columns.columns if isinstance(columns, Columns) else ():
        values = [number(each) for each in column.categories]
        if values and None not in values and values != list(range(len(values))):
            codes = some_of(f"{each} as {code}" for code, each in enumerate(column.categories))
            logging.getLogger("tutelage").warning(
                f"the teacher ({model}) was fitted on rows without names, and is given the "
                f"categories of {column.name!r} by their place: {codes}; if it was fitted on the "
                "numbers, leave the column out of `categories`"
            )


def _check_categories(model: RowModel, columns: Columns) -> None:
    """Refuse a column of which a model knows no category; tell those that it does not know."""
    of = {each.name: each for each in columns.columns}
    data = [of[name] for name in model.features or () if name in of]
    known = model.known.of([each.name for each in data if each.kind == "category"])
    for column in data:
        own = known.get(column.name, [])
        texts = [as_text(each) for each in own]
        theirs = some_of(map(repr, texts))
        if column.kind == "category":
            unknown = unknown_of(column.categories, own) if own else []
            as_numbers = are_numbers(own) and all(number(each) is not None for each in unknown)
            fits = len(unknown) < len(column.categories) or as_numbers
        else:
            unknown = []
            fits = are_numbers(own) or (column.kind == "number" and any(map(_is_number, texts)))
        if own and not fits:
            raise ModelError(
                f"the teacher ({model.name}) must know the values of {column.name!r}, got "
                f"{_read(column)} where it was fitted on {theirs}; write them as in the table that "
                "it was fitted on, or correct `categories`"
            )
        if unknown:
            logging.getLogger("tutelage").warning(
                f"the teacher ({model.name}) was not fitted on these categories of "
                f"{column.name!r}: {some_of(map(repr, unknown))}; it was on {theirs}"
            )


def _read(column: Column) -> str:
    return some_of(map(repr, column.categories)) or f"{column.kind}s"


def _is_number(text: str) -> bool:
    return number(text) is not None
