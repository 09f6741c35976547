"""No damage goes unseen, and what is damaged is named and made anew alone."""

import json
import random
from hashlib import blake2b

import pytest

from store.conftest import content, dense, fill, make, manifest
from tutelage.errors import StoreError
from tutelage.store import (
    Manifest,
    TargetStore,
    close_store,
    damage,
    find_damage,
    reopen_store,
)
from tutelage.store.manifest import NAME

FIELDS = [dense(), dense("layer1", "float16", (2, 2))]


def flip(path, position, bits):
    data = bytearray(path.read_bytes())
    data[position] ^= bits
    path.write_bytes(data)


def test_any_flipped_byte_of_a_shard_is_found(tmp_path):
    store = make(tmp_path / "store", FIELDS, examples=41, views=2)
    rng, files = random.Random(1), sorted(store.path.glob("*.npy"))
    assert list(store.verify()) == []
    for _ in range(60):
        path = rng.choice(files)
        position, bits = rng.randrange(path.stat().st_size), rng.randrange(1, 256)
        flip(path, position, bits)
        (found,) = store.verify()
        assert found.file == path.name, (path, position, bits)
        assert len(found.blocks) == (position >= 128)
        flip(path, position, bits)
    assert list(store.verify()) == []


def test_any_flipped_byte_of_the_manifest_is_found(store):
    path, rng = store.path / NAME, random.Random(2)
    whole = path.read_bytes()
    for position in rng.sample(range(len(whole)), 100):
        flip(path, position, rng.randrange(1, 256))
        with pytest.raises(StoreError):
            Manifest.read(store.path)
        path.write_bytes(whole)
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        with pytest.raises(StoreError):
            Manifest.read(store.path)
    path.write_bytes(whole)
    TargetStore.open(store.path)


def test_a_damaged_block_is_named_by_its_examples(tmp_path):
    store = make(tmp_path / "store", FIELDS, examples=20, views=2)  # blocks of 8, 8, 4
    flip(store.path / "feature1.0001.npy", 128 + 8 * 8 + 3, 1)  # row 8 of the second view
    (found,) = store.verify()
    assert str(found) == ("feature1.0001.npy is damaged in block 4 (examples 8 to 15 of view 1)")
    assert found.blocks == (4,)


@pytest.mark.parametrize("how", ["header", "short", "long", "gone", "first", "last"])
def test_opening_checks_sizes_and_headers(how, tmp_path):
    store = make(tmp_path / "store", examples=400)
    path = sorted(store.path.glob("*.npy"))[-1 if how == "last" else 0]
    size = path.stat().st_size
    if how == "gone":
        path.unlink()
    elif how in ("short", "long"):
        path.write_bytes((path.read_bytes() + b"more")[: size - 1 if how == "short" else None])
    else:
        flip(path, {"header": 20, "first": 130, "last": size - 1}[how], 4)
    with pytest.raises(StoreError, match=rf"damage: {path.name}.* verify=True"):
        TargetStore.open(store.path)


def test_opening_checks_a_random_sample_of_blocks(tmp_path):
    """A damaged block of 50 is among the 6 random ones in one of 8 calls."""
    store = make(tmp_path / "store", examples=400)
    flip(store.path / "output.0008.npy", 200, 1)
    found = [list(find_damage(store.path, store.manifest, sampled=True)) for _ in range(200)]
    assert 5 < sum(map(bool, found)) < 70


def test_opening_reads_few_of_many_blocks(tmp_path, monkeypatch):
    store, read = make(tmp_path / "store", examples=400), []
    real = damage._block_checksum
    monkeypatch.setattr(damage, "_block_checksum", lambda *a: read.append(a[-1]) or real(*a))
    TargetStore.open(store.path)
    assert len(read) == 8
    assert {0, 49} < set(read)


def test_the_message_for_much_damage_is_short(tmp_path):
    store = make(tmp_path / "store", examples=400)
    for path in store.path.glob("*.npy"):
        flip(path, 20, 1)
    with pytest.raises(StoreError, match=r"output.0002.npy has a damaged header and 14 more; call"):
        TargetStore.open(store.path)


def test_only_damaged_blocks_are_computed_again(tmp_path):
    store = make(tmp_path / "store", FIELDS)
    whole = content(store.path)
    flip(store.path / "output.0000.npy", 128 + 5 * 4 * 8 + 1, 9)  # block 1
    flip(store.path / "feature1.0002.npy", 128 + 1, 9)  # block 6
    flip(store.path / "feature1.0001.npy", 9, 9)
    (store.path / "output.0001.npy").write_bytes(b"")  # blocks 3, 4, 5
    found = list(store.verify())
    damaged = {block for each in found for block in each.blocks}
    assert damaged == {1, 3, 4, 5, 6}
    opened = reopen_store(store.path, store.manifest, damaged)
    with pytest.raises(StoreError, match="must be finished, got one that is unfinished"):
        TargetStore.open(store.path)
    fill(store.path, opened)
    close_store(store.path, opened)
    assert content(store.path) == whole


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(format=3), "format 2, got 3, of another version of tutelage; upgrade"),
        (lambda c: c.update(format=0), "format 2, got 0, .* or call tl.label"),
        (lambda c: c.update(format="2"), "got format: Input should be a valid int"),
        (lambda c: c.pop("format"), "content that differs from its checksum"),
        (lambda c: c.update(teacher=3), "teacher: Input should be a valid string"),
        (lambda c: c["data"].pop("examples"), "data.examples: Field required"),
        (lambda c: c["data"].update(examples=0), "data.examples: Input should be greater than 0"),
        (lambda c: c["views"].update(count="two"), "views.count: Input should be a valid int"),
        (lambda c: c["settings"].update(dtype="int8"), "settings.dtype: Input should be"),
        (lambda c: c.update(block_rows=0), "block_rows: Input should be greater than 0"),
        (lambda c: c["fields"][0].update(form="sparse"), "fields.0.form: Input should be"),
    ],
)
@pytest.mark.filterwarnings("ignore:Pydantic serializer")
def test_a_wrong_manifest_is_refused_entry_by_entry(change, message, store):
    stated = json.loads((store.path / NAME).read_text())
    change(stated)
    text = json.dumps({k: v for k, v in stated.items() if k != "checksum"}, indent=1)
    digest = blake2b((text + "\n").encode(), digest_size=16).hexdigest()
    stated["checksum"] = digest
    (store.path / NAME).write_text(json.dumps(stated, indent=1) + "\n")
    with pytest.raises(StoreError, match=message):
        TargetStore.open(store.path)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "\xff"])
def test_a_file_that_is_not_a_manifest_is_refused(text, store):
    (store.path / NAME).write_text(text, encoding="latin-1")
    with pytest.raises(StoreError, match=r"manifest.json must be as it was written, got"):
        TargetStore.open(store.path)


def test_a_manifest_with_unknown_entries_is_refused(store):
    text = (store.path / NAME).read_text().replace('"teacher"', '"extra": 1,\n "teacher"', 1)
    (store.path / NAME).write_text(text)
    with pytest.raises(StoreError, match="extra: Extra inputs are not permitted"):
        Manifest.read(store.path)


def test_equal_manifests_have_equal_text(store):
    again = manifest([dense()]).model_copy(update={"checksums": store.manifest.checksums})
    assert again.text() == (store.path / NAME).read_bytes()
