"""Files of any content are read, or refused by an error of ours."""

import contextlib
import json
import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.datasets import DataOptions, load_data
from tutelage.errors import ArgumentError, TutelageError

SUFFIXES = ("csv", "tsv", "json", "jsonl", "npz", "tar", "parquet", "txt", "png")
CELLS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["1", "nan", "inf", "2024-01-01", "9999-99-99", "-100", "", "1e400", "0x10"]),
    st.lists(st.integers(), max_size=2),
)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "label": st.sampled_from(["y", "x", "absent", ["x", "y"]]),
        "text": st.sampled_from(["x", "y"]),
        "image": st.just("x"),
        "columns": st.sampled_from([["x"], [], "x", ["absent"]]),
        "categories": st.just(["x"]),
        "kind": st.sampled_from(["classes", "binary", "values"]),
        "classes": st.just(["1", "2"]),
        "missing": st.just([1, "nan"]),
        "domain": st.sampled_from(["x", "folder"]),
        "val": st.sampled_from([0.2, 0.9]),
        "test": st.just(0.3),
        "image_size": st.just(8),
        "split": st.sampled_from([{"group": "x"}, {"stratified": True}, {"seed": 3}]),
    },
)


TEXTS = [
    "", "1", "0", "1.0", "1.234", "a", "A", " b ", "True", "2024-01-01", "20240101", "$1", "1,5",
    "x", '"q"', "[1]", "a;b", "|", "nan", "-1", "1e308", "-1.7e308",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    logging.getLogger("tutelage").setLevel(logging.ERROR)
    yield tmp_path_factory.mktemp("hostile")
    logging.getLogger("tutelage").setLevel(logging.NOTSET)


def read(path, options):
    """Load data and all of its examples."""
    try:
        splits = load_data("data", {"train": str(path), **options})
        for part in (splits.train, splits.val, splits.test):
            assert part is None or [part[at] for at in range(len(part))]
        if splits.columns is not None:
            splits.table_inputs()(splits.rows)
            splits.columns.frame(splits.train[:][0])
    except TutelageError:
        pass


@given(content=st.binary(max_size=60), suffix=st.sampled_from(SUFFIXES), options=OPTIONS)
@settings(max_examples=60)
def test_any_bytes(folder, content, suffix, options):
    path = folder / f"a.{suffix}"
    path.write_bytes(content)
    read(path, options)


@given(
    rows=st.lists(st.fixed_dictionaries({}, optional={"x": CELLS, "y": CELLS}), max_size=8),
    options=OPTIONS,
)
@settings(max_examples=80)
def test_any_cells(folder, rows, options):
    path = folder / "a.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    read(path, options)


@given(
    rows=st.lists(st.lists(st.sampled_from(TEXTS), min_size=2, max_size=3), min_size=1),
    header=st.sampled_from(["x,y", "x;y", "0,1", "x,y,z", "1,a", "x|y", ",x"]),
    separator=st.sampled_from(",;|"),
    options=OPTIONS,
)
@settings(max_examples=80)
def test_any_csv(folder, rows, header, separator, options):
    path = folder / "a.csv"
    path.write_text("\n".join([header, *map(separator.join, rows)]))
    for test in ({}, {"test": str(path)}):
        read(path, {**options, **test})


@given(
    given=st.dictionaries(
        st.sampled_from([*DataOptions.model_fields, "lable"]),
        st.one_of(CELLS, st.dictionaries(st.text(max_size=3), CELLS, max_size=2)),
        max_size=4,
    )
)
@settings(max_examples=80)
def test_any_options(given):
    with contextlib.suppress(ArgumentError):
        DataOptions.of("data", given)


def test_two_hundred_columns(folder):
    names = [f"c{at}" for at in range(200)]
    lines = [",".join([*names, "y"])]
    lines += [
        ",".join([*(str(row * at % 7) for at in range(200)), "ab"[row % 2]]) for row in range(40)
    ]
    (folder / "wide.csv").write_text("\n".join(lines))
    splits = load_data("data", {"train": str(folder / "wide.csv"), "label": "y"})
    assert splits.train[3][0].shape == (200,)
    assert splits.table_inputs().features == 200
