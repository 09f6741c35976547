"""Files of texts as people have them: encodings, quotes, gaps, equal texts."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.data.dataset_fingerprint import examples_fingerprint
from tutelage.datasets import load_data
from tutelage.datasets.examples import Examples
from tutelage.errors import DataError

COLUMNS = {"text": "text", "label": "label"}


def write_lines(path, lines, encoding="utf-8"):
    path.write_bytes("".join(f"{each}\n" for each in lines).encode(encoding))
    return path


def texts_of(path):
    return [text for text, _ in load_data("data", {"train": path, **COLUMNS}).train]


@given(st.integers(0, 199), st.sampled_from(["text", "label"]))
@settings(max_examples=10, deadline=None)
def test_the_fingerprint_is_of_every_text_and_label(at, column):
    rows = [{"text": f"number {row}", "label": str(row % 3)} for row in range(200)]
    changed = [dict(each) for each in rows]
    changed[at][column] = str((at + 1) % 3)
    prints = []
    with TemporaryDirectory() as folder:
        for each in (rows, rows, changed):
            path = Path(folder) / "texts.jsonl"
            path.write_text("\n".join(map(json.dumps, each)))
            prints.append(examples_fingerprint(load_data("data", {"train": path, **COLUMNS}).train))
    first, again, other = prints
    assert first == again != other
    assert not first[1]


def test_the_content_is_not_that_of_what_a_data_set_stands_around(tmp_path):
    class Upper(Examples):
        def __getitem__(self, index):
            text, label = super().__getitem__(index)
            return text.upper(), label

    class Around:
        def __init__(self, inside):
            self.inside = inside

        def __len__(self):
            return len(self.inside)

        def __getitem__(self, index):
            text, label = self.inside[index]
            return text.upper(), label

        def __getattr__(self, name):
            return getattr(self.inside, name)

    path = write_lines(tmp_path / "a.csv", ["text,label", "x,a", "y,b"])
    train = load_data("data", {"train": path, **COLUMNS}).train
    others = [Upper(train.inputs, train.labels), Around(train)]
    assert len({examples_fingerprint(each)[0] for each in (train, *others)}) == 2


def test_equal_texts_of_two_classes_are_told(tmp_path):
    path = write_lines(tmp_path / "a.csv", ["text,label", "x,1", "y,2", "x,2", "y,2", "x,"])
    (told,) = load_data("data", {"train": path, **COLUMNS}).warnings
    assert "equal inputs of train with different labels: 1, such as 'x'" in told


def test_quotes_of_a_tsv_are_those_of_texts_where_they_are_no_others(tmp_path):
    lines = ["text\tlabel", '"so" she said\ta', 'an inch is 1"\tb', "", '"all"\ta']
    assert texts_of(write_lines(tmp_path / "raw.tsv", lines)) == [
        '"so" she said',
        'an inch is 1"',
        '"all"',
    ]
    lines = ["text\tlabel", '"a ""b"" c"\ta', '"of two\nlines"\tb']
    assert texts_of(write_lines(tmp_path / "quoted.tsv", lines)) == ['a "b" c', "of two\nlines"]
    lines = ["text\tlabel", '"a ""b"" c"\ta', '"so" she said\tb']
    with pytest.raises(DataError, match="in all cells or in none"):
        texts_of(write_lines(tmp_path / "both.tsv", lines))
    lines = ["text\tlabel", '"so" she said\ta', "one cell"]
    with pytest.raises(DataError, match=r"2 cells in every row.* got 1 in line 3"):
        texts_of(write_lines(tmp_path / "short.tsv", lines))


@pytest.mark.parametrize(
    ("encoding", "where", "likely"),
    [("latin-1", "line 3", "WINDOWS-1252"), ("utf-16", "line 1", "UTF-16")],
)
@pytest.mark.parametrize("name", ["a.csv", "a.txt", "a.jsonl"])
def test_another_encoding_is_named_with_what_to_do(tmp_path, name, encoding, where, likely):
    path = write_lines(tmp_path / name, ["text,label", "a,b", "é,b"], encoding)
    with pytest.raises(DataError, match=rf"{where}.*iconv -f {likely} -t UTF-8 {path}"):
        load_data("data", {"train": path, **COLUMNS})


def test_all_gaps_of_texts_are_counted(tmp_path):
    path = write_lines(tmp_path / "a.csv", ["text,label", "x,1", ",1", "y,2", "  ,2"])
    with pytest.raises(DataError, match=r"nothing in row 2 of a.csv .*1 more"):
        texts_of(path)


def test_lines_of_texts_have_no_labels(tmp_path):
    path = write_lines(tmp_path / "a.txt", ["one", "two"])
    with pytest.raises(DataError, match=r"no columns.*\.csv, \.tsv or \.jsonl"):
        load_data("data", {"train": path, "label": "label"})
