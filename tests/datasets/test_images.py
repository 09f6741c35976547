"""Folders, tables and arrays of images become tensors of one size, and broken ones are left out."""

import warnings
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torchvision.datasets import ImageFolder

from tutelage.data import as_source
from tutelage.datasets import load_data
from tutelage.datasets.images import Pictures
from tutelage.errors import DataError
from tutelage.identity import dataset_fingerprint


def draw(path, colour=(255, 0, 0), size=(8, 6), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)
    return path


def folder_of(root, *, sizes=((8, 6),), classes=("cat", "dog"), each=3):
    for number, name in enumerate(classes):
        for at in range(each):
            size = sizes[at % len(sizes)]
            draw(root / name / f"{at}.png", (200 * number, 10 * at, len(str(root)) % 200), size)
    return str(root)


def test_folders_are_classes(tmp_path):
    splits = load_data("data", {"train": folder_of(tmp_path)})
    image, label = splits.train[4]
    assert image.shape == (3, 6, 8)
    assert image.dtype == torch.float32
    assert torch.allclose(image[:2, 0, 0], torch.tensor([200.0, 10.0]) / 255)
    assert label == 1
    assert (splits.classes, splits.kind, splits.form) == (("cat", "dog"), "classes", "image")


def test_images_are_resized_by_the_shorter_side_and_cropped(tmp_path):
    folder_of(tmp_path, sizes=((8, 6), (20, 5)))
    with pytest.raises(DataError, match=r"\(6, 8\) pixels in cat/0.png and \(5, 20\) in cat/1.png"):
        load_data("data", {"train": str(tmp_path)})
    splits = load_data("data", {"train": str(tmp_path), "image_size": 4})
    assert {splits.train[at][0].shape for at in range(6)} == {(3, 4, 4)}
    splits = load_data("data", {"train": str(tmp_path), "image_size": [4, 10]})
    assert splits.train[1][0].shape == (3, 4, 10)
    half = Image.new("RGB", (4, 2))
    half.paste((255, 255, 255), (2, 0, 4, 2))
    half.save(tmp_path / "half.png")
    assert Pictures([tmp_path / "half.png"], ["half.png"], (2, 2))[0][0].tolist() == [
        [0, 1],
        [0, 1],
    ]


def test_parts_in_folders_of_their_own(tmp_path):
    for part in ("Train", "valid", "test"):
        folder_of(tmp_path / part)
    splits = load_data("data", {"train": tmp_path})
    assert (len(splits.train), len(splits.val), len(splits.test)) == (6, 6, 6)
    folder_of(tmp_path / "extra")
    with pytest.raises(DataError, match="class/image"):
        load_data("data", {"train": str(tmp_path)})


@pytest.mark.parametrize("parts", [("train", "val", "dev"), ("train", "training")])
def test_two_folders_of_one_part_are_refused(tmp_path, parts):
    for part in parts:
        folder_of(tmp_path / part)
    with pytest.raises(DataError, match="one folder for each part of the data, got"):
        load_data("data", {"train": tmp_path})


def test_class_may_be_called_train(tmp_path):
    splits = load_data("data", {"train": folder_of(tmp_path, classes=("car", "train"))})
    assert splits.classes == ("car", "train")


def test_first_level_may_be_domains(tmp_path):
    for domain in ("photo", "sketch"):
        folder_of(tmp_path / domain)
    with pytest.raises(DataError, match="write domain: folder"):
        load_data("data", {"train": str(tmp_path)})
    splits = load_data("data", {"train": str(tmp_path), "domain": "folder", "val": 0.34})
    assert splits.classes == ("cat", "dog")
    found = [splits.train[at][2] for at in range(len(splits.train))]
    assert sorted(found) == ["photo"] * 4 + ["sketch"] * 4


