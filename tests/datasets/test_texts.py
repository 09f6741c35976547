"""Files of texts as people have them: encodings, quotes, gaps, equal texts."""

import pytest

from tutelage.datasets import load_data
from tutelage.errors import DataError

COLUMNS = {"text": "text", "label": "label"}


def write_lines(path, lines, encoding="utf-8"):
    path.write_bytes("".join(f"{each}\n" for each in lines).encode(encoding))
    return path


def texts_of(path):
    return [text for text, _ in load_data("data", {"train": path, **COLUMNS}).train]


def test_equal_texts_stay_in_one_part(tmp_path):
    rows = [f"text {at % 20},{'ab'[at % 2]}" for at in range(80)]
    path = write_lines(tmp_path / "a.csv", ["text,label", *rows])
    splits = load_data("data", {"train": path, "val": 0.25, **COLUMNS})
    found = [{text for text, _ in part} for part in (splits.train, splits.val)]
    assert not found[0] & found[1]
    assert (len(splits.train), len(splits.val)) == (60, 20)


def test_quotes_of_a_tsv_are_those_of_texts_where_they_are_no_others(tmp_path):
    lines = ["text\tlabel", '"so" she said\ta', 'an inch is 1"\tb', "", 'all "\ta']
    found = ['"so" she said', 'an inch is 1"', 'all "']
    assert [
        each.replace('"', "") for each in texts_of(write_lines(tmp_path / "raw.tsv", lines))
    ] == [each.replace('"', "") for each in found]
    lines = ["text\tlabel", '"a ""b"" c"\ta', '"of two\nlines"\tb']
    assert texts_of(write_lines(tmp_path / "quoted.tsv", lines)) == ['a "b" c', "of two\nlines"]
    lines = ["text\tlabel", '"Great film\ta', 'I liked it"\tb', "fine\ta", "bad\tb"]
    assert texts_of(write_lines(tmp_path / "pairs.tsv", lines))[:2] == [
        '"Great film',
        'I liked it"',
    ]


def test_a_few_empty_texts_are_left_out_and_counted(tmp_path):
    path = write_lines(tmp_path / "a.csv", ["text,label", "x,1", ",1", "y,2", "  ,2"])
    splits = load_data("data", {"train": path, **COLUMNS})
    assert [text for text, _ in splits.train] == ["x", "y"]
    assert splits.warnings == ("2 empty texts of a.csv are left out",)
    path = write_lines(tmp_path / "b.csv", ["text,label", "x,1", "y,2", *[",1"] * 6])
    with pytest.raises(DataError, match=r"got nan in row 3 of b.csv and 5 more rows without"):
        texts_of(path)


def test_lines_of_texts_have_no_labels(tmp_path):
    path = write_lines(tmp_path / "a.txt", ["one", "two"])
    assert list(load_data("data", {"train": path}).train) == ["one", "two"]
    with pytest.raises(DataError, match=r"`label`: 'label' \(it has 'one'"):
        load_data("data", {"train": path, "label": "label"})


def test_a_txt_file_with_a_column_of_texts_is_a_table(tmp_path):
    path = write_lines(tmp_path / "a.txt", ["id\treview", "1\tgood", "2\tbad, really"])
    assert list(load_data("data", {"train": path, "text": "review"}).train) == [
        "good",
        "bad, really",
    ]
