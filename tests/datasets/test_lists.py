"""Cells with several labels, tables by gzip, spreadsheets, texts that look missing, groups."""

import gzip
import json
import re

import pytest
import torch

from tutelage.data.collate import collate
from tutelage.datasets import load_data
from tutelage.errors import DataError


def lines(path, rows):
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


def test_lists_are_a_binary_label_for_each_name(tmp_path):
    rows = [{"t": "a", "y": ["red", "new"]}, {"t": "b", "y": []}, {"t": "c", "y": None}]
    rows += [{"t": "d", "y": ["new"]}]
    options = {"train": lines(tmp_path / "a.jsonl", rows), "text": "t", "label": "y"}
    splits = load_data("data", options)
    assert (splits.kind, splits.classes, splits.labels) == ("binary", ("new", "red"), ("y",))
    labels = [splits.train[at][1].tolist() for at in range(4)]
    assert labels == [[1, 1], [0, 0], [-100, -100], [1, 0]]
    assert "lists of 2 labels (new, red)" in splits.described
    (tmp_path / "more.txt").write_text("e\n")
    more = load_data("data", options | {"unlabelled": str(tmp_path / "more.txt")})
    assert more.train[4][1].tolist() == [-100, -100]
    named = load_data("data", options | {"classes": ["red", "new", "old"]})
    assert named.train[3][1].tolist() == [0, 1, 0]


def test_tags_are_a_label_for_each_word(tmp_path):
    rows = [{"t": "a b c", "y": "O B-X I-X"}, {"t": "d", "y": "O"}]
    options = {"train": lines(tmp_path / "a.jsonl", rows), "text": "t", "label": "y"}
    splits = load_data("data", options | {"kind": "tags"})
    assert splits.classes == ("B-X", "I-X", "O")
    assert [splits.train[at][1].tolist() for at in range(2)] == [[2, 0, 1], [2]]
    texts, labels = collate([splits.train[0], splits.train[1]])
    assert list(texts) == ["a b c", "d"]
    assert labels.tolist() == [[2, 0, 1], [2, -100, -100]]


@pytest.mark.parametrize("kind", ["tags", None])
def test_class_ids_in_lists_are_in_the_order_of_numbers(tmp_path, kind):
    rows = [{"t": "a b", "y": [at, (at + 1) % 12]} for at in range(12)]
    options = {"train": lines(tmp_path / "a.jsonl", rows), "text": "t", "label": "y", "kind": kind}
    assert load_data("data", options).classes == tuple(map(str, range(12)))


@pytest.mark.parametrize(
    ("rows", "kind", "message"),
    [
        ([{"t": "a b", "y": ["O"]}], "tags", "1 tags and 2 words in row 1"),
        ([{"t": "a", "y": ["O"]}, {"t": "b", "y": None}], "tags", "got none in row 2"),
        ([{"t": "a b", "y": ["O", "O"]}], None, "write kind: tags"),
        ([{"t": "a", "y": ["x"]}, {"t": "b", "y": "x"}], None, "lists of names.*'x' in row 2"),
        ([{"t": "a", "y": ["x"]}], "classes", "leave `kind` out"),
    ],
)
def test_wrong_lists_are_refused_with_their_row(tmp_path, rows, kind, message):
    options = {"train": lines(tmp_path / "a.jsonl", rows), "text": "t", "label": "y", "kind": kind}
    with pytest.raises(DataError, match=message):
        load_data("data", options)


def test_unknown_names_are_refused(tmp_path):
    train = lines(tmp_path / "a.jsonl", [{"t": "a", "y": ["red"]}])
    test = lines(tmp_path / "b.jsonl", [{"t": "b", "y": ["rad"]}])
    with pytest.raises(DataError, match=r"got 'rad' in row 1 of b\.jsonl; did you mean 'red'"):
        load_data("data", {"train": train, "test": test, "text": "t", "label": "y"})


def test_gzip_is_read(tmp_path):
    text = "x,y\n1,a\n2,b\n"
    (tmp_path / "a.csv").write_text(text)
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(text.encode("utf-8-sig")))
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(b'{"x":1,"y":"a"}\n{"x":2,"y":"b"}'))
    found = [
        load_data("data", {"train": str(tmp_path / name), "label": "y"}).train[:]
        for name in ("a.csv", "b.csv.gz", "c.jsonl.gz")
    ]
    for rows, labels in found:
        assert torch.equal(rows, found[0][0])
        assert torch.equal(labels, found[0][1])
    (tmp_path / "d.csv.gz").write_bytes(gzip.compress(text.encode())[:-6])
    with pytest.raises(DataError, match="whole file of gzip"):
        load_data("data", {"train": str(tmp_path / "d.csv.gz"), "label": "y"})


def test_a_spreadsheet_is_refused_with_the_way_out(tmp_path):
    (tmp_path / "a.xlsx").write_bytes(b"PK")
    with pytest.raises(DataError, match=re.escape('to_csv("a.csv", index=False)')):
        load_data("data", {"train": str(tmp_path / "a.xlsx"), "label": "y"})


def test_what_looks_missing_is_a_category_and_told(tmp_path):
    """So a teacher that was fitted with "?" is asked with it."""
    (tmp_path / "a.csv").write_text("job,x,y\ncook,1,a\n?,2,b\n?,3,a\n,4,b\n")
    options = {"train": str(tmp_path / "a.csv"), "label": "y"}
    splits = load_data("data", options)
    assert splits.columns.named(splits.rows)["job"].tolist() == ["cook", "?", "?", None]
    [warning] = splits.warnings
    assert "'job' has '?' in 2 of 4 rows" in warning
    assert "write missing: ['?']" in warning
    named = load_data("data", options | {"missing": ["?"]})
    assert not named.warnings
    assert named.columns.named(named.rows)["job"].tolist() == ["cook", None, None, None]


def test_what_looks_missing_among_numbers_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("x,y\n1,a\nNA,b\n3,a\n")
    with pytest.raises(DataError, match=r"'NA' in row 2 .* name it in `missing`"):
        load_data("data", {"train": str(tmp_path / "a.csv"), "label": "y"})


def test_groups_of_the_test_data(tmp_path):
    text = "who,x,y\n" + "".join(f"p{n // 4},{n},{'ab'[n % 2]}\n" for n in range(40))
    (tmp_path / "a.csv").write_text(text)
    options = {"train": str(tmp_path / "a.csv"), "label": "y", "split": {"group": "who"}}
    splits = load_data("data", options | {"test": 0.2})
    expected = [f"p{int(row[0]) // 4}" for row, _ in splits.test]
    assert list(splits.groups) == expected
    (tmp_path / "b.csv").write_text("x,y\n1.5,a\n2.5,b\n")
    apart = load_data("data", options | {"test": str(tmp_path / "b.csv")})
    assert apart.groups is None
    assert any("test has no column 'who'" in each for each in apart.warnings)
