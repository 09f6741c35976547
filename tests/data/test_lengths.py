"""Batches of examples of similar length."""

from itertools import chain

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import (
    DataLoader,
    Dataset,
    TensorDataset,
)

from tutelage.data import Shard, Views, as_source
from tutelage.data.source import Order
from tutelage.errors import ArgumentError, DataError
from tutelage.signals import IndexedExample

X = torch.arange(22.0).reshape(11, 2)
Y = torch.arange(11) % 3
TENSORS = TensorDataset(X, Y)
SIZES = st.integers(1, 40)
SEEDS = st.integers(-(2**40), 2**70)


def positions(order, epoch=0, start=0):
    return [batch.tolist() for batch in order.batches(epoch, start)]


def flat(order, epoch=0):
    return [position for batch in positions(order, epoch) for position in batch]


class Texts(Dataset):
    """Texts of several lengths, in several forms."""

    def __init__(self, form, examples=200):
        self.form, self.examples = form, examples

    def __len__(self):
        return self.examples

    def __getitem__(self, place):
        length = place * 37 % 41 + 1
        torch.rand(1)  # as an augmentation does
        if self.form == "str":
            return "a" * length, 0
        tokens = list(range(length)) if self.form == "list" else torch.arange(length)
        return {"input_ids": tokens, "labels": tokens, "domain": "a domain of many characters" * 2}


class AtRandom(Dataset):
    """Texts of a random length each time."""

    def __init__(self, generator=None):
        self.generator = generator

    def __len__(self):
        return 60

    def __getitem__(self, place):
        return "a" * int(torch.randint(1, 500, (), generator=self.generator)), 0


FORMS = {
    "list": lambda length: ["a" * length, 0],
    "nested": lambda length: (("a" * length, "b"), 0),
    "dict in a tuple": lambda length: ({"input_ids": [1] * length}, 0),
    "domain": lambda length: ("a" * length, list(range(99)), "a domain"),
    "indexed": lambda length: IndexedExample(("a" * length, list(range(99))), 0, 0),
    "mask": lambda length: {"x": "a" * length, "row_mask": [1] * 99, "y": [1] * 99},
}