def test_folders_to_be_predicted_have_domains_where_all_images_do(tmp_path):
    for domain in ("photo", "sketch"):
        folder_of(tmp_path / "train" / domain)
    splits = load_data("data", {"train": str(tmp_path / "train"), "domain": "folder"})
    draw(tmp_path / "new" / "sketch" / "1.png")
    examples, frame = splits.examples(str(tmp_path / "new"))
    assert (examples[0].domain, frame["domain"].tolist()) == ("sketch", ["sketch"])
    draw(tmp_path / "flat" / "1.png")
    examples, _ = splits.examples(str(tmp_path / "flat"))
    assert torch.is_tensor(examples[0])


def test_a_class_that_a_division_leaves_alone_in_training_is_refused(tmp_path):
    folder_of(tmp_path, classes=("cat",), each=6)
    draw(tmp_path / "dog" / "0.png")
    refused = 0
    for seed in range(8):
        split = {"stratified": False, "seed": seed}
        options = {"train": str(tmp_path), "val": 0.3, "split": split}
        try:
            splits = load_data("data", options)
        except DataError as error:
            refused += "two classes" in str(error)
        else:
            assert {int(each[1]) for each in splits.train} == {0, 1}
    assert refused
    load_data("data", options | {"classes": ["cat", "dog"]})


def test_unlabelled_images_lie_anywhere(tmp_path):
    train = folder_of(tmp_path / "train")
    draw(tmp_path / "more" / "1.png")
    draw(tmp_path / "more" / "deep" / "deeper" / "2.PNG")
    draw(tmp_path / "more" / ".hidden" / "3.png")
    splits = load_data("data", {"train": train, "unlabelled": str(tmp_path / "more")})
    assert (len(splits.labelled), len(splits.train)) == (6, 8)
    assert splits.train[7][1] == -100


def test_table_names_images_beside_it(tmp_path):
    draw(tmp_path / "pictures" / "a.png", (255, 0, 0))
    draw(tmp_path / "b.png", (0, 0, 255))
    table = tmp_path / "a.csv"
    table.write_text("file,y\npictures/a.png,red\nb.png,blue\n")
    splits = load_data("data", {"train": str(table), "image": "file", "label": "y"})
    assert splits.train[0][0][:, 0, 0].tolist() == [1, 0, 0]
    assert splits.train[1][1] == 0


def test_table_names_images_by_any_path_and_a_few_that_are_not_there_are_left_out(tmp_path):
    draw(tmp_path / "outside.png", (255, 0, 0))
    (tmp_path / "in").mkdir()
    table = tmp_path / "in" / "a.csv"
    table.write_text(
        f"file,y\n../outside.png,red\n{tmp_path}/outside.png,red\nno.png,blue\n,blue\n"
    )
    options = {"train": str(table), "image": "file", "label": "y", "classes": ["red", "blue"]}
    splits = load_data("data", options)
    assert len(splits.train) == 2
    assert "2 images of a.csv cannot be read and are left out: no.png, nan" in splits.warnings[0]


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1"])
def test_every_mode_of_eight_bits_has_three_channels(tmp_path, mode):
    draw(tmp_path / "a.png", 0, mode=mode)
    assert Pictures([tmp_path / "a.png"], ["a.png"])[0].shape == (3, 6, 8)


def test_sixteen_bits_are_refused(tmp_path):
    draw(tmp_path / "a.png", 300, mode="I;16")
    with pytest.raises(DataError, match="8 bits per channel"):
        Pictures([tmp_path / "a.png"], ["a.png"])[0]


def test_orientation_of_the_camera_is_applied(tmp_path):
    image = Image.new("RGB", (8, 6))
    exif = image.getexif()
    exif[274] = 6
    image.save(tmp_path / "a.jpg", exif=exif)
    assert Pictures([tmp_path / "a.jpg"], ["a.jpg"])[0].shape == (3, 8, 6)


