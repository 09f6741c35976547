"""Sets joined by domain: names with each example, by whole batches where tensors hold the data."""

import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    StackDataset,
    Subset,
    TensorDataset,
    random_split,
)

import tutelage as tl
from tutelage.data import Shard, as_source, domains, unlabelled
from tutelage.data.source import SetSource, TensorSource
from tutelage.errors import DataError
from tutelage.identity import dataset_fingerprint
from tutelage.signals import Batch


def part(first, length):
    """Examples that tell by their content which they are."""
    x = torch.arange(float(first), float(first + length)).unsqueeze(1).expand(length, 2).clone()
    return TensorDataset(x, torch.arange(first, first + length))


def as_examples(held):
    """The same examples in a plain list, which is served example by example."""
    return [held[position] for position in range(len(held))]


SETS = {"photo": part(0, 7), "sketch": part(100, 5), "drawing": part(200, 3)}
JOINED = domains(SETS)


def name_of(label):
    return ["photo", "sketch", "drawing"][label // 100]


def batches(data, epoch=0, **settings):
    return list(as_source("train", data, 4, seed=3, **settings).epoch(epoch))


def equal(one, other):
    return all(
        torch.equal(a.inputs, b.inputs)
        and torch.equal(a.labels, b.labels)
        and torch.equal(a.index, b.index)
        and list(a.domain or ()) == list(b.domain or ())
        for a, b in zip(one, other, strict=True)
    )


def test_each_example_occurs_once_with_its_domain():
    assert len(JOINED) == 15
    found = [JOINED[position] for position in range(15)]
    assert [name_of(y) for _, y, _ in found] == [name for _, _, name in found]
    assert len({y.item() for _, y, _ in found}) == 15
    assert JOINED[-1][1] == 202
    with pytest.raises(IndexError):
        JOINED[15]


def test_batches_carry_names_labels_and_inputs_of_one_example():
    for batch in batches(JOINED):
        assert list(batch.domain) == [name_of(y) for y in batch.labels.tolist()]
        assert torch.equal(batch.inputs[:, 0].long(), batch.labels)
        assert [JOINED[position][1] for position in batch.index.tolist()] == batch.labels.tolist()


@pytest.mark.parametrize(
    "data",
    [
        JOINED,
        Subset(JOINED, [14, 3, 8, 1, 9]),
        random_split(JOINED, [9, 6], torch.Generator().manual_seed(0))[1],
        domains({"photo": Subset(SETS["photo"], [5, 1]), "sketch": SETS["sketch"]}),
        domains({"photo": unlabelled(torch.rand(3, 2)), "sketch": SETS["sketch"]}),
        ConcatDataset([JOINED, domains({"sketch": part(300, 2), "new": part(400, 2)})]),
        ConcatDataset([SETS["photo"], unlabelled(torch.rand(4, 2)), SETS["sketch"]]),
        unlabelled(JOINED),
        ConcatDataset([TensorDataset(torch.rand(2, 2), torch.ones(2).byte()), SETS["photo"]]),
    ],
    ids=["whole", "subset", "split", "of subsets", "unlabelled part", "of domains", "beside",
         "unlabelled", "labels of two sizes"],
)  # fmt: skip
def test_batches_of_tensors_equal_those_example_by_example(data):
    fast, slow = (as_source("train", each, 4, seed=0) for each in (data, as_examples(data)))
    assert isinstance(fast, TensorSource)
    assert isinstance(slow, SetSource)
    assert equal(list(fast.epoch(1)), list(slow.epoch(1)))


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(1, 8), st.integers(0, 99))
def test_any_sizes(lengths, batch_size, seed):
    """The plain reference: one list of examples, each looked up by its position."""
    sets = {str(position): part(100 * position, length) for position, length in enumerate(lengths)}
    plain = [(label, name) for name, held in sets.items() for _, label in as_examples(held)]
    source = as_source("train", domains(sets), batch_size, seed=seed)
    for batch in source.epoch(0):
        found = list(zip(batch.labels, batch.domain, strict=True))
        assert found == [plain[position] for position in batch.index.tolist()]


def test_tensors_of_several_kinds_are_left_to_the_collation():
    mixed = domains(
        {"a": part(0, 3), "b": TensorDataset(torch.rand(3, 2).double(), SETS["drawing"].tensors[1])}
    )
    assert isinstance(as_source("train", mixed, 4), SetSource)


def test_shards_of_processes_have_their_names():
    for whole, *parts in zip(
        batches(JOINED), *(batches(JOINED, shard=Shard(rank, 2)) for rank in range(2)), strict=True
    ):
        assert [name for each in parts for name in each.domain] == list(whole.domain)


