"""A user's DataLoader: its own order, and the same order when a run is resumed."""

import io

import numpy as np
import pytest
import torch
from torch.utils.data import (
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    Sampler,
    TensorDataset,
    WeightedRandomSampler,
    get_worker_info,
)

import tutelage as tl
from tutelage.data import Shard, as_source, randomness
from tutelage.data.loader_source import LoaderSource
from tutelage.errors import DataError

EXAMPLES = 11


class Augmented(Dataset):
    """Examples with noise from the global state of torch and of numpy, as augmentations draw it."""

    def __len__(self):
        return EXAMPLES

    def __getitem__(self, position):
        noise = torch.rand(2, dtype=torch.float64)
        return noise + position + np.random.rand(), position


class Stream(IterableDataset):
    """Examples in a random order, without a length."""

    def __iter__(self):
        for position in torch.randperm(EXAMPLES).tolist():
            yield torch.rand(2, dtype=torch.float64) + position, position


class OwnBatches(Sampler):
    """A batch sampler with a generator of its own."""

    def __init__(self):
        self.generator = torch.Generator().manual_seed(3)

    def __iter__(self):
        for batch in torch.randperm(EXAMPLES, generator=self.generator).split(4):
            yield batch.tolist()

    def __len__(self):
        return 3


def seeded(seed=3):
    return torch.Generator().manual_seed(seed)


LOADERS = {
    "in order": lambda: DataLoader(Augmented(), 4),
    "shuffled": lambda: DataLoader(Augmented(), 4, shuffle=True),
    "last dropped": lambda: DataLoader(Augmented(), 4, shuffle=True, drop_last=True),
    "generator": lambda: DataLoader(Augmented(), 4, shuffle=True, generator=seeded()),
    "sampler": lambda: DataLoader(
        Augmented(), 4, sampler=WeightedRandomSampler([1.0] * EXAMPLES, 14, generator=seeded())
    ),
    "two generators": lambda: DataLoader(
        Augmented(),
        4,
        sampler=RandomSampler(Augmented(), replacement=True, generator=seeded()),
        generator=seeded(4),
    ),
    "batch sampler": lambda: DataLoader(Augmented(), batch_sampler=OwnBatches()),
    "single examples": lambda: DataLoader(
        StreamOfPairs(), batch_size=None, sampler=RandomSampler(StreamOfPairs(), generator=seeded())
    ),
    "stream": lambda: DataLoader(Stream(), 4),
}


class StreamOfPairs(Dataset):
    """A set whose items are batches already."""

    def __len__(self):
        return 5

    def __getitem__(self, position):
        return torch.rand(2, 2, dtype=torch.float64) + position, torch.tensor([position, position])


EVERY_LOADER = pytest.mark.parametrize("make", LOADERS.values(), ids=LOADERS)


def source(loader, shard=None):
    return as_source("train", loader, 64, seed=1, shard=shard)


def content(batches):
    return [(batch.inputs.tolist(), batch.labels.tolist()) for batch in batches]


def train(batches):
    """Take batches as a training loop does, which draws from the global state for its dropout."""
    seen = []
    for batch in batches:
        seen.append(batch)
        torch.rand(3)
        np.random.rand()
    return content(seen)


def through_a_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def interrupted(make, stop):
    """Train two epochs and `stop` batches, keep the state, and go on; return both."""
    torch.manual_seed(5)
    ours = source(make())
    for epoch in range(2):
        train(ours.epoch(epoch))
    batches = ours.epoch(2)
    train(next(batches) for _ in range(stop))
    kept = through_a_file({"source": ours.state(), "random": randomness.capture()})
    return kept, [train(batches), train(ours.epoch(3))]


def resumed(make, kept, stop):
    """Go on from a state with everything made afresh, as in another process."""
    torch.manual_seed(99)
    np.random.seed(99)
    fresh = source(make())
    fresh.load(kept["source"])
    randomness.restore(kept["random"])
    return [train(fresh.epoch(2, start=stop)), train(fresh.epoch(3))]


@EVERY_LOADER
def test_the_order_is_exactly_the_loaders(make):
    torch.manual_seed(3)
    np.random.seed(3)
    loader = make()
    expected = [[(x.tolist(), y.tolist()) for x, y in loader] for _ in range(2)]
    torch.manual_seed(3)
    np.random.seed(3)
    ours = source(make())
    assert [content(ours.epoch(epoch)) for epoch in range(2)] == expected