class TestGroupedByLength:
    @given(SIZES, SIZES, SEEDS, st.integers(0, 1000), st.integers(0, 41))
    def test_each_example_occurs_exactly_once_and_may_begin_anywhere(
        self, examples, size, seed, epoch, start
    ):
        lengths = torch.arange(examples) * 7 % 5
        order = Order(examples, size, seed, lengths)
        assert sorted(flat(order, epoch)) == list(range(examples))
        sizes = [len(batch) for batch in positions(order, epoch)]
        assert set(sizes[:-1]) <= {size}
        assert positions(order, epoch, start) == positions(order, epoch)[start:]

    def test_a_batch_has_examples_of_similar_length_and_batches_no_order_of_length(self):
        lengths = torch.randint(1, 100, (1000,), generator=torch.Generator().manual_seed(0))
        order = Order(1000, 8, 0, lengths)
        batches = [lengths[batch] for batch in order.batches(0, 0)]
        within = torch.stack([(batch.max() - batch.min()) for batch in batches]).float()
        assert within.mean() < 4  # of 99; of random batches 78 on average
        longest = torch.stack([batch.max() for batch in batches]).float()
        rank = torch.arange(len(longest)).float()
        assert abs(torch.corrcoef(torch.stack([longest, rank]))[0, 1]) < 0.3
        assert positions(order, 0) != positions(order, 1)

    @pytest.mark.parametrize("form", ["str", "list", "tensor"])
    def test_the_length_of_an_example_is_that_of_its_longest_input(self, form):
        state = torch.get_rng_state()
        found = as_source("train", Texts(form), 8, seed=1, group_by_length=True).order.lengths
        assert found.tolist() == [place * 37 % 41 + 1 for place in range(200)]
        assert torch.equal(torch.get_rng_state(), state)

    @pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
    def test_labels_and_domains_have_no_part_in_it(self, form):
        data = [form(length) for length in range(1, 30)]
        found = as_source("train", data, 8, seed=1, group_by_length=True).order.lengths
        assert found.tolist() == list(range(1, 30))

    def test_small_data_has_other_batches_in_each_epoch_too(self):
        order = Order(200, 8, 0, torch.arange(200))
        first, second = ({frozenset(each) for each in positions(order, at)} for at in (0, 1))
        assert len(first & second) < 5

    def test_lengths_do_not_depend_on_random_states_or_on_the_view_shown_last(self):
        texts = [("a" * length, 0) for length in range(1, 60)]
        views = Views(texts, lambda text: text[: int(torch.randint(1, len(text) + 1, ()))])
        for data in (views, AtRandom()):
            found = []
            for state in range(2):
                torch.manual_seed(state)
                views.set_epoch(state)
                own = as_source("train", data, 8, seed=1, group_by_length=True)
                found.append(own.order.lengths)
            assert torch.equal(*found)

    def test_processes_share_each_batch_whatever_their_random_states(self):
        parts = []
        for rank in range(2):
            torch.manual_seed(rank)
            own = as_source(
                "train", AtRandom(), 8, seed=1, shard=Shard(rank, 2), group_by_length=True
            )
            parts.append([batch.index.tolist() for batch in own.epoch(0)])
        joined = [first + second for first, second in zip(*parts, strict=True)]
        assert sorted(chain(*joined)) == list(range(60))

    def test_lengths_that_differ_each_time_are_refused_and_the_generator_is_as_before(self):
        data = AtRandom(torch.Generator().manual_seed(0))
        with pytest.raises(DataError, match="of the same length each time, got example"):
            as_source("train", data, 8, seed=1, group_by_length=True)
        assert data[0] == AtRandom(torch.Generator().manual_seed(0))[0]

    def test_what_has_no_lengths_is_refused(self):
        for data, expected in (
            (TensorDataset(X[:, 0], Y), "examples that have a length"),
            (DataLoader(Texts("str"), 4), "DataLoader"),
        ):
            with pytest.raises((ArgumentError, DataError), match=expected):
                as_source("train", data, 4, seed=0, group_by_length=True)

    def test_an_example_that_cannot_be_loaded_is_named(self):
        class Broken(Texts):
            def __getitem__(self, place):
                if place == 7:
                    raise KeyError("text")
                return super().__getitem__(place)

        with pytest.raises(DataError, match="must load its example 7, got KeyError: 'text'"):
            as_source("train", Broken("str"), 4, seed=0, group_by_length=True)


class TestTextsAreGroupedUnlessToldOtherwise:
    def lengths(self, data, **settings):
        source = as_source("train", data, 8, seed=1, group_by_length=None, **settings)
        return source.order.lengths if hasattr(source, "order") else None

    @pytest.mark.parametrize("pair", [False, True])
    def test_of_strings(self, pair):
        texts = ["a" * (1 + 7 * place % 30) for place in range(40)]
        data = [((text, "b") if pair else text, 0) for text in texts]
        assert self.lengths(data).tolist() == list(map(len, texts))

    def test_of_others(self):
        assert self.lengths([torch.zeros(each) for each in range(1, 9)]) is None
        assert self.lengths((torch.zeros(8, 2), torch.zeros(8))) is None
        assert self.lengths(DataLoader(["text"] * 8)) is None

    def test_of_very_many(self, monkeypatch):
        monkeypatch.setattr("tutelage.data.source._MOST_TEXTS", 3)
        assert self.lengths(["a", "bb", "c"]) is not None
        assert self.lengths(["a", "bb", "c", "d"]) is None

    def test_of_texts_that_change_in_a_way_that_no_seed_repeats(self):
        class Changing(list):
            calls = 0

            def __getitem__(self, place):
                Changing.calls += 1
                return "a" * Changing.calls

        assert self.lengths(Changing(["a"] * 9)) is None
