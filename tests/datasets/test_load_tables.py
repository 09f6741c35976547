"""Tables in files become raw examples, whatever the format."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import TensorDataset

from tutelage.data.tensor_table import table_of
from tutelage.datasets import load_data
from tutelage.errors import ArgumentError, DataError

ROWS = [
    {"age": 31, "job": "cook", "since": "2020-05-01", "pay": "low"},
    {"age": None, "job": "smith", "since": "2021-01-01", "pay": "high"},
    {"age": 58, "job": None, "since": None, "pay": "high"},
    {"age": 44, "job": "cook", "since": "2019-12-31", "pay": "low"},
]


def write_table(path, rows=ROWS):
    if path.suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, rows)))
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".parquet":
        table = pd.DataFrame(rows)
        table["since"] = pd.to_datetime(table["since"])
        table.to_parquet(path)
    else:
        pd.DataFrame(rows).to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    return str(path)


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "json", "parquet"])
def test_every_format_gives_the_same_rows(tmp_path, suffix):
    splits = load_data("data", {"train": write_table(tmp_path / f"a.{suffix}"), "label": "pay"})
    assert isinstance(splits.train, TensorDataset)
    rows, labels = splits.train[:]
    nan = np.nan
    expected = [[31, 0, 18383], [nan, 1, 18628], [58, nan, nan], [44, 0, 18261]]
    assert np.array_equal(rows.numpy(), expected, equal_nan=True)
    assert rows.dtype == torch.float64
    assert labels.tolist() == [1, 0, 0, 1]
    assert splits.classes == ("high", "low")
    assert (splits.kind, splits.form) == ("classes", "columns")
    assert splits.columns.names == ("age", "job", "since")


def test_what_was_decided_is_told(tmp_path):
    splits = load_data("data", {"train": write_table(tmp_path / "a.csv"), "label": "pay"})
    assert splits.described == (
        "4 examples for train; inputs: 3 columns (1 of numbers, 1 of categories, 1 of dates); "
        "labels 'pay': 2 classes (high, low)"
    )
    assert repr(splits) == f"Splits({splits.described})"  # no rows


def test_texts_are_strings(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes('\ufeffsaid,intent\n"a, ""b""\nc",x\nzwölf,y\n'.encode())
    splits = load_data("data", {"train": str(path), "text": "said", "label": "intent"})
    assert splits.train[0] == ('a, "b"\nc', torch.tensor(0))
    assert splits.train[1][0] == "zwölf"
    assert splits.form == "text"


def test_only_named_columns_are_inputs(tmp_path):
    path = write_table(tmp_path / "a.csv")
    splits = load_data("data", {"train": path, "columns": ["age"], "label": "pay"})
    assert splits.rows[:, 0].tolist()[::2] == [31, 58]
    assert splits.columns.inputs.names == ("age",)
    assert splits.columns.names == ("age", "job", "since")  # of which a teacher may need others


def test_index_column_without_a_name_is_no_input(tmp_path):
    pd.DataFrame(ROWS).to_csv(tmp_path / "a.csv")
    splits = load_data("data", {"train": str(tmp_path / "a.csv"), "label": "pay"})
    assert splits.columns.inputs.names == ("age", "job", "since")


def test_other_files_are_read_as_the_training_data(tmp_path):
    train = write_table(tmp_path / "a.csv")
    other = [{"age": 1, "job": "nurse", "pay": "low", "since": "", "note": "new"}]
    test = write_table(tmp_path / "b.jsonl", other)
    more = write_table(tmp_path / "c.csv", [{"since": "1970-01-02", "job": "smith", "age": 7}])
    splits = load_data("data", {"train": train, "test": test, "unlabelled": more, "label": "pay"})
    row, label = splits.test[0]
    assert row[:2].tolist() == [1, 2]  # the code behind those of training
    assert row[2].isnan()
    assert label == 1
    assert len(splits.train) == 5
    assert len(splits.labelled) == 4
    row, label = splits.train[4]
    assert (row.tolist(), int(label)) == ([7, 1, 1], -100)


def test_integer_that_stands_for_nothing_is_missing(tmp_path):
    rows = [{"x": 1_000_000, "y": "a"}, {"x": 2, "y": "b"}, {"x": -999, "y": "b"}]
    for name in ("a.csv", "a.jsonl"):
        options = {"train": write_table(tmp_path / name, rows), "missing": [1_000_000, -999]}
        splits = load_data("data", {**options, "label": "y"})
        assert splits.rows[:, 0].isnan().tolist() == [True, False, True]


@pytest.mark.parametrize("val", [None, 0.5])
@pytest.mark.parametrize("more", [{}, {"columns": []}, {"columns": ["x"], "omit": "x"}])
def test_a_table_without_inputs_is_refused(tmp_path, val, more):
    names = ["x"] * ("omit" in more)
    rows = [{**dict.fromkeys(names, 1), "y": y} for y in "abab"]
    options = {"train": write_table(tmp_path / "a.csv", rows), "label": "y", "val": val, **more}
    with pytest.raises(DataError, match="must name the inputs"):
        load_data("data", options)


@pytest.mark.parametrize("missing", [-999, -999.0, "-999", "-999.0"])
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_a_number_that_stands_for_nothing_is_missing_however_it_is_written(tmp_path, name, missing):
    cells = {"a.csv": ["-999.0", "2.5", "-999"], "a.jsonl": [-999.0, 2.5, -999]}[name]
    rows = [{"x": x, "y": y} for x, y in zip(cells, "abb", strict=True)]
    options = {"train": write_table(tmp_path / name, rows), "missing": [missing], "label": "y"}
    assert load_data("data", options).rows[:, 0].isnan().tolist() == [True, False, True]


def test_unlabelled_values_are_nan(tmp_path):
    train = write_table(tmp_path / "a.csv", [{"x": 1, "y": 0.5}, {"x": 2, "y": 1.5}])
    more = write_table(tmp_path / "b.csv", [{"x": 3}])
    splits = load_data("data", {"train": train, "unlabelled": more, "label": "y"})
    assert splits.kind == "values"
    assert splits.train[2][1].isnan()


def test_lines_of_a_text_file_are_unlabelled_texts(tmp_path):
    train = write_table(tmp_path / "a.csv", [{"t": "one", "y": "a"}, {"t": "two", "y": "b"}])
    (tmp_path / "more.txt").write_text("three\n\nfour\r\n")
    options = {"train": train, "unlabelled": str(tmp_path / "more.txt"), "text": "t", "label": "y"}
    splits = load_data("data", options)
    assert [each[0] for each in (splits.train[at] for at in range(4))] == [
        "one",
        "two",
        "three",
        "four",
    ]
    assert splits.train[3][1] == -100


def test_data_without_labels_has_inputs_alone(tmp_path):
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    splits = load_data("data", {"train": str(tmp_path / "a.txt")})
    assert splits.train[0] == "one"
    assert splits.kind is None
    table = load_data("data", {"train": write_table(tmp_path / "b.csv", [{"x": 1}, {"x": 2}])})
    assert table.train[0][0].tolist() == [1]


def test_domains_come_from_a_column(tmp_path):
    rows = [{"x": at, "from": "ab"[at % 2], "y": "pq"[at % 3 > 0]} for at in range(8)]
    path = write_table(tmp_path / "a.csv", rows)
    splits = load_data("data", {"train": path, "domain": "from", "label": "y"})
    assert [splits.train[at][0][0].item() for at in range(8)] == list(range(8))
    assert [splits.train[at][2] for at in range(8)] == list("abababab")
    assert table_of(splits.train) is not None  # which is read by whole batches


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b""),
        ("a.csv", b"x,y\n"),
        ("a.csv", b"x,y\n1,\n"),
        ("a.jsonl", b'{"x": 1}\n[1]\n'),
        ("a.jsonl", b'{"x": 1\n'),
        ("a.json", b'{"x": 1}'),
        ("a.json", b"[" * 100_000),
        ("a.parquet", b"PAR1"),
        ("a.csv.gz", b"x,y"),
    ],
)
def test_broken_files_are_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=r"a\.csv|a\.json|a\.parquet"):
        load_data("data", {"train": str(tmp_path / name), "label": "y"})


def test_options_of_pandas_that_do_not_exist_are_refused(tmp_path):
    path = write_table(tmp_path / "a.csv")
    with pytest.raises(DataError, match="seperator"):
        load_data("data", {"train": path, "label": "pay", "read": {"seperator": ";"}})


def test_missing_file_is_refused_with_the_nearest(tmp_path):
    write_table(tmp_path / "people.csv")
    with pytest.raises(DataError, match=r"did you mean 'people.csv'"):
        load_data("data", {"train": str(tmp_path / "poeple.csv")})


def test_class_of_the_test_data_alone_is_refused(tmp_path):
    train = write_table(tmp_path / "a.csv")
    test = write_table(tmp_path / "b.csv", [{**ROWS[0], "pay": "lows"}])
    with pytest.raises(DataError, match=r"'lows' in row 1 of b.csv; did you mean 'low'"):
        load_data("data", {"train": train, "test": test, "label": "pay"})
    options = {"train": train, "test": test, "label": "pay", "classes": ["low", "lows", "high"]}
    splits = load_data("data", options)
    assert splits.test[0][1] == 1
    assert "without training data: lows" in splits.warnings[0]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"txt": "a"}, "did you mean 'text'"),
        ({"text": "job", "columns": "age"}, "one of text, image and columns"),
        ({"val": 1.5}, "between 0 and 1"),
        ({"val": 0.5, "test": 0.6}, "leave some of `train`"),
        ({"classes": ["a", "a"], "label": "pay"}, "once"),
        ({"kind": "classes"}, "name their column"),
        ({"split": {"sed": 1}}, "did you mean 'seed'"),
        ({"unlabelled": 0.2}, "must be a file or a folder, got 0.2"),
        ({"label": "age", "kind": "values", "classes": ["31", "44"]}, "`classes` must be left out"),
        ({"label": ["age", "pay"], "kind": "binary", "classes": ["a"]}, "labels are binary"),
    ],
)
def test_options_that_contradict_are_refused(tmp_path, options, expected):
    path = write_table(tmp_path / "a.csv")
    with pytest.raises(ArgumentError, match=expected):
        load_data("data", {"train": path, **options})


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"columns": ["age", "pay"], "label": "pay"}, "must not contain the label"),
        ({"label": "job", "domain": "jobs"}, "did you mean 'job'"),
        ({"label": "pay", "domain": "job"}, "row 3"),
        ({"label": "pay", "categories": ["jop"]}, "did you mean 'job'"),
    ],
)
def test_columns_that_do_not_fit_are_refused(tmp_path, options, expected):
    path = write_table(tmp_path / "a.jsonl")
    with pytest.raises(DataError, match=expected):
        load_data("data", {"train": path, **options})


def test_misspelt_label_and_missing_columns_are_refused(tmp_path):
    train = write_table(tmp_path / "a.csv")
    test = write_table(tmp_path / "b.csv", [{"age": 1, "job": "cook", "pay": "low"}])
    with pytest.raises(DataError, match="did you mean 'pay'"):
        load_data("data", {"train": train, "label": "pays"})
    with pytest.raises(DataError, match=r"b.csv must have .* none called 'since'"):
        load_data("data", {"train": train, "test": test, "label": "pay"})


def test_domains_do_not_depend_on_how_their_numbers_are_written(tmp_path):
    rows = [{"t": f"{at}", "d": at % 2, "y": "ab"[at // 2 % 2]} for at in range(8)]
    train = write_table(tmp_path / "a.jsonl", rows)
    test = write_table(tmp_path / "b.jsonl", [{**each, "d": float(each["d"])} for each in rows])
    options = {"train": train, "test": test, "text": "t", "label": "y", "domain": "d"}
    splits = load_data("data", options)
    assert [each[2] for each in splits.test] == [each[2] for each in splits.train] == ["0", "1"] * 4


@pytest.mark.parametrize("option", [{"categories": "y"}, {"classes": ["a", "b"]}])
def test_an_option_that_the_data_has_no_use_for_is_refused(tmp_path, option):
    train = write_table(tmp_path / "a.csv", [{"t": "one", "y": "a"}, {"t": "two", "y": "b"}])
    with pytest.raises(ArgumentError, match=f"`data.{next(iter(option))}`"):
        load_data("data", {"train": train, "text": "t", **option})


def test_other_files_give_inputs_whatever_their_labels_are(tmp_path):
    splits = load_data("data", {"train": write_table(tmp_path / "a.csv"), "label": "pay"})
    rows = [{"since": "1970-01-02", "job": "smith", "age": 7, "note": "x"}, {}, {"age": 8}]
    examples, frame = splits.examples(write_table(tmp_path / "b.csv", rows))
    assert examples[0][0].tolist()[::2] == [7, 1]
    assert len(examples) == len(frame) == 2
    assert list(frame.columns) == ["since", "job", "age", "note"]
    examples, frame = splits.examples(write_table(tmp_path / "c.jsonl"))
    found = torch.stack([each for (each,) in examples])
    torch.testing.assert_close(found, splits.train[:][0], rtol=0, atol=0, equal_nan=True)
    assert frame["pay"].tolist() == ["low", "high", "high", "low"]


def test_texts_of_other_files(tmp_path):
    train = write_table(tmp_path / "a.csv", [{"t": "one", "y": "a"}, {"t": "two", "y": "b"}])
    splits = load_data("data", {"train": train, "text": "t", "label": "y"})
    (tmp_path / "b.txt").write_text("three\n\nfour\n")
    examples, frame = splits.examples(str(tmp_path / "b.txt"))
    assert list(examples) == frame["text"].tolist() == ["three", "four"]


def test_other_files_have_domains_where_no_cell_is_empty(tmp_path):
    rows = [f"text {at},{'ab'[at % 2]},{'xz'[at % 3 % 2]}" for at in range(20)]
    (tmp_path / "a.csv").write_text("\n".join(["t,y,dom", *rows]))
    options = {"train": str(tmp_path / "a.csv"), "text": "t", "label": "y", "domain": "dom"}
    splits = load_data("data", options)
    (tmp_path / "b.csv").write_text("t,dom\none,x\ntwo,z\n")
    assert [each.domain for each in splits.examples(str(tmp_path / "b.csv"))[0]] == ["x", "z"]
    (tmp_path / "b.csv").write_text("t,dom\none,x\ntwo,\n")
    assert [*splits.examples(str(tmp_path / "b.csv"))[0]] == ["one", "two"]


@pytest.mark.parametrize(
    ("header", "row", "label", "note"),
    [
        ("x,name,y", "{0},{1},name {0}", "y", "'y' are 60 classes in 60 rows"),
        ("x,split,y", "{0},{2},{1}", "y", "'split' seems to say"),
        ("5.1,3.5,0", "{0},{0},{1}", "0", "first line of a.csv was read as the names"),
        ("5.1,3.5,setosa", "{0},{0},{1}", "setosa", "first line of a.csv was read as the names"),
        ("x,1990,y", "{0},{0},{1}", "y", None),
    ],
)
def test_what_is_likely_a_mistake_is_told_in_one_line(tmp_path, header, row, label, note):
    parts = ["train", "train", "test"]
    rows = [row.format(at * 1.5, "ab"[at % 2], parts[at % 3]) for at in range(60)]
    (tmp_path / "a.csv").write_text("\n".join([header, *rows]))
    found = load_data("data", {"train": str(tmp_path / "a.csv"), "label": label})
    told = [each for each in found.warnings if note is not None and note in each]
    assert (len(told), len(found.warnings)) == ((1, 1) if note else (0, 0))
