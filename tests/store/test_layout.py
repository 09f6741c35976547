import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.store.layout import Layout, runs

layouts = st.builds(
    Layout,
    examples=st.integers(1, 60),
    views=st.integers(1, 4),
    block_rows=st.integers(1, 20),
    shard_blocks=st.integers(1, 7),
)


@given(layouts)
def test_blocks_contain_each_row_once_and_in_order(layout):
    rows = [row for block in range(layout.blocks) for row in layout.block(block)]
    assert rows == list(range(layout.examples * layout.views))


@given(layouts)
def test_shards_contain_each_row_once_and_in_order(layout):
    rows = [row for shard in range(layout.shards) for row in layout.shard_entries(shard, False)]
    assert rows == list(range(layout.rows))


@given(layouts)
def test_a_block_lies_in_one_shard_and_one_view(layout):
    for block in range(layout.blocks):
        view, positions = layout.view_of(block)
        rows = list(layout.block(block))
        assert 0 < len(rows) <= layout.block_rows
        assert {*rows} <= {*layout.shard_entries(layout.shard_of(block), False)}
        assert [view * layout.examples + position for position in positions] == rows
        assert all(0 <= position < layout.examples for position in positions)


@given(layouts, st.data())
def test_runs_are_neighbours_of_one_view(layout, data):
    chosen = sorted(data.draw(st.sets(st.integers(0, layout.blocks - 1))))
    found = list(runs(chosen, layout))
    assert [block for run in found for block in run] == chosen
    for run in found:
        assert len({layout.view_of(block)[0] for block in run}) == 1


@pytest.mark.parametrize(("batch", "row_bytes"), [(1, 1), (256, 200), (300, 4000), (64, 10**6)])
def test_a_block_is_some_megabytes_of_whole_batches(batch, row_bytes):
    layout = Layout.fitting(10**6, 2, batch, row_bytes)
    assert layout.block_rows % batch == 0
    assert layout.block_rows - batch < 1024
    assert layout.block_rows == batch or layout.block_rows * row_bytes <= 2**22 + batch * row_bytes
    assert layout.shard_blocks * layout.block_rows * row_bytes <= 2**30
