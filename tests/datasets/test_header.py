"""A first line that is a row is refused, and names of any kind are not taken for one."""

import numpy as np
import pandas as pd
import pytest

from tutelage.datasets import load_data
from tutelage.errors import DataError

GENERATOR = np.random.default_rng(0)
FLOWERS = pd.DataFrame(GENERATOR.normal(5, 2, (60, 4)).round(1)).assign(
    name=["setosa", "virginica"] * 30
)
PIXELS = pd.DataFrame(GENERATOR.integers(0, 256, (40, 12)))
PEOPLE = pd.DataFrame(
    {"born": pd.date_range("1990-01-01", periods=30).astype(str), "sex": ["f", "m"] * 15}
)
HALVES = FLOWERS.drop(columns="name")


def read(frame, path, **options):
    frame.to_csv(path, index=False, **options)
    return load_data("data", {"train": str(path)})


@pytest.mark.parametrize("frame", [FLOWERS, PIXELS, PEOPLE, HALVES, FLOWERS[[0, "name"]]])
@pytest.mark.parametrize("suffix", ["csv", "tsv", "csv.gz"])
def test_a_first_line_that_is_a_row(tmp_path, frame, suffix):
    separator = {"sep": "\t"} if suffix == "tsv" else {}
    path = tmp_path / f"a.{suffix}"
    with pytest.raises(DataError, match=r"first line is like its rows: .* write a line of names"):
        read(frame, path, header=False, **separator)
    assert len(read(frame, path, **separator).train) == len(frame)


@pytest.mark.parametrize("frame", [FLOWERS, PIXELS, pd.DataFrame(np.eye(9, dtype=int))])
def test_a_row_that_pandas_took_for_names(tmp_path, frame):
    frame.to_csv(tmp_path / "a.csv", index=False, header=False)
    lost = pd.read_csv(tmp_path / "a.csv")
    with pytest.raises(DataError, match="first line is like its rows"):
        read(lost, tmp_path / "b.csv")


@pytest.mark.parametrize("content", ["3\n4\n5\n", "1\n1\n0\n"])
def test_a_row_of_one_number(tmp_path, content):
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(DataError, match="first line is like its rows"):
        load_data("data", {"train": str(tmp_path / "a.csv")})


def test_a_row_with_equal_cells(tmp_path):
    (tmp_path / "a.csv").write_text("3,0,0,1\n4,5,0,1\n5,0,0,0\n")
    with pytest.raises(DataError, match="first line is like its rows"):
        load_data("data", {"train": str(tmp_path / "a.csv")})


def test_a_row_with_missing_cells(tmp_path):
    (tmp_path / "a.csv").write_text("3,,7,b\n4,5,?,\n5,,0,b\n")
    with pytest.raises(DataError, match="first line is like its rows: '3', '', '7', 'b'"):
        load_data("data", {"train": str(tmp_path / "a.csv")})


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame({"0": [0, 1, 0]}),
        pd.DataFrame(np.eye(2, dtype=int)),
        pd.DataFrame(np.eye(9, dtype=int), columns=range(1, 10)),
        pd.DataFrame(GENERATOR.normal(size=(9, 5)), columns=[400.5, 401, 402.5, 410, 500]),
        pd.DataFrame(GENERATOR.normal(size=(9, 3)), columns=[1990, 1991, 1992]),
        pd.DataFrame({"2020-01-01": [3, 4], "2020-01-02": [5, 1]}),
        pd.DataFrame({"0": [1, 2, 3], "label": ["a", "b", "a"]}),
        pd.DataFrame({"word": ["the", "word", "is"]}),
        pd.DataFrame({"x": ["y", "x", "y"], "y": ["a", "b", "a"]}),
    ],
)
def test_names_that_are_numbers_or_dates(tmp_path, frame):
    assert len(read(frame, tmp_path / "a.csv").train) == len(frame)


def test_names_that_come_again(tmp_path):
    (tmp_path / "a.csv").write_text("job, sex\ncook,f\nsmith,m\njob,sex\ncook,m\n")
    with pytest.raises(DataError, match=r"names of its columns once, got .* in row 3 too"):
        load_data("data", {"train": str(tmp_path / "a.csv")})