@EVERY_LOADER
@pytest.mark.parametrize("stop", [0, 1, 2])
def test_a_resumed_run_gets_exactly_the_remaining_batches(make, stop):
    kept, expected = interrupted(make, stop)
    assert len(expected[0]) + stop == len(expected[1])
    assert resumed(make, kept, stop) == expected


@EVERY_LOADER
def test_a_run_resumed_after_an_epoch_continues_with_the_next(make):
    length = len(content(source(make()).epoch(0)))
    kept, expected = interrupted(make, length)
    assert expected[0] == []
    assert resumed(make, kept, length) == expected


def test_a_run_may_be_interrupted_twice_in_an_epoch():
    make = LOADERS["shuffled"]
    kept, expected = interrupted(make, 1)
    fresh = source(make())
    fresh.load(kept["source"])
    randomness.restore(kept["random"])
    batches = fresh.epoch(2, start=1)
    assert train([next(batches)]) == expected[0][:1]
    again = through_a_file({"source": fresh.state(), "random": randomness.capture()})
    assert resumed(make, again, 2) == [expected[0][1:], expected[1]]


class Shared(IterableDataset):
    """Examples of which each worker yields all, or its own part."""

    def __init__(self, parts):
        self.parts = parts

    def __iter__(self):
        info = get_worker_info()
        step, first = (info.num_workers, info.id) if self.parts and info else (1, 0)
        return iter(torch.arange(8).float().unsqueeze(1)[first::step])


@pytest.mark.parametrize("parts", [False, True])
def test_workers_that_all_load_a_whole_stream_are_told(parts, caplog):
    batches = list(source(DataLoader(Shared(parts), 2, num_workers=2)).epoch(0))
    seen = torch.cat([each.inputs for each in batches]).flatten().sort().values
    assert len(seen) == (8 if parts else 16)
    assert ("2 workers that give the same examples" in caplog.text) != parts


class OwnState(Sampler):
    """Draws from a generator that nobody but it knows."""

    def __init__(self):
        self.own = np.random.default_rng()  # in another process another one

    def __iter__(self):
        return iter(self.own.permutation(EXAMPLES).tolist())

    def __len__(self):
        return EXAMPLES


def test_an_order_that_cannot_be_resumed_is_said(caplog):
    def make():
        return DataLoader(Augmented(), 4, sampler=OwnState())

    kept, expected = interrupted(make, 2)
    assert resumed(make, kept, 2) != expected
    [record] = caplog.records
    assert "`train` cannot be resumed within an epoch exactly" in record.getMessage()
    assert "BatchSampler has a random state of its own" in record.getMessage()


@EVERY_LOADER
def test_of_others_nothing_is_said(make, caplog):
    kept, expected = interrupted(make, 2)
    assert resumed(make, kept, 2) == expected
    assert not caplog.records


@pytest.mark.parametrize("generator", [False, True], ids=["global state", "generator"])
def test_a_run_with_workers_sees_exactly_the_remaining_batches(generator):
    def make():
        own = seeded() if generator else None
        return DataLoader(Augmented(), 4, shuffle=True, num_workers=2, generator=own)

    torch.manual_seed(5)
    ours = source(make())
    batches = ours.epoch(0)
    train([next(batches)])
    kept = through_a_file({"source": ours.state(), "random": randomness.capture()})
    expected = train(batches)
    torch.manual_seed(99)
    fresh = source(make())
    fresh.load(kept["source"])
    randomness.restore(kept["random"])
    assert train(fresh.epoch(0, start=1)) == expected
    assert len(expected) == 2


def test_set_epoch_of_samplers_is_called():
    def make():
        sampler = DistributedSampler(Augmented(), num_replicas=1, rank=0, seed=2)
        return DataLoader(Augmented(), 4, sampler=sampler)

    labels = [[y for _, y in content(source(make()).epoch(epoch))] for epoch in (0, 1)]
    assert labels[0] != labels[1]
    tail = [y for _, y in content(source(make()).epoch(1, start=1))]
    assert tail == labels[1][1:]


def test_length_is_the_loaders_where_known():
    assert len(source(LOADERS["shuffled"]())) == 3
    assert source(LOADERS["stream"]()).batches_per_epoch() is None


