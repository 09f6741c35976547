"""Cells with several labels: names of those that are true, or a tag for each word; groups."""

import json

import pytest

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
        ([{"t": "a", "y": ["O"]}, {"t": "b", "y": None}], "tags", "0 tags and 1 words in row 2"),
        (
            [{"t": "a", "y": ["x"]}, {"t": "b", "y": 3}],
            None,
            "lists in all rows, or in none, got 3",
        ),
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
