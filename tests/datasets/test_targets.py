"""Labels are classes, binary labels or values, told by their form or by the options."""

import numpy as np
import pytest
import torch

from tutelage.datasets.frame import Frame
from tutelage.datasets.options import DataOptions
from tutelage.datasets.targets import Targets
from tutelage.errors import DataError


def targets(cells, **options):
    given = DataOptions(train="a.csv", label="y", **options)
    return Targets.fit(Frame("a.csv", {"y": cells}), given)


def labels(cells, other=None, **options):
    return targets(cells, **options).encode(
        Frame("b.csv", {"y": cells if other is None else other})
    )


@pytest.mark.parametrize(
    ("cells", "kind", "classes"),
    [
        (["cat", "ant", "cat"], "classes", ("ant", "cat")),
        (["None", "Some", "None"], "classes", ("None", "Some")),
        (["0", "1", "2", "2", "1", "0"], "classes", ("0", "1", "2")),
        ([9, 10, 9, 10, 10, 8, 8], "classes", ("8", "9", "10")),
        ([True, False, True], "classes", ("false", "true")),
        (["0.5", "1", "2"], "values", ()),
        (np.array([0.5, 1.0]), "values", ()),
    ],
)
def test_kind_is_told_by_the_cells(cells, kind, classes):
    found = targets(cells)
    assert (found.kind, found.classes) == (kind, classes)


@pytest.mark.parametrize(
    "cells", [["0", "10", "20"] * 5, ["1.0", "0.0", "1.0", "0.0"], list(range(100)), [-1, 1, 1, -1]]
)
def test_integers_that_may_be_classes_or_values_are_refused(cells):
    with pytest.raises(DataError, match="write kind: classes or kind: values"):
        targets(cells)
    assert targets(cells, kind="values").kind == "values"


def test_ids_are_places_among_the_sorted_classes():
    assert labels(["b", "a", "c"]).tolist() == [1, 0, 2]
    assert labels(["3", "5", "4"], kind="classes").tolist() == [0, 2, 1]


def test_classes_can_be_given_in_the_order_of_a_teacher():
    assert labels(["b", "a"], classes=["b", "z", "a"]).tolist() == [0, 2]


def test_missing_labels_are_marked():
    assert labels(["a", "", None, "b"]).tolist() == [0, -100, -100, 1]
    assert labels([0, 1, -100, 0, 1]).tolist() == [0, 1, -100, 0, 1]
    assert labels(["0", "1", "NAN", "1", "0"]).tolist() == [0, 1, -100, 1, 0]
    assert labels(["0.5", "", "nan"]).isnan().tolist() == [False, True, True]
    assert labels(["1", "0", "unknown", "1", "0"], missing=["unknown"]).tolist() == [
        1,
        0,
        -100,
        1,
        0,
    ]


def test_several_columns_are_binary_labels_or_values():
    frame = Frame("a", {"p": ["1", "0", ""], "q": ["no", "yes", "no"]})
    found = Targets.fit(frame, DataOptions(train="a", label=["p", "q"]))
    assert (found.kind, found.classes) == ("binary", ("p", "q"))
    assert found.encode(frame).tolist() == [[1, 0], [0, 1], [-100, 0]]
    assert found.unknown(2).tolist() == [[-100, -100], [-100, -100]]
    frame = Frame("a", {"p": ["1.0", "0.0", ""], "q": ["0", "1", "0"]})  # as pandas writes them
    found = Targets.fit(frame, DataOptions(train="a", label=["p", "q"]))
    assert found.kind == "binary"
    assert found.encode(frame).tolist() == [[1, 0], [0, 1], [-100, 0]]
    frame = Frame("a", {"p": ["1.5", "2"], "q": ["3", ""]})
    found = Targets.fit(frame, DataOptions(train="a", label=["p", "q"]))
    assert found.kind == "values"
    assert found.encode(frame).dtype == torch.get_default_dtype()


def test_one_column_can_be_a_binary_label():
    assert labels(["yes", "no"], kind="binary").tolist() == [1, 0]
    with pytest.raises(DataError, match="0 or 1"):
        labels(["yes", "maybe"], kind="binary")


def test_unknown_class_is_refused_by_its_row_with_the_nearest():
    with pytest.raises(DataError, match=r"'catt' in row 2 of b.csv; did you mean 'cat'"):
        labels(["cat", "dog"], ["dog", "catt"])


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["a", "a"], "two classes or more"),
        (["", None], "with none"),
        ([{"a": 1}, {"b": 2}], "one label a row"),
        (["1", "2", "1", "x"], "'x' beside 3 numbers"),
        ([f"text {at}" for at in range(60)], "several examples each"),
    ],
)
def test_labels_that_are_none_are_refused(cells, expected):
    with pytest.raises(DataError, match=expected):
        targets(cells)


def test_value_that_is_no_number_is_refused():
    with pytest.raises(DataError, match="must be numbers, got 'x'"):
        labels(["0.5", "1"], ["x"])
    with pytest.raises(DataError, match="finite"):
        labels(["0.5", "1"], ["inf"])


def test_misspelt_label_is_refused_with_the_nearest():
    with pytest.raises(DataError, match="did you mean 'intent'"):
        Targets.fit(Frame("a", {"intent": ["x"]}), DataOptions(train="a", label="intnet"))
