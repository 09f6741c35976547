"""Arrays in a file become rows, images or texts with labels."""

import numpy as np
import pytest
import torch

from tutelage.datasets import load_data
from tutelage.errors import DataError


def load(path, **arrays):
    np.savez(path, **arrays)
    return load_data("data", {"train": str(path)})


def test_floats_are_rows(tmp_path):
    splits = load(tmp_path / "a.npz", x=np.eye(4), y=np.array([0, 1, 1, 0]))
    row, label = splits.train[1]
    assert torch.equal(row, torch.tensor([0.0, 1, 0, 0]))
    assert (int(label), splits.form, splits.kind) == (1, "arrays", "classes")


def test_bytes_are_images(tmp_path):
    pixels = np.arange(4 * 6 * 5, dtype=np.uint8).reshape(4, 6, 5)
    splits = load(tmp_path / "a.npz", x=pixels, y=np.array([0, 1, 1, 0]))
    assert splits.form == "image"
    assert torch.allclose(
        splits.train[2][0], torch.from_numpy(pixels[2] / 255).float().expand(3, 6, 5)
    )
    coloured = np.random.default_rng(0).integers(0, 255, (4, 3, 6, 5), dtype=np.uint8)
    for x in (coloured, coloured.transpose(0, 2, 3, 1)):
        splits = load(tmp_path / "a.npz", x=x)
        assert torch.allclose(splits.train[1], torch.from_numpy(coloured[1] / 255).float())


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "uint8", "bool"])
def test_labels_do_not_depend_on_the_type_of_their_numbers(tmp_path, dtype):
    y = np.array([[0, 1], [1, 1], [1, 0]])
    splits = load(tmp_path / "a.npz", x=np.eye(3), y=y.astype(dtype))
    assert (splits.kind, splits.train[:][1].tolist()) == ("binary", y.tolist())
    np.savez(tmp_path / "b.npz", x=np.eye(3), y=y[:, 0].astype(dtype))
    classes = load_data("data", {"train": str(tmp_path / "b.npz"), "kind": "classes"}).classes
    assert classes == (("false", "true") if dtype == "bool" else ("0", "1"))


def test_texts_and_names_of_classes(tmp_path):
    splits = load(
        tmp_path / "a.npz", x=np.array(["one", "two", "three"]), y=np.array(["b", "a", "b"])
    )
    assert splits.train[0] == ("one", torch.tensor(1))


def test_several_labels_and_values(tmp_path):
    x = np.zeros((3, 2))
    splits = load(tmp_path / "a.npz", x=x, y=np.array([[1, 0], [0, 0], [0, 1]]))
    assert (splits.kind, splits.train[0][1].tolist()) == ("binary", [1, 0])
    splits = load(tmp_path / "a.npz", x=x, y=np.array([[0.5], [1], [2]]))
    assert (splits.kind, splits.train[0][1].item()) == ("values", 0.5)


def test_labels_of_the_training_data_are_not_those_of_the_test_data(tmp_path):
    path = str(tmp_path / "a.npz")
    np.savez(path, x=np.eye(4), y=np.array([0, 1, 1, 0]), x_test=np.ones((4, 4)))
    with pytest.raises(DataError, match=r"`label` must name a column of a\.npz, got 'y'"):
        load_data("data", {"train": path, "test": path})


def test_test_arrays_have_names_of_their_own(tmp_path):
    path = str(tmp_path / "a.npz")
    labels = np.array([0, 1, 0, 1])
    np.savez(
        path, x_train=np.zeros((4, 2)), y_train=labels, x_test=np.ones((2, 2)), y_test=labels[:2]
    )
    splits = load_data("data", {"train": path, "test": path})
    assert (len(splits.train), len(splits.test), splits.test[0][0].tolist()) == (4, 2, [1, 1])


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({"x": np.zeros((2, 2)), "y": np.array([0, 1, 0])}, "a label for each of its 2 inputs"),
        ({"z": np.zeros((2, 2))}, "must have an array x, got .* with z"),
        ({"x": np.array([{}, {}])}, "without objects"),
        ({"x": np.zeros((0, 2))}, "an empty one"),
        ({"x": np.array(3.0)}, "an empty one"),
        ({"x": np.zeros((2, 9, 9, 9), dtype=np.uint8)}, "order of its axes"),
        ({"x": np.zeros(3)}, "numbers"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, arrays, expected):
    with pytest.raises(DataError, match=expected):
        load(tmp_path / "a.npz", **arrays)


def test_broken_file_is_refused(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 no")
    with pytest.raises(DataError, match=r"must be an .npz file"):
        load_data("data", {"train": str(tmp_path / "a.npz")})
