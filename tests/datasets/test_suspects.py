"""What may be meant otherwise than it is read is told, or refused where it surely is."""

import numpy as np
import pandas as pd
import pytest

from tutelage.datasets import load_data
from tutelage.errors import DataError

LABELS = ["a", "b"] * 20


def load(path, label="y", **columns):
    options = {key: columns.pop(key) for key in ("kind", "categories", "classes") if key in columns}
    pd.DataFrame(columns).to_csv(path, index=False, sep=";")
    return load_data("data", {"train": str(path), "label": label, **options})


def told(splits, *words):
    return [each for each in splits.warnings if all(word in each for word in words)]


@pytest.mark.parametrize(
    "cells",
    [
        ["1'000", "12’500"],
        ["1 000", "12\u00a0500"],
        ["1.234.567", "9.876.543"],
        ["$5", "$1,000"],
        ["5 €", "1.000,50 €"],
        ["5%", "12.5 %"],
        ["\u22125", "7"],
    ],
)
def test_numbers_in_other_forms_are_no_categories_or_classes_in_silence(tmp_path, cells):
    path, numbers = tmp_path / "a.csv", cells * 20
    for label in "xy":
        with pytest.raises(DataError, match=r"numbers as 1234\.5"):
            load(path, label, x=numbers, y=LABELS)
    assert load(path, x=numbers, y=LABELS, categories="x").columns.columns[0].kind == "category"
    assert len(load(path, "x", x=numbers, y=LABELS, kind="classes").classes) == 2


@pytest.mark.parametrize(
    "cells", [["31.12.2024", "1.2.2025"], ["12/31/24 9:05 PM", "1/2/25 09:30"]]
)
def test_dates_in_other_forms_are_no_categories_in_silence(tmp_path, cells):
    with pytest.raises(DataError, match=r"dates as 2024-12-31, or categories, got '.* in a\.csv"):
        load(tmp_path / "a.csv", x=cells * 20, y=LABELS)
    assert load(tmp_path / "a.csv", x=cells * 20, y=LABELS, categories="x").columns


@pytest.mark.parametrize(
    "cells", [["1 a", "2 b"], ["1-2", "3-4"], ["10:30", "9:15"], ["A1", "5+"], ["01", "12"]]
)
def test_other_texts_are_categories(tmp_path, cells):
    splits = load(tmp_path / "a.csv", x=cells * 20, y=LABELS)
    assert splits.columns.columns[0].categories == tuple(sorted(cells))


def test_dots_that_may_be_between_thousands_are_told(tmp_path):
    dotted = ["1.234", "999", "12.000", "850", "3.500", "700", "20.125", "1"] * 5
    splits = load(tmp_path / "a.csv", x=dotted, y=LABELS)
    assert told(splits, "column 'x'", "such as '1.234'; if the dots are between thousands")
    splits = load(tmp_path / "a.csv", label="x", x=dotted, z=range(40))
    assert told(splits, "column 'x'", "between thousands")