def test_names_stay_with_their_rows():
    batch = batches(JOINED)[0]
    assert list(batch[1:3].domain) == list(batch.domain)[1:3]
    assert list(batch.to(torch.device("cpu")).domain) == list(batch.domain)


def test_a_loader_yields_them_too():
    for raw in DataLoader(JOINED, 4):
        batch = Batch.of(raw)
        assert list(batch.domain) == [name_of(y) for y in batch.labels.tolist()]


def test_dicts_are_tagged_by_a_key():
    x, y = SETS["photo"].tensors
    batch = batches(domains({"photo": StackDataset(x=x, labels=y)}))[0]
    assert set(batch.inputs) == {"x"}
    assert list(batch.domain) == ["photo"] * 4


@pytest.mark.parametrize("loader", [False, True])
def test_a_name_in_a_tuple_is_a_domain_where_the_caller_says_so(loader):
    rows = [(torch.zeros(2), 1, "photo")] * 4
    named = tl.data.labelled(rows, labels=1, inputs=[0], domain=2)
    batch = batches(DataLoader(named, 4) if loader else named)[0]
    assert batch.labels.tolist() == [1] * 4
    assert list(batch.domain) == ["photo"] * 4
    batch = batches(DataLoader(rows, 4) if loader else rows)[0]
    assert (batch.labels.tolist(), batch.domain) == ([1] * 4, None)


def test_a_file_name_beside_each_image_is_no_domain():
    rows = [(torch.randn(3), each % 2, f"{each}.jpg") for each in range(8)]
    student = torch.nn.Linear(3, 2)
    run = tl.fit(
        student, train=rows, val=rows, objective=tl.HardLabels(), epochs=1,
        transform=tl.data.Mixup(),
    )  # fmt: skip
    assert not [name for name in run.history[0] if "jpg" in name]
    mixed = tl.data.Mixup()(batches(rows)[0])
    assert bool((mixed.mixture.labels != mixed.labels).any())


def test_other_domains_are_other_data():
    prints = {
        dataset_fingerprint(each)
        for each in (JOINED, domains({"x": SETS["photo"], **SETS}), unlabelled(JOINED))
    }
    prints.add(dataset_fingerprint(ConcatDataset(list(SETS.values()))))
    renamed = {name.upper(): held for name, held in SETS.items()}
    prints.add(dataset_fingerprint(domains(renamed)))
    assert len(prints) == 5
    assert dataset_fingerprint(pickle.loads(pickle.dumps(JOINED))) in prints


class TestBadInput:
    @pytest.mark.parametrize("sets", [[SETS["photo"]], None])
    def test_an_object_that_is_not_a_dict_of_sets(self, sets):
        with pytest.raises(tl.ArgumentError, match="`sets` must be a dict by name"):
            domains(sets)

    def test_invalid_names(self):
        with pytest.raises(DataError, match="named by a str, got 3; write '3'"):
            domains({3: SETS["photo"]})

    @pytest.mark.parametrize("held", [[], 3, iter([]), TensorDataset(torch.zeros(0, 2))])
    def test_data_without_examples(self, held):
        with pytest.raises(DataError, match=r"'photo' must have a data set .* leave the domain"):
            domains({"photo": held})

    @pytest.mark.parametrize("held", [TensorDataset(torch.zeros(3, 2)), [torch.zeros(2)] * 3])
    def test_examples_without_labels(self, held):
        with pytest.raises(DataError, match=r"tl.data.unlabelled\(set\)"):
            batches(domains({"photo": held}))


class Counting(tl.teachers.Predictor):
    """A teacher of strings that records how many it was given."""

    def __init__(self, seen):
        self.seen = seen

    def signals(self, batch, fields):
        self.seen.append(batch.inputs["text"])
        return tl.Signals(torch.tensor([[float(len(each))] for each in batch.inputs["text"]]))


def test_each_specialist_is_given_the_texts_of_its_own_domain():
    """Beside tensors, lists with one item per example are split too."""
    texts, names = ["a", "bb", "ccc", "dddd"], ["day", "night", "day", "night"]
    seen = {name: [] for name in ("day", "night")}
    team = tl.teachers.Specialists({name: Counting(log) for name, log in seen.items()})
    batch = Batch({"x": torch.zeros(4, 1), "text": texts}, domain=names)
    output = team.signals(batch, tl.Fields(output=True)).output
    assert output.flatten().tolist() == [1, 2, 3, 4]
    assert seen == {"day": [["a", "ccc"]], "night": [["bb", "dddd"]]}


def test_the_package_has_it():
    assert tl.data.domains is domains
