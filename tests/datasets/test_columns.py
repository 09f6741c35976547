"""What the columns of a table are is told by the training file, and held by other data."""

from datetime import UTC, date, datetime, time

import numpy as np
import pandas as pd
import pytest

from tutelage.datasets.columns import Columns
from tutelage.errors import DataError


def column(*cells, **options):
    return Columns.fit(pd.DataFrame({"x": cells}), **options).columns[0]


def encoded(train, other):
    columns = Columns.fit(pd.DataFrame({"x": train}))
    return columns.encode(pd.DataFrame({"x": other}))[:, 0].tolist()


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["1", "2.5", "-3e4", None], "number"),
        ([1, None, 2.5], "number"),
        (["$1,000", "5"], "number"),
        (["2024-01-31", "2023-12-01 10:30"], "date"),
        (["31.12.2024", "1.1.2025"], "date"),
        (["red", "blue", None], "category"),
        (["01234", "04567"], "category"),
        ([True, False, None], "category"),
        ([True, False], "category"),
        (["1_000", "2_000"], "category"),
        (["2024-02-30", "2024-02-31"], "category"),
        (["3.1.4", "v2", "3.1.5"], "category"),
    ],
)
def test_kind_is_told_by_the_cells(cells, kind):
    assert column(*cells).kind == kind


@pytest.mark.parametrize("form", ["{}.{:02}.{:02}", "{}-{}-{}", "{}/{}/{}", "{}. {:02}. {:02}"])
def test_the_month_follows_the_year(form):
    texts = [form.format(2024, month, 5) for month in range(1, 13)]
    found = Columns.fit(pd.DataFrame({"x": texts}))
    days = found.encode(pd.DataFrame({"x": texts}))[:, 0]
    dates = [pd.Timestamp(2024, month, 5) for month in range(1, 13)]
    assert days.tolist() == [each.timestamp() / 86_400 for each in dates]
    assert not found.notes


@pytest.mark.parametrize(
    "cells",
    [
        ["2020-01-01", "9999-12-31"],
        ["31.12.9999", "01.01.2020"],
        pd.to_datetime(["1500-01-01", "9999-12-31"]).astype("datetime64[us]"),
        pd.to_datetime(["2020-01-01", None]).astype("datetime64[ns]"),
        pd.Series([date(2020, 1, 1), date(9999, 12, 31)], dtype=object),
        pd.to_timedelta(["1 day", "90 minutes"]),
    ],
)
def test_dates_far_away_are_dates(cells):
    frame = pd.DataFrame({"x": cells})
    columns = Columns.fit(frame)
    days = columns.encode(frame)
    expected = frame.map(pd.Timestamp) if isinstance(frame.x[0], date) else frame
    pd.testing.assert_frame_equal(columns.frame(days), expected, check_dtype=False)
    assert columns.frame(days - 1.25).x.iloc[0] != frame.x.iloc[0]
    far = columns.encode(pd.DataFrame({"x": ["9999-12-30"]}))
    assert columns.columns[0].form != "ISO8601" or far[0, 0] == days[1, 0] - 1


@pytest.mark.parametrize(
    "cells",
    [
        [datetime(2024, 1, 1), 0, datetime(2024, 1, 2)],
        [datetime(2024, 1, 1), time(10, 30), "soon"],
        [datetime(2024, 1, 1), datetime(2024, 1, 2, tzinfo=UTC), True],
    ],
)
def test_dates_among_other_things_are_categories(cells):
    frame = pd.DataFrame({"x": pd.Series(cells, dtype=object)})
    columns = Columns.fit(frame)
    codes = columns.encode(frame)
    assert sorted(codes[:, 0]) == [0, 1, 2]
    assert columns.frame(codes).x.tolist() == cells


def test_times_of_day_are_read_from_objects_as_from_texts():
    times = [time(10, 30), time(0, 0), time(23, 59, 30)]
    frame = pd.DataFrame({"x": times})
    columns = Columns.fit(frame)
    rows = columns.encode(frame)
    assert columns.columns[0].kind == "date"
    hours = (rows[:, 0] - rows[1, 0]) * 24
    assert hours.tolist() == pytest.approx([10.5, 0, 23 + 59.5 / 60])
    assert columns.frame(rows).x.tolist() == times
    assert np.array_equal(columns.encode(frame.astype(str)), rows)


def test_numbers_can_be_named_as_categories():
    assert column(3, 20, 3, categories=["x"]).categories == (3, 20)