@pytest.mark.parametrize(
    "cells",
    [
        ["1.234", "2.345", "3.456", "4.567"],
        ["1.234", "2.345", "3.456", "4.56", "1", "2", "3", "4"],
        ["0.234", "0.345", "0.456", "0.567", "1", "2", "3", "4"],
        ["1.234", "2.345", "3.456", "4.567", "1000", "2", "3", "4"],
    ],
)
def test_decimals_are_not_told(tmp_path, cells):
    assert not told(load(tmp_path / "a.csv", x=cells * (40 // len(cells)), y=LABELS), "thousands")


def test_numbers_that_look_like_dates_are_told(tmp_path):
    days = pd.date_range("2023-11-15", periods=40).strftime("%Y%m%d").astype(int)
    assert told(load(tmp_path / "a.csv", x=days, y=LABELS), "'x'", "20231115", "2024-12-31")
    assert not told(load(tmp_path / "a.csv", x=days + 60, y=LABELS), "2024-12-31")
    assert not told(load(tmp_path / "a.csv", x=days + 0.5, y=LABELS), "2024-12-31")


@pytest.mark.parametrize(
    ("one", "other"),
    [("Yes", "yes"), ("a", "a\u200b"), ("caf\u00e9", "cafe\u0301"), ("a  b", "a b"), ("1", "1.0")],
)
def test_texts_that_look_alike_are_told(tmp_path, one, other):
    cells = [one, other, "z", "z"] * 10
    one, other = sorted((one, other))
    splits = load(tmp_path / "a.csv", x=cells, y=LABELS)
    assert told(splits, f"'x' has {one!r} and {other!r} as different categories")
    if one != "1":  # which is refused
        splits = load(tmp_path / "a.csv", label="x", x=cells, z=range(40))
        assert told(splits, f"labels have {one!r} and {other!r} as different classes")
        assert not told(
            load(tmp_path / "a.csv", "x", x=cells, z=range(40), classes=splits.classes), "alike"
        )


def test_classes_that_look_like_a_missing_label_are_told(tmp_path):
    splits = load(tmp_path / "a.csv", label="x", x=["spam", "ham", "NA", "none"] * 10, y=LABELS)
    assert told(splits, "labels have 'NA' as a class", "missing: ['NA']")
    assert not told(splits, "'none'")


@pytest.mark.parametrize(
    "content", ["a|b\n1|x\n2|y\n", "a,b\n1,x\n2,y\n", "a;b;c\n1;x;2\n", "a b\n1 2.5\n-3   4\n"]
)
def test_another_separator_is_refused(tmp_path, content):
    (tmp_path / "a.tsv").write_text(content)
    with pytest.raises(DataError, match=r"one column 'a.b.*', and '.' equally often"):
        load_data("data", {"train": str(tmp_path / "a.tsv")})


@pytest.mark.parametrize("separator", [",", ";"])
def test_a_line_for_excel_is_refused(tmp_path, separator):
    lines = [f"sep={separator}", *(f"{each}{separator}b" for each in "xyz")]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    with pytest.raises(DataError, match="names the separator for Excel; remove that line"):
        load_data("data", {"train": str(tmp_path / "a.csv")})


def test_texts_with_separators_are_texts(tmp_path):
    (tmp_path / "b.csv").write_text("some words\ntwo more\n1 2\n")
    assert (
        len(load_data("data", {"train": str(tmp_path / "b.csv"), "text": "some words"}).train) == 2
    )
    (tmp_path / "a.csv").write_text('"said, or written"\n"a, b"\nc\n')
    splits = load_data("data", {"train": str(tmp_path / "a.csv"), "text": "said, or written"})
    assert splits.train[0] == "a, b"


def test_quotes_behind_spaces_are_refused(tmp_path):
    (tmp_path / "a.csv").write_text('x, y\n1, "a"\n2, "b"\n')
    with pytest.raises(DataError, match="remove the spaces before the quotes"):
        load_data("data", {"train": str(tmp_path / "a.csv"), "label": "y"})


def test_the_index_of_a_shuffled_table_is_no_input(tmp_path):
    frame = pd.DataFrame({"x": np.arange(40) % 7, "y": LABELS}).sample(frac=0.5, random_state=0)
    frame.to_parquet(tmp_path / "a.parquet")
    splits = load_data("data", {"train": str(tmp_path / "a.parquet"), "label": "y"})
    assert splits.columns.names == ("x",)


def test_binary_labels_that_exclude_each_other_are_told(tmp_path):
    one_hot = np.eye(3, dtype=int)[np.arange(40) % 3]
    several = {"a": one_hot[:, 0], "b": one_hot[:, 1], "c": one_hot[:, 2], "x": range(40)}
    assert told(load(tmp_path / "a.csv", list("abc"), **several), "exactly one of the 3 binary")
    several["a"][0] = 0
    assert not told(load(tmp_path / "a.csv", list("abc"), **several), "exactly one")
    assert not told(load(tmp_path / "a.csv", ["a", "b"], **several), "exactly one")


def test_binary_labels_with_minus_one_are_no_values_in_silence(tmp_path):
    several = {"a": [0, 1] * 20, "b": [1, -1, 0, 0] * 10, "x": range(40)}
    with pytest.raises(DataError, match=r"binary labels or as values, got -1 .* missing: \[-1\]"):
        load(tmp_path / "a.csv", ["a", "b"], **several)
    assert load(tmp_path / "a.csv", ["a", "b"], kind="values", **several).kind == "values"


def test_several_labels_in_a_text_are_told(tmp_path):
    splits = load(tmp_path / "a.csv", x=range(40), y=["a;b", "a", "b", "c,d"] * 10)
    assert told(splits, "'a;b' as a class", "';' is between several labels")
    assert not told(splits, "'c,d'")


def test_lists_written_as_texts_are_refused(tmp_path):
    lists = [["a"], ["a", "b"], []] * 12
    with pytest.raises(DataError, match=r"got lists as texts in a.csv, such as \"\['a', 'b'\]"):
        load(tmp_path / "a.csv", x=range(36), y=lists)
