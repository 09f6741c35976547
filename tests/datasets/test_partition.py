"""Shares of the training data: seeded, stratified, grouped, with equal texts in one part."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.datasets import load_data
from tutelage.datasets.partition import partition
from tutelage.errors import ArgumentError, DataError


@given(
    units=st.lists(st.integers(0, 12), min_size=30, max_size=80),
    shares=st.sampled_from([{"val": 0.2}, {"test": 0.3, "val": 0.1}]),
    seed=st.integers(0, 99),
)
def test_units_are_never_divided_and_every_row_is_in_one_part(units, shares, seed):
    try:
        parts = partition(units, None, shares, seed)
    except DataError:
        return  # a part would have had none
    rows = np.concatenate(list(parts.values()))
    assert sorted(rows) == list(range(len(units)))
    found = [{units[row] for row in part} for part in parts.values()]
    assert sum(map(len, found)) == len(set(units))


@given(counts=st.lists(st.integers(1, 40), min_size=2, max_size=8), seed=st.integers(0, 99))
def test_every_class_has_its_share_and_stays_in_train(counts, seed):
    labels = np.repeat(np.arange(len(counts)), counts)
    if len(labels) < 10:
        return
    parts = partition(range(len(labels)), labels.tolist(), {"test": 0.2, "val": 0.1}, seed)
    assert set(labels[parts["train"]]) == set(range(len(counts)))
    found = Counter(labels[parts["test"]])
    assert all(abs(found[label] - 0.2 * count) <= 1 for label, count in enumerate(counts))
    assert abs(len(parts["test"]) - 0.2 * len(labels)) <= 1 + len(counts)


def test_seed_decides():
    first, again, other = (partition(range(50), None, {"val": 0.2}, seed) for seed in (1, 1, 2))
    assert first["val"].tolist() == again["val"].tolist() != other["val"].tolist()
    assert len(first["val"]) == 10


def test_part_without_examples_is_refused():
    with pytest.raises(DataError, match="`val` must have at least one example"):
        partition([0] * 9, None, {"val": 0.5}, 0)


def write(path, rows):
    path.write_text("\n".join(["x,who,y", *(",".join(map(str, row)) for row in rows)]))
    return str(path)


def test_groups_stay_together(tmp_path):
    path = write(tmp_path / "a.csv", [(at, at // 4, "pq"[at % 2]) for at in range(40)])
    splits = load_data(
        "data", {"train": path, "label": "y", "val": 0.2, "test": 0.3, "split": {"group": "who"}}
    )
    parts = [
        {int(part[at][0][0].item()) // 4 for at in range(len(part))}
        for part in (splits.train, splits.val, splits.test)
    ]
    assert [len(each) for each in parts] == [5, 2, 3]
    assert splits.columns.inputs.names == ("x",)


def test_column_says_which_part_a_row_is_of(tmp_path):
    names = ["train", "Validation", "test", "train"]
    path = write(tmp_path / "a.csv", [(at, names[at % 4], "pq"[at % 3 > 0]) for at in range(40)])
    options = {"train": path, "label": "y", "split": {"column": "who"}}
    splits = load_data("data", options)
    assert [len(each) for each in (splits.train, splits.val, splits.test)] == [20, 10, 10]
    assert splits.test[:][0][:, 0].tolist() == list(range(2, 40, 4))
    assert splits.columns.names == ("x",)
    for test in (path, 0.2):
        with pytest.raises(ArgumentError, match="given once"):
            load_data("data", {**options, "test": test})


def test_share_is_taken_of_the_rows_of_train(tmp_path):
    path = write(
        tmp_path / "a.csv", [(at, ["train", "test"][at % 2], "pq"[at // 2 % 2]) for at in range(80)]
    )
    splits = load_data(
        "data", {"train": path, "label": "y", "val": 0.2, "split": {"column": "who"}}
    )
    assert [len(each) for each in (splits.train, splits.val, splits.test)] == [32, 8, 40]
    assert not splits.val[:][0].remainder(2).any()


@pytest.mark.parametrize(
    ("name", "expected"), [("trian", "'trian' in row 1"), ("test", "got none")]
)
def test_column_with_other_parts_is_refused(tmp_path, name, expected):
    path = write(tmp_path / "a.csv", [(at, name, "pq"[at % 2]) for at in range(9)])
    with pytest.raises(DataError, match=expected):
        load_data("data", {"train": path, "label": "y", "split": {"column": "who"}})


def test_equal_rows_of_a_table_are_examples_of_their_own(tmp_path):
    """With few different rows a fraction would otherwise hold one of nine, or none."""
    path = write(tmp_path / "a.csv", [(at % 3, "z", "pq"[at % 2]) for at in range(90)])
    splits = load_data("data", {"train": path, "label": "y", "val": 0.1, "test": 0.2})
    assert [len(each) for each in (splits.train, splits.val, splits.test)] == [63, 9, 18]
    assert set(splits.val[:][0][:, 0].tolist()) == {0, 1, 2}


def test_rare_class_is_in_both_parts_if_stratified(tmp_path):
    path = write(
        tmp_path / "a.csv", [(at, "z", "rare" if at < 5 else "often") for at in range(100)]
    )
    for seed in range(5):
        options = {"train": path, "label": "y", "val": 0.2, "split": {"seed": seed}}
        labels = load_data("data", options).val[:][1]
        assert labels.tolist().count(1) == 1


def test_codes_of_categories_do_not_depend_on_the_split(tmp_path):
    rows = [(at * 0.5, f"c{at * 7 % 17:02}", "pq"[at % 2]) for at in range(60)]
    path = write(tmp_path / "a.csv", rows)
    options = {"train": path, "label": "y", "val": 0.4, "test": 0.3}
    found = [load_data("data", {**options, "split": {"seed": seed}}) for seed in range(4)]
    assert len({each.columns for each in found}) == 1
    for each in found:
        for part in (each.train, each.val, each.test):
            for x, code in part[:][0].tolist():
                assert each.columns.columns[1].categories[int(code)] == rows[int(2 * x)][1]


def test_a_category_without_training_rows_has_no_weights_of_its_own(tmp_path):
    rows = [(at * 0.5, "b" if at == 0 else "a", "pq"[at % 2]) for at in range(20)]
    path = write(tmp_path / "a.csv", rows)
    found = set()
    for seed in range(20):
        options = {"train": path, "label": "y", "val": 0.5, "split": {"seed": seed}}
        splits = load_data("data", options)
        found.add(held_out := 0.0 in splits.val[:][0][:, 0])
        prepare = splits.table_inputs()
        assert prepare.features == (2 if held_out else 3)
        if held_out:
            unseen = splits.val[:][0][splits.val[:][0][:, 0] == 0]
            assert prepare(unseen)[0, 1:].tolist() == [0]
    assert found == {True, False}


@pytest.mark.parametrize(
    ("split", "label", "expected"),
    [
        ({"stratified": True}, "x", "needs labels that are classes"),
        ({"group": "whom"}, "y", "did you mean 'who'"),
        ({"group": "who"}, "y", "never empty"),
    ],
)
def test_splits_that_do_not_fit_are_refused(tmp_path, split, label, expected):
    rows = [(at + 0.5, "" if at == 3 else "a", "pq"[at % 2]) for at in range(10)]
    options = {"train": write(tmp_path / "a.csv", rows), "label": label, "val": 0.2, "split": split}
    with pytest.raises((ArgumentError, DataError), match=expected):
        load_data("data", options)


def grouped(path, *groups):
    return write(path, [(at, who, "pq"[at % 2]) for at, who in enumerate(groups)])


def test_groups_of_several_files_are_compared(tmp_path):
    train = grouped(tmp_path / "a.csv", "1", "1", "2", "3")
    test = grouped(tmp_path / "b.csv", "4", "2.0", "2.0", "5", "")
    apart = grouped(tmp_path / "c.csv", "7", "8")
    split = {"group": "who"}
    options = {"train": train, "label": "y", "split": split}
    with pytest.raises(DataError, match=r"never empty, got 'who', which is in row 5 of b.csv"):
        load_data("data", {**options, "test": test})
    test = grouped(tmp_path / "b.csv", "4", "2.0", "2.0", "5")
    expected = (
        "1 of the 3 groups of test by 'who' in train too, such as '2', with 2 of the 4 examples "
        "of test"
    )
    with pytest.raises(DataError, match=rf"{expected}; .* allow_overlap: true in `split`"):
        load_data("data", {**options, "test": test})
    told = load_data("data", {**options, "test": test, "split": {**split, "allow_overlap": True}})
    assert any(each.startswith(expected) for each in told.warnings)
    assert told.groups == ("4", "2", "2", "5")
    with pytest.raises(DataError, match="groups of test by 'who' in val too"):
        load_data("data", {**options, "val": test, "train": apart, "test": test})
    with pytest.raises(DataError, match="groups of val by 'who' in unlabelled too"):
        load_data("data", {**options, "train": apart, "unlabelled": train, "val": test})
    fine = load_data("data", {**options, "unlabelled": train, "test": apart})
    assert not any("groups" in each for each in fine.warnings)


def test_groups_of_the_column_that_divides_are_compared(tmp_path):
    path = tmp_path / "a.csv"
    rows = [f"{at},{at // 3},{('train', 'test')[at % 2]},{'pq'[at % 2]}" for at in range(12)]
    path.write_text("\n".join(["x,who,part,y", *rows]))
    options = {"train": str(path), "label": "y", "classes": ["p", "q"]}
    with pytest.raises(DataError, match="4 of the 4 groups of test by 'who' in train too"):
        load_data("data", {**options, "split": {"column": "part", "group": "who"}})


def test_validation_data_without_groups_is_told(tmp_path):
    train = grouped(tmp_path / "a.csv", "1", "1", "2", "3")
    (tmp_path / "b.csv").write_text("x,y\n1,p\n2,q\n")
    options = {"train": train, "label": "y", "split": {"group": "who"}}
    found = load_data("data", {**options, "val": str(tmp_path / "b.csv")}).warnings
    assert any("val has no column 'who'" in each for each in found)
