"""Data sets: the order of their batches, and the two sources that serve them."""

from itertools import chain

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import (
    ConcatDataset,
    Dataset,
    StackDataset,
    Subset,
    TensorDataset,
    random_split,
)

from tutelage.data import Shard, as_source, labelled, randomness
from tutelage.data.source import Order, SetSource, TensorSource
from tutelage.errors import ArgumentError, DataError
from tutelage.identity import dataset_fingerprint

X = torch.arange(22.0).reshape(11, 2)
Y = torch.arange(11) % 3
DOMAIN = torch.arange(11) % 2
TENSORS = TensorDataset(X, Y)
SIZES = st.integers(1, 40)
SEEDS = st.integers(-(2**40), 2**70)


class Examples(Dataset):
    """The same examples as `TENSORS`, computed one by one."""

    def __len__(self):
        return 11

    def __getitem__(self, position):
        return X[position], Y[position]


def positions(order, epoch=0, start=0):
    return [batch.tolist() for batch in order.batches(epoch, start)]


def flat(order, epoch=0):
    return [position for batch in positions(order, epoch) for position in batch]


def source(data=TENSORS, *, batch_size=4, shuffle=True, seed=7, shard=None):
    return as_source("train", data, batch_size, seed=seed if shuffle else None, shard=shard)


def same(one, other):
    """Whether two lists of batches are equal in inputs, labels and index."""
    return len(one) == len(other) and all(
        torch.equal(a.inputs, b.inputs)
        and torch.equal(a.labels, b.labels)
        and torch.equal(a.index, b.index)
        for a, b in zip(one, other, strict=True)
    )


class TestOrder:
    @given(SIZES, SIZES, SEEDS, st.integers(0, 1000))
    def test_each_example_occurs_exactly_once(self, examples, size, seed, epoch):
        order = Order(examples, size, seed)
        assert sorted(flat(order, epoch)) == list(range(examples))
        lengths = [len(batch) for batch in positions(order, epoch)]
        assert len(lengths) == len(order)
        assert set(lengths[:-1]) <= {size}
        assert 1 <= lengths[-1] <= size

    @given(SIZES, SIZES, SEEDS, st.integers(0, 1000), st.integers(0, 41))
    def test_is_a_function_of_seed_and_epoch_and_may_begin_anywhere(
        self, examples, size, seed, epoch, start
    ):
        order, again = (Order(examples, size, seed) for _ in range(2))
        torch.rand(3)
        positions(again, epoch + 1)
        assert positions(again, epoch, start) == positions(order, epoch)[start:]

    def test_differs_between_all_epochs_and_seeds(self):
        orders = {
            tuple(flat(Order(20, 4, seed), epoch)) for seed in range(20) for epoch in range(20)
        }
        assert len(orders) == 400

    def test_every_position_is_equally_likely(self):
        # Over 2000 epochs an example should come first 200 ± 3·√180 times.
        firsts = [flat(Order(10, 10, 0), epoch)[0] for epoch in range(2000)]
        assert all(abs(firsts.count(position) - 200) < 45 for position in range(10))

    def test_without_a_seed_it_is_that_of_the_data(self):
        assert positions(Order(5, 2, None), epoch=3) == [[0, 1], [2, 3], [4]]

    def test_the_global_state_does_not_change(self):
        before = torch.get_rng_state()
        positions(Order(20, 4, 0))
        assert torch.equal(torch.get_rng_state(), before)


class TestShard:
    @given(st.integers(0, 50), st.integers(1, 12))
    def test_shards_of_a_batch_are_its_parts_in_order(self, length, of):
        parts = [list(range(length))[Shard(rank, of).rows(length)] for rank in range(of)]
        if length >= of:
            assert list(chain(*parts)) == list(range(length))
            sizes = [len(part) for part in parts]
            assert max(sizes) - min(sizes) <= 1
        else:
            # Nobody may be left without an example; see the class.
            assert parts == [list(range(length))] * of

    @pytest.mark.parametrize("data", [TENSORS, Examples()], ids=["tensors", "examples"])
    def test_processes_together_see_the_batches_of_one(self, data):
        whole = list(source(data).epoch(2))
        parts = [list(source(data, shard=Shard(rank, 3)).epoch(2)) for rank in range(3)]
        for position, batch in enumerate(whole):
            index = torch.cat([part[position].index for part in parts])
            inputs = torch.cat([part[position].inputs for part in parts])
            assert [part[position].replicas for part in parts] == [1] * 3
            assert torch.equal(index, batch.index)
            assert torch.equal(inputs, batch.inputs)

    @pytest.mark.parametrize("data", [TENSORS, Examples()], ids=["tensors", "examples"])
    def test_each_process_gets_all_of_a_small_last_batch(self, data):
        shards = [Shard(rank, 4) for rank in range(4)]
        lasts = [list(source(data, batch_size=5, shard=shard).epoch(0))[-1] for shard in shards]
        assert [len(last) for last in lasts] == [1] * 4
        assert [last.replicas for last in lasts] == [4] * 4
        assert len({last.index.item() for last in lasts}) == 1


