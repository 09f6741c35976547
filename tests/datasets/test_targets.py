"""Labels are classes, binary labels or values, told by their form or by the options."""

import time

import numpy as np
import pandas as pd
import pytest
import torch

from tutelage.datasets.content import Content
from tutelage.datasets.options import DataOptions
from tutelage.datasets.targets import Targets
from tutelage.errors import DataError


def content(**columns):
    return Content("a.csv", pd.DataFrame(columns))


def targets(cells, **options):
    given = DataOptions(train="a.csv", label="y", **options)
    return Targets.fit(content(y=cells), given)


def labels(cells, other=None, notes=None, **options):
    given = content(y=cells if other is None else other)
    return targets(cells, **options).encode(given, [] if notes is None else notes)


@pytest.mark.parametrize(
    ("cells", "kind", "classes"),
    [
        (["cat", "ant", "cat"], "classes", ("ant", "cat")),
        (["None", "Some", "None"], "classes", ("None", "Some")),
        ([0, 1, 2, 2, 1, 0], "classes", ("0", "1", "2")),
        ([0, 10, 20] * 5, "classes", ("0", "10", "20")),
        ([9, 10, 9, 10, 10, 8, 8], "classes", ("8", "9", "10")),
        ([1.0, 0.0, None, 1.0, 0.0], "classes", ("0", "1")),
        ([-1, 1, 1, -1], "classes", ("-1", "1")),
        ([True, False, True], "classes", ("false", "true")),
        (["0.5", "1", "2"] * 2, "classes", ("0.5", "1", "2")),
        ([0.5, 1, 2], "values", ()),
        (list(range(100)), "values", ()),
        (list(range(41)) * 9, "values", ()),
        ([f"${at},000" for at in range(1, 50)], "values", ()),
    ],
)
def test_kind_is_told_by_the_cells(cells, kind, classes):
    found = targets(cells)
    assert (found.kind, found.classes) == (kind, classes)
    assert targets(cells, kind="classes").kind == "classes"


def test_ids_without_gaps_are_classes_of_images_however_many():
    ids = Content("a.npz", pd.DataFrame({"y": list(range(100)) * 3}), torch.zeros(300, 2))
    assert Targets.fit(ids, DataOptions(train="a.npz", label="y")).kind == "classes"


def test_ids_are_places_among_the_sorted_classes():
    assert labels(["b", "a", "c"]).tolist() == [1, 0, 2]
    assert labels([3, 5, 4], kind="classes").tolist() == [0, 2, 1]


def test_classes_can_be_given_in_the_order_of_a_teacher():
    assert labels(["b", "a"], classes=["b", "z", "a"]).tolist() == [0, 2]


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ([10, 20], [20.0, None, 10.0]),
        ([10.0, 20.0], ["20", None, "10"]),
        ([True, False], ["FALSE", None, "true"]),
    ],
)
def test_labels_in_another_form_are_the_same_classes(train, test):
    found = labels(train * 2, test).tolist()
    assert found == [1, -100, 0] if train[0] is not True else found == [0, -100, 1]


@pytest.mark.parametrize("name", ["-100%", "-$100", "(100)", "-1e2"])
def test_a_class_that_looks_like_minus_100_is_one(name):
    cells = ["100%", "0%", name]
    found = targets(cells, kind="classes").classes
    assert labels(cells, kind="classes").tolist() == [found.index(each) for each in cells]


@pytest.mark.parametrize("mark", ["-100", -100, -100.0, "-100.0"])
def test_minus_100_is_no_label(mark):
    cells = pd.Series(["a", "b", mark], dtype=object)
    assert targets(cells).classes == ("a", "b")
    assert labels(cells).tolist() == [0, 1, -100]


def test_many_lists_of_many_labels_are_read_at_once():
    cells = [[f"c{(7 * row + at) % 4000}" for at in range(5)] for row in range(4000)]
    begun = time.process_time()
    assert labels(cells).sum() == 5 * len(cells)
    assert time.process_time() - begun < 3


def test_missing_labels_are_marked():
    assert labels(["a", None, "b"]).tolist() == [0, -100, 1]
    assert labels([0, 1, -100, 0, 1]).tolist() == [0, 1, -100, 0, 1]
    assert labels([0.5, None, np.nan]).isnan().tolist() == [False, True, True]


def test_several_columns_are_binary_labels_or_values():
    options = DataOptions(train="a", label=["p", "q"])
    for given in (
        {"p": [1, 0, None], "q": ["no", "yes", "no"]},
        {"p": ["1.0", "0.0", None], "q": [0, 1, 0]},
    ):
        found = Targets.fit(content(**given), options)
        assert (found.kind, found.classes) == ("binary", ("p", "q"))
        assert found.encode(content(**given), []).tolist() == [[1, 0], [0, 1], [-100, 0]]
        assert found.unknown(2).tolist() == [[-100, -100], [-100, -100]]
    given = content(p=[1.5, 2], q=[3, None])
    found = Targets.fit(given, options)
    assert found.kind == "values"
    assert found.encode(given, []).dtype == torch.get_default_dtype()


def test_minus_one_beside_binary_labels_is_missing_and_told():
    given = content(p=[1, 0, -1], q=[-1, 1, 0])
    found = Targets.fit(given, DataOptions(train="a", label=["p", "q"]))
    assert found.encode(given, []).tolist() == [[1, -100], [0, 1], [-100, 0]]
    assert "-1 is missing (kind: values otherwise)" in found.described()


def test_one_column_can_be_a_binary_label():
    assert labels(["yes", "no"], kind="binary").tolist() == [1, 0]
    with pytest.raises(DataError, match="0 or 1"):
        labels(["yes", "no"], ["maybe"] * 6, kind="binary")


def test_unknown_class_is_refused_by_its_row_with_the_nearest():
    with pytest.raises(DataError, match=r"'catt' in row 2 of a.csv; did you mean 'cat'"):
        labels(["cat", "dog"], ["dog", "catt"])


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["a", "a"], "two classes or more"),
        ([None, None], "with none"),
    ],
)
def test_labels_that_are_none_are_refused(cells, expected):
    with pytest.raises(DataError, match=expected):
        targets(cells)


def test_a_few_values_that_are_no_numbers_are_missing_and_told():
    notes = []
    found = labels([0.5, 1], ["2", "x", "inf", "?"], notes)
    assert np.array_equal(found, [2, np.nan, np.nan, np.nan], equal_nan=True)
    assert notes[0].startswith("2 labels in 'y' of a.csv are no numbers, such as 'x' in row 2")
    with pytest.raises(DataError, match="where labels are lists"):
        Targets.fit(content(p=[["a"]], q=[["b"]]), DataOptions(train="a", label=["p", "q"]))
    with pytest.raises(DataError, match="must be numbers, got 9 others, such as 'x'"):
        labels([0.5, 1], ["x"] * 9)


def test_the_mark_of_decimals_is_that_of_the_training_data():
    train, test = ["1.234,50 €", "99,00 €"], ["1.234 €", "12.000 €"]
    assert labels(train, test, kind="values").tolist() == [1234, 12000]
    given = content(p=train, q=["1,234.50", "2"])
    found = Targets.fit(given, DataOptions(train="a", label=["p", "q"], kind="values"))
    other = content(p=test, q=["1.234", "1,234"])
    assert torch.allclose(found.encode(other, []), torch.tensor([[1234, 1.234], [12000, 1234]]))


def test_misspelt_label_is_refused_with_the_nearest():
    with pytest.raises(DataError, match="did you mean 'intent'"):
        Targets.fit(content(intent=["x"]), DataOptions(train="a", label="intnet"))
