import torch
from hypothesis import given
from hypothesis import strategies as st

from tutelage.objectives._crd import Memory


def rows(numbers):
    return torch.tensor([[float(number)] * 2 for number in numbers]).reshape(-1, 2)


def contents(memory):
    return sorted(memory.rows[memory.filled()][:, 0].tolist())


@given(st.integers(1, 7), st.lists(st.integers(1, 9), max_size=8))
def test_holds_the_last_that_were_added_and_no_others(size, batches):
    memory, added = Memory(size, torch.zeros(1, 2)), []
    for length in batches:
        new = list(range(len(added), len(added) + length))
        memory.add(rows(new), torch.tensor(new))
        added += new
        assert contents(memory) == added[-size:]
        assert memory.index[memory.filled()].sort().values.tolist() == added[-size:]
    assert memory.filled().sum() == min(len(added), size)


def test_is_empty_at_first():
    memory = Memory(3, torch.zeros(1, 2))
    assert not memory.filled().any()
    assert memory.index.tolist() == [-1, -1, -1]


def test_is_all_in_the_state():
    memory, other = Memory(3, torch.zeros(1, 2)), Memory(3, torch.zeros(1, 2))
    memory.add(rows([4, 5]), torch.tensor([4, 5]))
    other.load_state_dict(memory.state_dict())
    for each in (memory, other):
        each.add(rows([6, 7]), torch.tensor([6, 7]))
    assert contents(other) == contents(memory) == [5, 6, 7]
    assert torch.equal(other.rows, memory.rows)
    assert torch.equal(other.index, memory.index)


def test_the_tensors_stay_the_same_ones():
    """DistributedDataParallel copies those that it has seen at the start."""
    memory = Memory(3, torch.zeros(1, 2))
    before = [each.data_ptr() for each in memory.buffers()]
    memory.add(rows([1, 2, 3, 4]), torch.arange(4))
    assert [each.data_ptr() for each in memory.buffers()] == before


def test_has_the_dtype_and_device_of_the_embeddings():
    memory = Memory(3, torch.zeros(1, 2, dtype=torch.float64))
    memory.add(rows([1]), torch.tensor([-1]))
    assert memory.rows.dtype == torch.float64
    assert memory.index.dtype == torch.int64