@pytest.mark.parametrize("data", [TENSORS, Examples()], ids=["tensors", "examples"])
class TestBothSources:
    def test_inputs_labels_and_index_belong_together(self, data):
        for batch in source(data).epoch(0):
            assert torch.equal(batch.inputs, X[batch.index])
            assert torch.equal(batch.labels, Y[batch.index])

    def test_number_of_batches_is_known(self, data):
        assert len(source(data)) == source(data).batches_per_epoch() == 3
        assert len(list(source(data).epoch(0))) == 3

    @pytest.mark.parametrize("start", [0, 1, 2, 3])
    def test_an_epoch_begun_in_the_middle_is_its_tail(self, data, start):
        assert same(list(source(data).epoch(5, start=start)), list(source(data).epoch(5))[start:])

    def test_without_shuffling_all_epochs_are_in_the_order_of_the_data(self, data):
        batches = list(source(data, shuffle=False).epoch(3))
        assert torch.cat([batch.index for batch in batches]).tolist() == list(range(11))

    def test_the_global_state_does_not_change(self, data):
        before = randomness.capture()["torch"]
        list(source(data).epoch(0))
        assert torch.equal(torch.get_rng_state(), before)

    def test_the_order_needs_no_state(self, data):
        assert source(data).state() == {}

    def test_the_description_contains_sizes_and_order(self, data):
        described = source(data).description
        assert (described["examples"], described["batch_size"]) == (11, 4)


def test_other_content_is_other_data():
    """Of tensors the content is seen, and which rows of them are taken."""
    described = dataset_fingerprint(TENSORS)
    assert described == dataset_fingerprint(TensorDataset(X.clone(), Y.clone()))
    assert described != dataset_fingerprint(TensorDataset(X + 1, Y))
    halves = [dataset_fingerprint(Subset(TENSORS, rows)) for rows in ([0, 1], [2, 3])]
    assert halves[0] != halves[1]


def test_tensors_are_indexed_by_batch_and_other_sets_by_example():
    assert isinstance(source(TENSORS), TensorSource)
    assert isinstance(source(Subset(TENSORS, [1, 2])), TensorSource)
    assert isinstance(source(Examples()), SetSource)


def test_examples_of_a_subclass_are_loaded_one_by_one():
    class Doubled(TensorDataset):
        def __getitem__(self, position):
            inputs, labels = super().__getitem__(position)
            return 2 * inputs, labels

    batch = next(source(Doubled(X, Y)).epoch(0))
    assert torch.equal(batch.inputs, 2 * X[batch.index])
    batch = next(source(Subset(Doubled(X, Y), [4, 2])).epoch(0))
    assert torch.equal(batch.inputs, 2 * X[[4, 2]][batch.index])


@pytest.mark.parametrize("epoch", [0, 1])
def test_both_sources_yield_the_same_batches_for_the_same_seed(epoch):
    assert same(list(source(TENSORS).epoch(epoch)), list(source(Examples()).epoch(epoch)))
    assert not same(list(source(TENSORS).epoch(0)), list(source(TENSORS, seed=8).epoch(0)))


@pytest.mark.parametrize(
    "rows",
    [
        lambda data: Subset(data, [9, 0, 3, 3, 7]),
        lambda data: Subset(Subset(data, [9, 0, 3, 8, 7]), [4, 1, 0]),
        lambda data: Subset(data, torch.tensor([1, 2])),
        lambda data: random_split(data, [6, 5], torch.Generator().manual_seed(0))[1],
    ],
    ids=["subset", "subset of a subset", "tensor of indices", "random split"],
)
def test_a_subset_is_served_alike_by_both_sources(rows):
    tensors, examples = source(rows(TENSORS)), source(rows(Examples()))
    assert isinstance(tensors, TensorSource)
    assert isinstance(examples, SetSource)
    assert same(list(tensors.epoch(1)), list(examples.epoch(1)))
    # The index is the position within the subset.
    index = torch.cat([batch.index for batch in tensors.epoch(1)])
    assert sorted(index.tolist()) == list(range(len(rows(TENSORS))))


def test_one_or_two_tensors_are_inputs_and_labels():
    batch = next(source(TensorDataset(X)).epoch(0))
    assert batch.labels is batch.domain is None
    batch = next(source(TensorDataset(X, Y)).epoch(0))
    assert torch.equal(batch.labels, Y[batch.index])


