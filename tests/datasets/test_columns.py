"""What the columns of a table are is told from the training data, and held by other data."""

import numpy as np
import pandas as pd
import pytest

from tutelage.datasets.columns import Columns
from tutelage.datasets.frame import Frame
from tutelage.errors import DataError

MISSING = ("", "NA")


def fitted(cells, **options):
    return Columns.fit(Frame("a.csv", {"x": cells}), ["x"], missing=MISSING, **options)


def encoded(train, other):
    return fitted(train).encode(Frame("b.csv", {"x": other}))[:, 0].tolist()


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["1", "2.5", "-3e4", ""], "number"),
        ([1, None, 2.5], "number"),
        (np.array([1.0, np.nan]), "number"),
        (["2024-01-31", "2023-12-01 10:30"], "date"),
        (["2024-01-31T10:30:00Z", "NA"], "date"),
        (["red", "blue", "NA"], "category"),
        (["01234", "04567"], "category"),
        ([True, False, None], "category"),
        (["1_000", "2_000"], "category"),
        (["2024-02-30", "2024-02-31"], "category"),
    ],
)
def test_kind_is_told_by_the_cells(cells, kind):
    assert fitted(cells).columns[0].kind == kind


def test_numbers_can_be_named_as_categories():
    assert fitted([3, 20, 3.0], categories=["x"]).columns[0].categories == ("20", "3")


def test_rows_are_numbers_codes_and_days():
    assert encoded(["1", "2"], ["5", "NA", "-1"])[::2] == [5, -1]
    assert encoded(["b", "a"], ["a", "b"]) == [0, 1]
    assert encoded(["1970-01-02"], ["1970-01-03", "1970-01-01T12:00:00+00:00"]) == [2, 0.5]


def test_unknown_and_missing_categories_are_nan():
    assert np.isnan(encoded(["a", "b"], ["c", "NA", None])).all()


def test_rows_become_a_table_again():
    days = ["2024-01-31", "", "2023-01-01 06:00"]
    frame = Frame("a", {"n": ["1", "", "3"], "c": ["u", "v", ""], "d": days})
    columns = Columns.fit(frame, ["n", "c", "d"], missing=MISSING)
    table = pd.DataFrame(columns.named(columns.encode(frame)))
    assert table["c"].where(table["c"].notna(), None).tolist()[:2] == ["u", "v"]
    assert table["d"][0] == pd.Timestamp("2024-01-31")
    assert table["d"][2] == pd.Timestamp("2023-01-01 06:00")
    assert table.isna().to_numpy().sum() == 3
    again = Frame(
        "b", {name: list(cells) for name, cells in columns.named(columns.encode(frame)).items()}
    )
    assert np.array_equal(
        columns.encode(again)[:2, :2], columns.encode(frame)[:2, :2], equal_nan=True
    )


def test_columns_survive_json():
    columns = fitted(["a", "b"])
    assert Columns.of_json(columns.as_json()) == columns


def test_one_text_among_numbers_is_refused_by_its_row():
    with pytest.raises(DataError, match=r"'oops' in row 3 of a.csv beside 3 numbers"):
        fitted(["1", "2", "oops", "4"])


def test_later_text_in_a_column_of_numbers_is_refused():
    with pytest.raises(DataError, match=r"must hold numbers, .* 'oops' in row 2 of b.csv"):
        encoded(["1", "2"], ["1", "oops"])


@pytest.mark.parametrize("cell", ["inf", float("inf")])
def test_infinite_number_is_refused(cell):
    with pytest.raises(DataError, match="finite"):
        encoded(["1", "2"], [cell])


def test_free_text_is_refused():
    with pytest.raises(DataError, match="100 different texts in 100 rows"):
        fitted([f"sentence {at}" for at in range(100)])


def test_lists_are_refused():
    with pytest.raises(DataError, match=r"single values, got list in row 1"):
        fitted([[1, 2], [3]])


def test_empty_column_is_refused():
    with pytest.raises(DataError, match="with none"):
        fitted(["", "NA"])


def test_misspelt_column_is_refused_with_the_nearest():
    with pytest.raises(DataError, match="did you mean 'height'"):
        Columns.fit(Frame("a", {"height": ["1"], "z": ["2"]}), ["heigth"])