def test_a_stream_needs_no_loader():
    ours = source(Stream())
    assert isinstance(ours, LoaderSource)
    batches = content(ours.epoch(0))
    assert sorted(batches[0][1]) == list(range(EXAMPLES))


def test_the_description_contains_the_sampler():
    assert source(LOADERS["shuffled"]()).description == {
        "batches": 3,
        "batch_size": 4,
        "sampler": "RandomSampler",
    }


class TestShards:
    @pytest.fixture
    def wire(self, monkeypatch):
        """Stand in for the broadcast between processes, which here run one after the other."""
        sent = []

        def broadcast(objects, src):
            assert src == 0
            if sent:
                objects[:] = sent
            else:
                sent.extend(objects)

        monkeypatch.setattr(torch.distributed, "broadcast_object_list", broadcast)

    @pytest.mark.parametrize("name", ["shuffled", "generator", "sampler", "batch sampler"])
    def test_all_processes_use_the_order_of_rank_0(self, wire, name):
        torch.manual_seed(1)
        whole = [y for _, y in content(source(LOADERS[name]()).epoch(0))]
        parts = []
        for rank in range(2):
            torch.manual_seed(1 if rank == 0 else 77)
            ours = source(LOADERS[name](), Shard(rank, 2))
            parts.append([y for _, y in content(ours.epoch(0))])
        assert [first + second for first, second in zip(*parts, strict=True)] == whole

    def test_each_process_gets_all_of_a_batch_smaller_than_their_number(self, wire):
        loader = DataLoader(TensorDataset(torch.arange(6.0)[:, None]), 5)
        parts = [list(source(loader, Shard(rank, 2)).epoch(0)) for rank in range(2)]
        assert [part[-1].inputs.tolist() for part in parts] == [[[5.0]], [[5.0]]]
        assert [[batch.replicas for batch in part] for part in parts] == [[1, 2], [1, 2]]

    def test_each_process_keeps_its_own_random_state(self, wire):
        draws = []
        for rank in range(2):
            torch.manual_seed(40 + rank)
            batches = source(DataLoader(TensorDataset(torch.zeros(8, 1)), 4), Shard(rank, 2)).epoch(
                0
            )
            next(batches)
            draws.append(torch.rand(1).item())
        torch.manual_seed(41)
        # What rank 1 drew for the order, it drew from the state of rank 0.
        assert draws[1] == torch.rand(1).item()
        assert draws[0] != draws[1]


class TestBadInput:
    def test_an_empty_loader_is_refused(self):
        loader = DataLoader(TensorDataset(torch.zeros(3, 1)), 4, drop_last=True)
        with pytest.raises(DataError, match=r"`train` must yield at least one .*drop_last=False"):
            source(loader)

    def test_batches_of_a_wrong_type_are_refused(self):
        loader = DataLoader([1, 2, 3], 2, collate_fn=lambda _: "text")
        with pytest.raises(DataError, match=r"a batch must be a tensor.*got str"):
            list(source(loader).epoch(0))


class Once(IterableDataset):
    """A stream that can be read a single time."""

    def __init__(self):
        self.examples = iter([(torch.full((2,), float(at)), at % 2) for at in range(8)])

    def __iter__(self):
        return self.examples


def test_a_look_at_a_stream_that_is_read_once_loses_nothing():
    stream = tl.data.as_source("train", Once(), 4)
    assert stream.peek().inputs[:, 0].tolist() == [0, 1, 2, 3]
    assert torch.cat([each.inputs[:, 0] for each in stream.epoch(0)]).tolist() == list(range(8))


class Batches:
    """An iterable of batches that is no DataLoader."""

    def __iter__(self):
        return ((torch.full((3, 2), float(at)), torch.arange(3)) for at in range(4))


@pytest.mark.parametrize("loader", [Batches(), [tl.Batch.of(each) for each in Batches()]])
def test_any_iterable_of_batches_is_a_loader(loader):
    found = tl.data.as_source("train", loader, 64)
    assert [(len(each), each.inputs[0, 0].item()) for each in found.epoch(0, 1)] == [
        (3, 1.0), (3, 2.0), (3, 3.0)
    ]  # fmt: skip
    run = tl.fit(torch.nn.Linear(2, 3), train=loader, objective=tl.HardLabels(), epochs=2)
    assert run.history[-1]["step"] == 8