def test_a_few_images_that_cannot_be_read_are_left_out_and_counted(tmp_path):
    folder_of(tmp_path)
    (tmp_path / "cat" / "9.png").write_bytes(b"not an image")
    splits = load_data("data", {"train": str(tmp_path)})
    assert len(splits.train) == 6
    assert splits.warnings[0].endswith("cannot be read and are left out: cat/9.png")
    more, frame = splits.examples(str(tmp_path))
    assert len(more) == len(frame) == 6
    assert list(frame.columns) == ["image"]


def test_truncated_image_is_refused_by_its_name(tmp_path):
    random = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(random).save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:3000])
    with pytest.raises(DataError, match=r"readable, got a.png"):
        Pictures([tmp_path / "a.png"], ["a.png"])[0]


def test_a_truncated_photo_in_a_cell_is_left_out_though_its_thumbnail_is_whole(tmp_path):
    rng, cells = np.random.default_rng(0), []
    for _ in range(8):
        image = Image.fromarray(rng.integers(0, 255, (192, 192, 3), dtype=np.uint8))
        whole, small = BytesIO(), BytesIO()
        image.save(whole, "JPEG")
        image.resize((8, 8)).save(small, "JPEG")
        exif = b"Exif\0\0II*\0\x08" + bytes(9) + small.getvalue()
        head = b"\xff\xd8\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
        cells.append(head + whole.getvalue()[2:])
    cells[5] = cells[5][:-4500]
    frame = pd.DataFrame({"image": [{"bytes": each} for each in cells], "label": [*"abababab"]})
    frame.to_parquet(tmp_path / "a.parquet")
    options = {"train": str(tmp_path / "a.parquet"), "image": "image", "label": "label"}
    splits = load_data("data", options)
    assert len([*splits.train]) == 7
    assert "row 6" in splits.warnings[0]


def test_many_images_that_cannot_be_used_are_refused_together(tmp_path):
    folder_of(tmp_path)
    random = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    names = [f"{at}.{ending}" for at in range(3) for ending in ("jpg", "png")]
    for name in names:
        Image.fromarray(random).save(tmp_path / "dog" / name)
        (tmp_path / "dog" / name).write_bytes((tmp_path / "dog" / name).read_bytes()[:3000])
    draw(tmp_path / "cat" / "deep.png", 300, mode="I;16")
    with pytest.raises(DataError, match=r"got cat/deep.png .* \(7 in all: .*dog/0.jpg, dog/0.png"):
        load_data("data", {"train": str(tmp_path), "image_size": 8})


def test_whole_files_are_not_decoded_to_be_checked(tmp_path, monkeypatch):
    folder_of(tmp_path)
    draw(tmp_path / "cat" / "photo.jpg")
    with (tmp_path / "cat" / "photo.jpg").open("ab") as file:
        file.write(b"what some cameras write behind the end")
    monkeypatch.setattr(Image.Image, "load", None)
    assert len(load_data("data", {"train": str(tmp_path), "image_size": 8}).train) == 7