def test_rows_are_numbers_codes_and_days():
    assert encoded([1, 2], [5, -1]) == [5, -1]
    assert encoded(["b", "a"], ["a", "b"]) == [0, 1]
    assert encoded(["1970-01-02"], ["1970-01-03", "1970-01-01T12:00:00+00:00"]) == [2, 0.5]


@pytest.mark.parametrize(
    ("train", "other"),
    [
        (["10", "20", "x"], [20.0, 10.0]),
        ([True, False, None], ["false", "TRUE"]),
        ([" a", " b"], ["b", "a"]),
        ([10, 20, "x"], ["20.0", "10"]),
    ],
)
def test_a_category_is_the_same_however_programs_write_it(train, other):
    columns = Columns.fit(pd.DataFrame({"x": train}), categories=["x"])
    table = columns.frame(columns.encode(pd.DataFrame({"x": other})))
    assert table["x"].tolist() == [train[1], train[0]]


def test_unseen_categories_have_codes_behind_those_of_training_and_missing_ones_none():
    assert encoded(["a", "b"], ["c", "a", "d", "c"]) == [2, 0, 3, 2]
    assert np.isnan(encoded(["a", "b"], [None])).all()


def test_a_table_comes_back_with_its_names_dtypes_and_values():
    table = pd.DataFrame(
        {
            "id": [f"row {at}" for at in range(24)],
            "count": np.arange(24) % 5,
            "share": np.arange(24) / 7,
            "on": np.arange(24) % 2 == 0,
            "job": ["cook", "smith", None] * 8,
            "price": ["$1", "$2,500", "?"] * 8,
            "day": [f"2024-01-{1 + at:02}" for at in range(24)],
            "at": pd.date_range("2024-01-01", periods=24, freq="h", tz="Europe/Paris"),
            "size": pd.Categorical(["S", "M", "L"] * 8, ["S", "M", "L", "XL"], ordered=True),
            "maybe": pd.array([1, None, 3] * 8, dtype="Int64"),
            7: np.arange(24) * 3 % 11,
        }
    )
    columns = Columns.fit(table)
    assert columns.columns[-1].name == "id"
    assert not columns.columns[-1].used
    pd.testing.assert_frame_equal(columns.frame(columns.encode(table)), table, check_freq=False)
    some = table.iloc[[0, 3]]
    again = columns.frame(columns.encode(some))
    pd.testing.assert_frame_equal(again, some.reset_index(drop=True), check_freq=False)


def test_unseen_values_come_back_too():
    columns = Columns.fit(pd.DataFrame({"job": ["cook", "smith"], "n": [1, 2]}))
    other = pd.DataFrame({"job": ["king", None, "cook"], "n": [1.5, None, 2]})
    pd.testing.assert_frame_equal(columns.frame(columns.encode(other)), other)


def test_columns_survive_json():
    columns = Columns.fit(
        pd.DataFrame({"x": ["a", "b"], "on": [True, False], "d": ["1.2.2024", "2.2.2024"]})
    )
    again = Columns.of_json(columns.as_json())
    assert again == columns
    other = pd.DataFrame({"x": ["b"], "on": [False], "d": ["3.2.2024"]})
    assert again.encode(other).tolist() == columns.encode(other).tolist()


def test_cells_of_other_data_that_are_no_numbers_are_missing_and_told():
    notes = []
    columns = Columns.fit(pd.DataFrame({"x": [1, 2]}))
    rows = columns.encode(pd.DataFrame({"x": ["3", "oops", "?", None]}), "b.csv", notes)
    assert np.array_equal(rows[:, 0], [3, np.nan, np.nan, np.nan], equal_nan=True)
    assert notes == [
        "1 cells of 'x' in b.csv are no finite numbers, such as 'oops', and are read as missing"
    ]


def test_all_columns_that_other_data_lacks_are_named():
    columns = Columns.fit(pd.DataFrame({"x": [1, 2], "z": [1, 2], "w": [2, 3]}))
    with pytest.raises(DataError, match="got none called 'x', 'w'; it has 'z'"):
        columns.encode(pd.DataFrame({"z": [1]}))


def test_rows_of_other_columns_become_rows_of_these():
    columns = Columns.fit(pd.DataFrame({"x": ["a", "b"], "n": [1, 2]}))
    other = Columns.fit(pd.DataFrame({"n": [5, 6], "k": [0, 0], "x": ["b", "c"]}))
    rows = other.encode(pd.DataFrame({"n": [5, 6], "k": [0, 0], "x": ["b", "c"]}))
    assert columns.recoded(rows, other).tolist() == [[1, 5], [2, 6]]
    with pytest.raises(DataError, match="'n' of kind 'number', got none"):
        columns.recoded(rows[:, 2:], Columns(other.columns[2:]))
