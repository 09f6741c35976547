"""What is written is read again, row by row, by us and by numpy alone."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from store.conftest import dense, make, output_of
from tutelage.errors import StoreError
from tutelage.store import TargetStore


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    fields = [dense(shape=(3,)), dense("layer1", "float16", (2, 2)), dense("b:input", "bfloat16")]
    folder = tmp_path_factory.mktemp("large") / "store"
    return make(folder, fields, examples=37, views=3, block_rows=5, shard_blocks=2)


@given(rows=st.lists(st.integers(0, 37 * 3 - 1), max_size=40))
def test_rows_are_returned_in_the_requested_order(large, rows):
    expected = output_of(rows, large.fields)
    found = large.read("output", rows)
    assert torch.equal(found, expected.output.reshape(len(rows), 3))
    feature = large.read("layer1", torch.tensor(rows))
    assert feature.dtype == torch.float16
    assert torch.equal(feature, expected.features["layer1"].reshape(-1, 2, 2).half())
    coarse = large.read("b:input", np.array(rows, dtype=np.int64))
    assert coarse.dtype == torch.bfloat16
    assert torch.equal(coarse, expected.features["b:input"].reshape(-1, 5).bfloat16())


def test_numpy_opens_each_file_alone(large):
    files = sorted(large.path.glob("output.*.npy"))
    assert len(files) == large.layout.shards > 1
    joined = np.concatenate([np.load(file, mmap_mode="r", allow_pickle=False) for file in files])
    assert joined.dtype == np.float32
    assert np.array_equal(joined, large.read("output", range(37 * 3)).numpy())


def test_a_header_is_aligned_and_of_any_size(tmp_path):
    for shape in ((), (1,), (123456,), (2, 3, 4, 5)):
        column = dense(shape=shape).columns(0)[0]
        header = column.header(10**12)
        assert len(header) % 64 == 0
        (tmp_path / "h.npy").write_bytes(column.header(2) + bytes(2 * column.entry_bytes))
        assert np.load(tmp_path / "h.npy").shape == (2, *shape)


def test_a_store_can_be_pickled(large):
    large.read("output", [0])
    again = pickle.loads(pickle.dumps(large))
    assert again._maps == {}
    assert torch.equal(again.read("output", [1, 40]), large.read("output", [1, 40]))


def test_repr_and_properties(large):
    assert len(large) == 37
    assert large.views == 3
    assert "37 examples, 3 views, ['output', 'layer1', 'b:input']" in repr(large)
    assert large.bytes == sum(file.stat().st_size for file in large.path.glob("*.npy"))


@pytest.mark.parametrize("rows", [[-1], [111], [0, 5, 10**12]])
def test_a_row_out_of_range_is_refused(rows, large):
    with pytest.raises(StoreError, match=r"rows must be integers from 0 to 110.*got int64 from"):
        large.read("output", rows)


@pytest.mark.parametrize("rows", [[True, False], torch.ones(37) > 0, [0.0, 1.5]])
def test_rows_that_are_not_integers_are_refused(rows, large):
    """A mask would be read as rows 0 and 1."""
    with pytest.raises(StoreError, match=r"rows must be integers from 0 .*got (bool|float64) from"):
        large.read("output", rows)


def test_a_missing_field_is_refused(large):
    with pytest.raises(StoreError, match=r"contain the field 'layer2', got one with \['output'"):
        large.read("layer2", [0])


def test_memory_maps_are_read_only(store):
    with pytest.raises(ValueError, match="read-only"):
        store._shards(0)[0][0][0] = 1


def test_a_folder_without_a_store(tmp_path):
    with pytest.raises(StoreError, match=r"a folder with manifest.json, got .*make one with tl"):
        TargetStore.open(tmp_path / "nothing")
