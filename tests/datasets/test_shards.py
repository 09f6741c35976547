"""Shards are read where they lie: examples by key, nothing extracted, bad members refused."""

import io
import json
import tarfile

import pytest
import torch
from PIL import Image

from tutelage.datasets import load_data
from tutelage.errors import DataError


def png(colour, size=(8, 6)):
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


def write_shard(path, members, kind=tarfile.REGTYPE, mode="w"):
    with tarfile.open(path, mode) as file:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size, info.type = len(content), kind
            info.linkname = "/etc/passwd" if kind != tarfile.REGTYPE else ""
            file.addfile(info, io.BytesIO(content))
    return str(path)


def examples(first=0, count=4):
    for at in range(first, first + count):
        yield f"part/{at:03d}.png", png((at * 40, 0, 0))
        yield f"part/{at:03d}.cls", str(at % 2).encode()
        yield f"part/{at:03d}.json", json.dumps({"site": "ab"[at % 2], "name": str(at)}).encode()


def test_images_with_labels(tmp_path):
    splits = load_data("data", {"train": write_shard(tmp_path / "a.tar", examples())})
    image, label = splits.train[3]
    assert torch.allclose(image[:, 0, 0], torch.tensor([120 / 255, 0, 0]))
    assert (len(splits.train), int(label), splits.classes) == (4, 1, ("0", "1"))


def test_folder_of_shards_and_fields_of_json(tmp_path):
    write_shard(tmp_path / "0.tar", examples())
    write_shard(tmp_path / "1.tar", examples(4))
    splits = load_data("data", {"train": str(tmp_path), "label": "site", "domain": "cls"})
    assert len(splits.train) == 8
    assert splits.train[5][1:] == (torch.tensor(1), "1")
    assert splits.train[5][0][0, 0, 0] == pytest.approx(200 / 255)


def test_texts(tmp_path):
    members = [("a.txt", b"one"), ("a.cls", b"x"), ("b.txt", "zwölf".encode()), ("b.cls", b"y")]
    splits = load_data("data", {"train": write_shard(tmp_path / "a.tar", members)})
    assert splits.train[1] == ("zwölf", torch.tensor(1))


def test_shares_are_taken_of_shards(tmp_path):
    path = write_shard(tmp_path / "a.tar", examples(count=6))
    splits = load_data("data", {"train": path, "val": 0.34, "image_size": 4})
    assert (len(splits.train), len(splits.val), splits.val[0][0].shape) == (4, 2, (3, 4, 4))


def test_keys_are_those_of_their_shard(tmp_path):
    for name in ("a.tar", "b.tar"):
        write_shard(tmp_path / name, examples(count=2))
    assert len(load_data("data", {"train": str(tmp_path), "image_size": 4}).train) == 4


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ([], "with none"),
        ([("a.png", png(0)), ("b.cls", b"1")], "got 0 of 'b'"),
        ([("a.png", png(0)), ("a.jpg", png(0))], "got 2 of 'a'"),
        ([("a.png", png(0)), ("a.png", png(0))], "got 2 of 'a'"),
        ([("a.png", b"broken")], r"a.png"),
        ([("a.png", png(0)), ("a.cls", b"\xff")], r"UTF-8 and JSON, got .*a.tar"),
        ([("a.png", png(0)), ("a.json", b"[" * 10**5)], r"UTF-8 and JSON, got .*a.tar"),
        ([("a.txt", b"")], "got none for number 0"),
        ([("a.txt", b"x"), ("b.cls", b"1")], "got none for number 1"),
        ([("a.txt", b"x"), ("b.json", b'{"txt": 3}')], "got none for number 1"),
    ],
)
def test_broken_examples_are_refused(tmp_path, members, expected):
    with pytest.raises(DataError, match=expected):
        load_data("data", {"train": write_shard(tmp_path / "a.tar", members)})


def test_compressed_or_truncated_archive_is_refused(tmp_path):
    path = write_shard(tmp_path / "a.tar", examples(), mode="w:gz")
    with pytest.raises(DataError, match="not compressed"):
        load_data("data", {"train": path})
    path = write_shard(tmp_path / "b.tar", [("a.png", png(0)), ("b.png", bytes(9000))])
    content = (tmp_path / "b.tar").read_bytes()
    (tmp_path / "b.tar").write_bytes(content[:3000])
    with pytest.raises(DataError):
        load_data("data", {"train": path})