@pytest.mark.parametrize("data", [TensorDataset(X, Y, X + 1), list(zip(X, Y, X + 1, strict=True))])
def test_further_parts_of_an_example_are_not_used(data):
    batch = next(source(data).epoch(0))
    assert torch.equal(batch.inputs, X[batch.index])
    assert torch.equal(batch.labels, Y[batch.index])


@pytest.mark.parametrize("inputs", [None, [0, 2], [2, -4]])
def test_labelled_tensors_are_indexed_by_batch(inputs):
    data = labelled(TensorDataset(X, Y, X + 1, X + 2), labels=1, inputs=inputs)
    found = source(data)
    assert type(found) is TensorSource
    rows = [data[each] for each in range(len(data))]
    for ours, theirs in zip(found.epoch(0), source(rows).epoch(0), strict=True):
        parts = zip([*ours.inputs, ours.labels], [*theirs.inputs, theirs.labels], strict=True)
        assert all(torch.equal(one, other) for one, other in parts)


class TestNegativeIndices:
    """As torch has them, from the end, and at any depth."""

    @pytest.mark.parametrize(
        "wrap",
        [
            lambda data: Subset(data, [-1, 0, -11]),
            lambda data: Subset(Subset(data, [-2, 3, -1]), [-1, 0]),
            lambda data: Subset(ConcatDataset([data, data]), [-1, -22, 12]),
            lambda data: ConcatDataset([Subset(data, [-1]), data]),
        ],
    )
    def test_name_the_same_examples_in_all_sets(self, wrap):
        data = wrap(TENSORS)
        (batch,) = source(data, batch_size=99, shuffle=False).epoch(0)
        assert torch.equal(batch.inputs, torch.stack([data[at][0] for at in range(len(data))]))
        assert isinstance(source(data), TensorSource)
        (other,) = source(wrap(Examples()), batch_size=99, shuffle=False).epoch(0)
        assert torch.equal(batch.inputs, other.inputs)

    @pytest.mark.parametrize("index", [11, -12])
    def test_outside_of_the_data_are_refused(self, index):
        with pytest.raises(IndexError, match=f"index {index} is out of bounds"):
            source(Subset(TENSORS, [0, index]))


def test_a_set_of_dicts_becomes_batches_of_dict_inputs():
    batch = next(source(StackDataset(ids=X, mask=X + 1, labels=Y)).epoch(0))
    assert set(batch.inputs) == {"ids", "mask"}
    assert torch.equal(batch.inputs["mask"], X[batch.index] + 1)
    assert torch.equal(batch.labels, Y[batch.index])


def test_an_input_may_be_called_index():
    batch = next(source(StackDataset(x=X, index=torch.arange(11) + 100)).epoch(0))
    assert torch.equal(batch.inputs["index"], batch.index + 100)


def test_any_sequence_is_a_data_set():
    batches = list(source([(x, y) for x, y in zip(X, Y, strict=True)]).epoch(0))
    assert same(batches, list(source(TENSORS).epoch(0)))


class TestBadInput:
    @pytest.mark.parametrize("data", [TensorDataset(X[:0]), [], Subset(TENSORS, [])])
    def test_an_empty_set_is_refused(self, data):
        with pytest.raises(DataError, match="`train` must have at least one example, got an empty"):
            source(data)

    @pytest.mark.parametrize("data", [None, 3, object()])
    def test_an_object_that_is_not_a_data_set_is_refused(self, data):
        with pytest.raises(
            DataError,
            match=r"`train` must be a torch Dataset .* iterable of batches, got .*TensorDat",
        ):
            source(data)

    @pytest.mark.parametrize("size", [0, -4, 2.5, True, None])
    def test_a_batch_size_that_is_no_positive_integer_is_refused(self, size):
        with pytest.raises(ArgumentError, match=r"`batch_size` must be .*; it is the number of"):
            source(batch_size=size)

    @pytest.mark.parametrize(
        "data",
        [
            [(X[0], 1), (X[0, :1], 1)],
            [(object(), 1)] * 2,
            {"a": X, "b": X},
        ],
        ids=["unequal shapes", "no tensors", "a dict"],
    )
    def test_examples_that_make_no_batch_are_refused_with_the_cause(self, data):
        with pytest.raises(
            DataError,
            match=r"`train` \(.*could not be loaded: \w+Error.*must be tensors|of one shape",
        ) as caught:
            list(source(data).epoch(0))
        assert caught.value.__cause__ is not None

    def test_an_error_in_the_loops_body_is_not_attributed_to_the_data(self):
        def step():
            for _ in source(Examples()).epoch(0):
                raise RuntimeError("of the step")

        with pytest.raises(RuntimeError, match="of the step"):
            step()
