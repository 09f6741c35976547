"""Categories that the training data does not have are told; other forms of known ones are known."""

import numpy as np
import pandas as pd
import pytest

from tutelage.datasets import load_data
from tutelage.datasets.cells import places
from tutelage.errors import DataError


def write(path, **columns):
    pd.DataFrame(columns).to_csv(path, index=False)
    return str(path)


def test_unseen_categories_are_told_with_column_values_and_number(tmp_path):
    train = write(tmp_path / "a.csv", job=["cook", "smith"] * 4, size=range(8))
    job = ["pilot", "cook", None, "nurse", "pilot", "smith"]
    test = write(tmp_path / "b.csv", job=job, size=range(6))
    splits = load_data("data", {"train": train, "test": test, "unlabelled": test})
    of_test = [each for each in splits.warnings if "test" in each and "'job'" in each]
    assert of_test == [
        "3 of the 6 examples of test have categories in the column 'job' that the training data "
        "does not have: 'pilot' (2), 'nurse' (1); they are read as missing: correct them if they "
        "are written otherwise there"
    ]
    assert sum("'pilot' (2)" in each for each in splits.warnings) == 2  # also of the unlabelled
    assert splits.test[:][0][:, 0].isnan().tolist() == [True, False, True, True, True, False]


def test_unseen_categories_of_a_fraction_are_told(tmp_path):
    jobs = [f"job {at}" for at in range(20)] + ["cook"] * 20
    train = write(tmp_path / "a.csv", job=jobs, size=range(40))
    splits = load_data("data", {"train": train, "val": 0.25, "test": 0.25})
    for name in ("val", "test"):
        lost = int(getattr(splits, name)[:][0][:, 0].isnan().sum())
        assert lost
        assert any(f"{lost} of the 10 examples of {name} have" in each for each in splits.warnings)


def test_known_categories_are_not_told(tmp_path):
    train = write(tmp_path / "a.csv", job=["cook", "smith"] * 4)
    test = write(tmp_path / "b.csv", job=["cook", None])
    found = load_data("data", {"train": train, "test": test}).warnings
    assert not any("categories" in each for each in found)


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ([10, 20, 30, 40], [40, None, 10]),
        ([10, None, 30, 40], [40, 30, 10]),
        ([True, False, True, True], [True, None, False]),
        ([0.5, 1.0, 2.0, 3.5], [1, 2, 1]),
        ([-10, 20, 30, 40], [-10, None, 30]),
    ],
)
@pytest.mark.parametrize("kinds", [("csv", "csv"), ("parquet", "csv"), ("csv", "parquet")])
def test_pandas_writes_one_category_in_several_forms(tmp_path, train, test, kinds):
    paths = []
    for name, cells, kind in zip("ab", (train, test), kinds, strict=True):
        paths.append(str(tmp_path / f"{name}.{kind}"))
        frame = pd.DataFrame({"code": cells * 4, "x": range(4 * len(cells))})
        getattr(frame, f"to_{kind}")(paths[-1], index=False)
    splits = load_data("data", {"train": paths[0], "test": paths[1], "categories": "code"})
    ours, theirs = splits.train[:][0][:, 0], splits.test[:][0][:, 0]
    assert len(splits.columns.columns[0].categories) == len(set(train) - {None})
    code_of = dict(zip(train, ours.tolist(), strict=False))
    expected = [np.nan if each is None else code_of[each] for each in test]
    np.testing.assert_array_equal(theirs[: len(test)].numpy(), expected)
    assert not any("does not have" in each for each in splits.warnings)


def test_what_differs_in_one_file_is_not_merged():
    """Diagnosis codes 250 and 250.0 are different ones."""
    place = places(("250", "250.0", "250.01", "7.0", "x"))
    cells = ("250", "250.0", "250.00", "250.01", "7", 7, 7.0, "07", "7.00", "X", "x ")
    assert list(map(place, cells)) == [0, 1, None, 2, 3, 3, 3, None, 3, None, 4]


def test_what_differs_in_one_file_is_told(tmp_path):
    train = write(tmp_path / "a.csv", code=["1", "1.0", "b", "b"])
    (told,) = [each for each in load_data("data", train).warnings if "alike" in each]
    assert "'code' has '1' and '1.0' as different categories" in told


def test_labels_in_another_form_are_the_same_classes(tmp_path):
    train = write(tmp_path / "a.csv", x=range(8), y=[1, 2] * 4)
    test = write(tmp_path / "b.csv", x=range(3), y=[2, None, 1])
    options = {"train": train, "test": test, "label": "y"}
    splits = load_data("data", options)
    assert splits.classes == ("1", "2")
    assert splits.test[:][1].tolist() == [1, -100, 0]
    back = load_data("data", {**options, "train": test, "test": train, "kind": "classes"})
    assert back.test[:][1].tolist() == [0, 1] * 4
    assert back.classes == ("1", "2")  # though written as 1.0 and 2.0


def test_labels_in_two_forms_in_one_file_are_refused(tmp_path):
    train = write(tmp_path / "a.csv", x=range(8), y=["1", "1.0", "2", "2.0"] * 2)
    options = {"train": train, "label": "y", "kind": "classes"}
    with pytest.raises(DataError, match=r"written in one way, got '1', '1\.0' in a\.csv"):
        load_data("data", options)
    assert load_data("data", {**options, "classes": ["1", "2"]}).train[:][1].tolist()[:4] == [
        0,
        0,
        1,
        1,
    ]


def test_a_column_that_is_empty_in_a_part_is_told(tmp_path):
    train = write(tmp_path / "a.csv", x=range(12), c=["a", "b", None] * 4, d=["2024-01-01"] * 12)
    test = write(tmp_path / "b.csv", x=range(12), c=[None] * 12, d=["2024-01-02"] * 12)
    found = load_data("data", {"train": train, "test": test}).warnings
    assert [each for each in found if "no value" in each] == [
        "test has no value in the column 'c', which the training data has; is it empty in the "
        "file, or under another name?"
    ]
