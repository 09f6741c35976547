"""Data sets of Hugging Face and torchvision by name, from local folders."""

import struct

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import folder

from tutelage.datasets import load_data
from tutelage.errors import ArgumentError, DataError

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def _offline(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def saved_texts(folder):
    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["no", "maybe", "yes"]),
        }
    )
    made = {
        name: datasets.Dataset.from_dict({"text": texts, "label": labels}, features=features)
        for name, texts, labels in (
            ("train", ["a", "b", "c", "d"], [2, 0, 1, -1]),
            ("validation", ["e"], [2]),
            ("test", ["f"], [1]),
        )
    }
    datasets.DatasetDict(made).save_to_disk(folder)
    return f"hf:{folder}"


def test_texts_with_the_names_and_order_of_their_classes(tmp_path):
    name = saved_texts(tmp_path / "set")
    options = {"train": name, "val": name, "test": name, "text": "text", "label": "label"}
    splits = load_data("data", options)
    assert splits.classes == ("no", "maybe", "yes")
    assert load_data("data", {**options, "kind": "classes"}).classes == splits.classes
    assert [int(splits.train[at][1]) for at in range(4)] == [2, 0, 1, -100]
    assert splits.val[0] == ("e", torch.tensor(2))
    assert splits.test[0][0] == "f"


def test_split_by_name(tmp_path):
    name = saved_texts(tmp_path / "set")
    splits = load_data("data", {"train": f"{name}@validation", "text": "text"})
    assert splits.train[0] == "e"
    with pytest.raises(DataError, match="did you mean 'validation'"):
        load_data("data", {"train": f"{name}@validaton", "text": "text"})


def test_a_split_of_a_set_that_has_none_is_refused(tmp_path):
    datasets.Dataset.from_dict({"text": ["a", "b"]}).save_to_disk(tmp_path / "set")
    with pytest.raises(DataError, match="has none; leave @test out"):
        load_data("data", {"train": f"hf:{tmp_path / 'set'}@test", "text": "text"})


@pytest.mark.parametrize("kind", ["tags", None])
def test_lists_of_class_ids_have_their_names_in_order(tmp_path, kind):
    names = ["O", "B-PER", "B-LOC"]
    tags = datasets.Sequence(datasets.ClassLabel(names=names))
    features = datasets.Features(
        {"words": datasets.Sequence(datasets.Value("string")), "tags": tags}
    )
    rows = {"words": [["Ann", "in", "Rome"], ["so"]], "tags": [[1, 0, 2], [0]]}
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(tmp_path / "set")
    options = {"train": f"hf:{tmp_path / 'set'}", "text": "words", "label": "tags", "kind": kind}
    options["text"] = "words" if kind else None
    splits = load_data("data", options)
    assert splits.classes == tuple(names)
    label = splits.train[0][1]
    assert label.tolist() == ([1, 0, 2] if kind else [1, 1, 1])


def test_images_are_decoded(tmp_path):
    pictures = [Image.new("RGB", (5, 4), (at * 60, 0, 0)) for at in range(4)]
    made = datasets.Dataset.from_dict(
        {"picture": pictures, "label": [0, 1, 0, 1]},
        features=datasets.Features(
            {"picture": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])}
        ),
    )
    made.save_to_disk(tmp_path / "set")
    options = {"train": f"hf:{tmp_path / 'set'}", "image": "picture", "label": "label"}
    image, label = load_data("data", options).train[3]
    assert image.shape == (3, 4, 5)
    assert image[0, 0, 0] == pytest.approx(180 / 255)
    assert label == 1


def test_data_set_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(DataError, match="correct the name"):
        load_data("data", {"train": f"hf:{tmp_path / 'none'}", "text": "text"})


def write_digits(folder, part, count):
    """Write images as MNIST stores them."""
    folder = folder / "MNIST" / "raw"
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(count).integers(0, 255, (count, 28, 28), dtype=np.uint8)
    labels = (np.arange(count) % 10).astype(np.uint8)
    header = struct.pack(">BBBBIII", 0, 0, 8, 3, count, 28, 28)
    (folder / f"{part}-images-idx3-ubyte").write_bytes(header + pixels.tobytes())
    header = struct.pack(">BBBBI", 0, 0, 8, 1, count)
    (folder / f"{part}-labels-idx1-ubyte").write_bytes(header + labels.tobytes())
    return pixels


def test_torchvision_set_in_a_folder(tmp_path):
    train = write_digits(tmp_path, "train", 30)
    test = write_digits(tmp_path, "t10k", 20)
    name = f"torchvision:MNIST@{tmp_path}"
    splits = load_data("data", {"train": name, "val": 0.34, "test": name})
    assert (len(splits.train), len(splits.val), len(splits.test)) == (20, 10, 20)
    image, label = splits.test[3]
    assert torch.allclose(image, torch.from_numpy(test[3] / 255).float().expand(3, 28, 28))
    assert label == 3
    assert len(splits.classes) == 10
    assert splits.warnings == ()
    assert train.shape == (30, 28, 28)


def test_classes_of_torchvision_with_one_name_stay_apart(monkeypatch):
    class Birds(list):  # as ImageNet, which has two cranes
        classes = (("crane",), ("tench", "Tinca tinca"), ("crane",))
        targets = (0, 1, 2)

    examples = Birds((Image.new("RGB", (4, 4)), at) for at in range(3))
    monkeypatch.setattr("torchvision.datasets.ImageNet", lambda: examples)
    splits = load_data("data", {"train": "torchvision:ImageNet"})
    assert splits.classes == ("crane (0)", "tench, Tinca tinca", "crane (2)")
    assert [int(splits.train[at][1]) for at in range(3)] == [0, 1, 2]


def test_images_that_torchvision_has_in_files_are_read_by_their_headers(tmp_path, monkeypatch):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (4, 4), (9, 0, 0)).save(tmp_path / name / "1.png")
    decoded, decode = [], folder.pil_loader
    monkeypatch.setattr(folder, "pil_loader", lambda path: decoded.append(path) or decode(path))
    splits = load_data("data", {"train": f"torchvision:ImageFolder@{tmp_path}"})
    image, label = splits.train[1]
    assert image[0, 0, 0] == pytest.approx(9 / 255)
    assert (label, splits.classes) == (1, ("cat", "dog"))
    assert len(decoded) == 1  # by which it is known that it has images


@pytest.mark.parametrize("label", [torch.zeros(40), Image.new("L", (4, 4)), "cat"])
def test_torchvision_set_without_class_ids_is_refused(monkeypatch, label):
    examples = [(Image.new("RGB", (4, 4)), label)] * 3  # as of CelebA, or of segmentation
    monkeypatch.setattr("torchvision.datasets.CelebA", lambda: examples)
    with pytest.raises(ArgumentError, match="one label each, got CelebA"):
        load_data("data", {"train": "torchvision:CelebA"})


def test_torchvision_set_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(DataError, match="did you mean 'CIFAR10'"):
        load_data("data", {"train": "torchvision:CIFAR-10"})
    with pytest.raises(DataError, match="download it there"):
        load_data("data", {"train": f"torchvision:CIFAR10@{tmp_path}"})