def test_turned_images_have_the_size_that_they_have_when_turned_back(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    for name in ("cat/1.jpg", "dog/1.jpg"):
        Image.new("RGB", (8, 6)).save(draw(tmp_path / name), exif=exif)
    assert load_data("data", {"train": str(tmp_path)}).train[0][0].shape == (3, 8, 6)


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
def test_an_image_is_turned_before_its_size_is_told(tmp_path, ending):
    path = draw(tmp_path / "dog" / f"1.{ending}")
    image = Image.new("RGB", (8, 6))
    told = b'<x:xmpmeta xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>'
    if ending == "png":
        about = PngInfo()
        about.add_itxt("XML:com.adobe.xmp", told.decode())
        image.save(path, pnginfo=about)
    elif ending == "tif":
        image.save(path, tiffinfo={274: 6})
    else:
        image.save(path, xmp=told)
    draw(tmp_path / "cat" / "1.png")
    with pytest.raises(DataError, match=r"\(6, 8\) pixels in cat/1.png and \(8, 6\) in dog"):
        load_data("data", {"train": str(tmp_path)})
    draw(tmp_path / "cat" / "1.png", size=(6, 8))
    data = load_data("data", {"train": str(tmp_path)}).train
    assert data[0][0].shape == data[1][0].shape == (3, 8, 6)


@pytest.mark.parametrize("limit", [40, 10])
def test_decompression_bomb_is_refused_before_it_is_decoded(tmp_path, monkeypatch, limit):
    folder_of(tmp_path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with warnings.catch_warnings(), pytest.raises(DataError, match="at most"):
        load_data("data", {"train": str(tmp_path)})


def test_folder_without_images_is_refused(tmp_path):
    with pytest.raises(DataError, match="a folder with images"):
        load_data("data", {"train": str(tmp_path)})


def test_folder_of_texts_is_refused_with_what_to_do(tmp_path):
    (tmp_path / "good").mkdir()
    (tmp_path / "good" / "1.txt").write_text("fine")
    with pytest.raises(DataError, match="table with the columns text and label"):
        load_data("data", {"train": str(tmp_path)})


def test_what_is_left_out_of_a_folder_is_told(tmp_path):
    folder_of(tmp_path)
    for name in (".DS_Store", "cat/Thumbs.db", "cat/.hidden.png", "bird/1.heic", "readme.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"any")
    (tmp_path / "cat" / "empty").mkdir()
    (files,) = load_data("data", {"train": str(tmp_path)}).warnings
    assert files.endswith("are not images are left out: bird/1.heic, readme.txt")
    assert not load_data("data", {"train": folder_of(tmp_path / "other")}).warnings


def test_equal_images_stay_in_one_part(tmp_path):
    folder_of(tmp_path, each=10)
    for at in range(10):
        copied = (tmp_path / "cat" / f"{at}.png").read_bytes()
        (tmp_path / "cat" / f"copy of {at}.png").write_bytes(copied)
    splits = load_data("data", {"train": str(tmp_path), "val": 0.3})
    found = [{each[0].numpy().tobytes() for each in part} for part in (splits.train, splits.val)]
    assert not found[0] & found[1]
    assert len(splits.val) == 9


def test_linked_folder_is_read_once(tmp_path):
    folder_of(tmp_path / "real", classes=("cat",))
    root = tmp_path / "root"
    folder_of(root, classes=("dog",))
    (root / "cat").symlink_to(tmp_path / "real" / "cat")
    (root / "dog" / "loop").symlink_to(root)
    assert len(load_data("data", {"train": str(root)}).train) == 6


def test_fingerprint_stays_when_images_have_been_decoded(tmp_path):
    train = load_data("data", {"train": folder_of(tmp_path)}).train
    before = dataset_fingerprint(train)
    assert [train[at] for at in range(6)]
    assert dataset_fingerprint(train) == before


def test_batches_of_images_and_labels(tmp_path):
    splits = load_data("data", {"train": folder_of(tmp_path, each=6), "val": 0.25})
    (batch,) = as_source("val", splits.val, 8).epoch(0)
    assert batch.inputs.shape == (3, 3, 6, 8)
    assert batch.labels.shape == (3,)


def test_classes_are_in_the_order_of_image_folder(tmp_path):
    """A teacher that was trained with torchvision's ImageFolder has this order of outputs."""
    for at in range(11):
        draw(tmp_path / str(at) / "a.png", (at, 0, 0))
        draw(tmp_path / str(at) / "b.png", (at, 9, 0))
    splits = load_data("data", str(tmp_path))
    theirs = ImageFolder(tmp_path)
    assert splits.classes == tuple(theirs.classes)
    assert [int(label) for _, label in splits.train] == theirs.targets
    order = [str(at) for at in range(11)]
    again = load_data("data", {"train": str(tmp_path), "classes": order})
    assert again.classes == tuple(order)
