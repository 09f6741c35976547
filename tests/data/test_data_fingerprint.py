"""What tells a run's data from other data: every kind of set, read without disturbing it."""

import logging
import random
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

import tutelage as tl
from tutelage.data import as_source, randomness
from tutelage.data.data_fingerprint import _warn_once
from tutelage.data.fingerprint import content

X = torch.arange(400.0).reshape(100, 4)
Y = torch.arange(100) % 3


@pytest.fixture(autouse=True)
def say_again():
    _warn_once.cache_clear()


def fingerprint(data):
    return as_source("train", data, 8, seed=0).fingerprint()


class Held(Dataset):
    """A set over what it holds in attributes."""

    def __init__(self, x=X, y=Y, make=lambda x, y: (x, y), **more):
        self.x, self.y, self.make = x, y, make
        vars(self).update(more)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return self.make(self.x[index], self.y[index])


class Opaque:
    """Hides what it is made of."""

    def __init__(self, get):
        self.get = get

    def __len__(self):
        return 100

    def __getitem__(self, index):
        return self.get(index)


class Stream(IterableDataset):
    def __init__(self, items):
        self.items = items

    def __iter__(self):
        return iter(self.items)


class OneLoss:
    def __init__(self, items):
        self.items = iter(items)

    def __iter__(self):
        return self.items


def with_one_changed(value):
    changed = value.clone()
    changed[37] += 1
    return changed


KINDS = {
    "tensors": TensorDataset,
    "a tuple of tensors": lambda x, y: (x, y),
    "a subset": lambda x, y: Subset(TensorDataset(x, y), range(99)),
    "held tensors": Held,
    "held arrays": lambda x, y: Held(x.numpy(), y.numpy()),
    "held lists": lambda x, y: Held(x.tolist(), y.tolist()),
    "a list": lambda x, y: list(zip(x, y.tolist(), strict=True)),
    "a loader": lambda x, y: DataLoader(TensorDataset(x, y), 8, shuffle=True),
    "a loader of a held set": lambda x, y: DataLoader(Held(x, y), 8),
    "within others": lambda x, y: Subset(ConcatDataset([Held(), Held(x, y)]), range(150)),
    "augmented by global generators": lambda x, y: Held(
        x, y, lambda x, y: (x + torch.randn(4) + np.random.rand() + random.random(), y)
    ),
}
EVERY_KIND = pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)


class TestContentInAttributes:
    @EVERY_KIND
    def test_is_known_again(self, make):
        first = fingerprint(make(X, Y))
        torch.rand(3)
        assert first == fingerprint(make(X.clone(), Y.clone()))
        assert isinstance(first, str)

    @EVERY_KIND
    @pytest.mark.parametrize("which", ["inputs", "labels"])
    def test_changes_with_any_single_example(self, make, which):
        changed = (with_one_changed(X), Y) if which == "inputs" else (X, with_one_changed(Y))
        assert fingerprint(make(X, Y)) != fingerprint(make(*changed))

    @given(st.integers(0, 99), st.integers(0, 3))
    def test_changes_wherever_a_value_changes(self, row, column):
        changed = X.clone()
        changed[row, column] -= 1
        assert fingerprint(Held(changed)) != fingerprint(Held())

    def test_does_not_change_with_the_folder_that_files_lie_in(self):
        sets = [
            Held(paths=[(f"{root}/a/{n}.png", n) for n in range(3)], root=root)
            for root in ("/here/data", "/there/data")
        ]
        assert fingerprint(sets[0]) == fingerprint(sets[1])
        assert fingerprint(sets[0]) != fingerprint(Held(paths=[("/x/b.png", 1)], root="/x/data"))

    def test_of_tables(self):
        pandas = pytest.importorskip("pandas")
        frames = [pandas.DataFrame({"a": [1, 2], "b": [text, "c"]}) for text in "xxy"]
        same, again, other = (fingerprint(Held(frame=frame)) for frame in frames)
        assert same == again != other
        assert same != fingerprint(Held(frame=frames[0].rename(columns={"a": "z"})))

    def test_of_a_large_set(self, monkeypatch):
        monkeypatch.setattr("tutelage.data.data_fingerprint._LONGEST", 100)
        assert fingerprint(Held()) == fingerprint(Held(X.clone()))
        assert fingerprint(Held()) != fingerprint(Held(X + 1))


class TestComputedContent:
    def test_changes_with_the_examples(self):
        sets = [Opaque(lambda n, by=by: (X[n] + by, Y[n])) for by in (0, 0, 1)]
        same, again, other = map(fingerprint, sets)
        assert same == again != other

    def test_reads_few_examples(self):
        seen = Counter()
        large = Opaque(lambda n: (seen.update([n]), X[n % 100])[1])
        large.__class__ = type("Large", (Opaque,), {"__len__": lambda _: 10**6})
        fingerprint(large)
        assert len(seen) <= 66
        assert max(seen.values()) == 2

    def test_of_another_set_in_another_process_is_the_same(self):
        program = (
            "import torch; from tutelage.data import as_source\n"
            "data = [(torch.full((2,), float(n)), n, ['a', 'b']) for n in range(9)]\n"
            "print(as_source('train', data, 4, seed=0).fingerprint())"
        )
        printed = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        ).stdout
        data = [(torch.full((2,), float(n)), n, ["a", "b"]) for n in range(9)]
        assert printed.strip() == str(as_source("train", data, 4, seed=0).fingerprint())


class TestLoaders:
    def test_change_with_the_data_of_samplers(self):
        data = TensorDataset(X, Y)
        loaders = [
            DataLoader(data, 8, sampler=WeightedRandomSampler(weights, 100))
            for weights in ([1.0] * 100, [1.0] * 99 + [2.0])
        ]
        loaders += [
            DataLoader(data, 8, sampler=SubsetRandomSampler(rows)) for rows in ([1, 2], [3, 4])
        ]
        assert len(set(map(fingerprint, loaders))) == 4

    def test_change_with_the_collated_batch(self):
        def halved(examples):
            x, y = torch.utils.data.default_collate(examples)
            return x / 2, y

        data = Held()
        assert fingerprint(DataLoader(data, 8)) != fingerprint(
            DataLoader(data, 8, collate_fn=halved)
        )

    def test_are_the_same_while_and_after_they_are_used(self):
        loader = DataLoader(Held(), 8, shuffle=True, generator=torch.Generator().manual_seed(1))
        source = as_source("train", loader, 8, seed=0)
        before = source.fingerprint()
        list(source.epoch(0))
        assert source.fingerprint() == before

    def test_the_order_is_the_same_after_a_fingerprint(self):
        orders = []
        for read in (True, False):
            torch.manual_seed(0)
            generator = torch.Generator().manual_seed(1)
            source = as_source(
                "train", DataLoader(Held(), 8, shuffle=True, generator=generator), 8, seed=0
            )
            if read:
                source.fingerprint()
            orders.append([batch.labels.tolist() for batch in source.epoch(0)])
        assert orders[0] == orders[1]


GENERATORS = {
    "torch": (lambda: torch.Generator().manual_seed(3), lambda g: torch.rand(2, generator=g)),
    "numpy": (lambda: np.random.default_rng(3), lambda g: g.random(2)),
    "old numpy": (lambda: np.random.RandomState(3), lambda g: g.rand(2)),
    "Python": (lambda: random.Random(3), lambda g: g.random()),
}


class TestWithoutATrace:
    @pytest.mark.parametrize("kind", GENERATORS)
    @pytest.mark.parametrize("held", ["attribute", "closure", "transform"])
    def test_generators_of_the_set_go_on_as_if_it_had_not_been_read(self, kind, held):
        make, draw = GENERATORS[kind]
        generator, twin = make(), make()
        if held == "closure":
            data = Held(make=lambda x, _: (x, draw(generator)))
        elif held == "attribute":
            data = Held(own=generator)
            data.make = lambda x, _: (x, draw(data.own))
        else:
            transform = type("T", (), {"__call__": lambda self, _: draw(self.g)})()
            transform.g = generator
            data = Held(make=lambda x, _: (x, transform(x)), transform=transform)
        fingerprint(data)
        assert content(data[0][1]) == content(draw(twin))

    def test_global_generators_go_on(self):
        stream = Stream([(x, random.random()) for x in X])
        before = content(list(randomness.capture().values()))
        fingerprint(Held(make=lambda x, _: (x, random.random() + np.random.rand())))
        fingerprint(DataLoader(stream))
        assert content(list(randomness.capture().values())) == before

    def test_counters_caches_and_files_are_as_before(self):
        class Lazy(Held):
            def __getitem__(self, index):
                self.calls, self.file = self.calls + 1, self.file or object()
                self.cache = index
                return super().__getitem__(index)

        data = Lazy(calls=0, file=None)
        first = fingerprint(data)
        assert (data.calls, data.file, "cache" in vars(data)) == (0, None, False)
        data.calls = 1234
        assert fingerprint(data) == first


class TestUnreadableData:
    def output_of(self, caplog):
        return [each.message for each in caplog.records if each.name == "tutelage"]

    def unrepeatable(self, y=Y, seed=None):
        generator = np.random.default_rng(seed)
        return Held(y=y, make=lambda x, y: (x + generator.random(), y), strength=0.5)

    def test_a_set_that_does_not_repeat_itself_is_known_by_its_attributes(self, caplog):
        first = fingerprint(self.unrepeatable())
        assert first == fingerprint(self.unrepeatable())
        assert first != fingerprint(self.unrepeatable(with_one_changed(Y)))
        assert fingerprint(DataLoader(self.unrepeatable(), 8)) == fingerprint(
            DataLoader(self.unrepeatable(), 8)
        )
        (message,) = self.output_of(caplog)
        assert "`train` (Held)" in message
        assert "(x, y, strength) only" in message
        assert "Use another folder `out`" in message

    def test_unreadable_data_has_no_fingerprint(self, caplog):
        counter = iter(range(10**6))
        assert fingerprint(Opaque(lambda _: next(counter))) is None
        assert "identified by its size only" in self.output_of(caplog)[0]

    def test_a_stream_is_identified_by_its_first_examples_with_a_warning(self, caplog):
        first, again = (fingerprint(Stream(list(X))) for _ in range(2))
        assert first == again != fingerprint(Stream(list(X + 1)))
        assert "identified by its first 8" in self.output_of(caplog)[0]

    @pytest.mark.parametrize("level", [logging.WARNING])
    def test_an_iterator_keeps_all_its_examples(self, caplog, level):
        stream = Stream(OneLoss(list(X)).items)
        assert fingerprint(stream) is None
        assert len(list(stream)) == 100
        assert self.output_of(caplog)[0].startswith("The examples of `train` (Stream)")
        assert {each.levelno for each in caplog.records} == {level}

    def test_the_warning_is_logged_once(self, caplog):
        for _ in range(3):
            fingerprint(Stream(list(X)))
        assert len(self.output_of(caplog)) == 1

    def test_data_that_is_read_completely_gives_no_warning(self, caplog):
        for make in KINDS.values():
            fingerprint(make(X, Y))
        assert self.output_of(caplog) == []

    def test_a_set_that_fails_is_left_to_training(self):
        assert fingerprint(Opaque(lambda n: 1 / n)) is None


class TestRuns:
    """The same call on other data is another run, whatever holds the data."""

    def trained(self, data, out):
        torch.manual_seed(0)
        return tl.fit(nn.Linear(4, 3), train=data, epochs=1, batch_size=8, out=out)

    @EVERY_KIND
    def test_on_other_data_are_refused_and_on_the_same_returned(self, make, tmp_path):
        first = self.trained(make(X / 400, Y), tmp_path).student
        again = self.trained(make(X / 400, Y), tmp_path).student
        assert torch.equal(first.weight, again.weight)
        with pytest.raises(tl.RunFolderError):
            self.trained(make(X / 400, (Y + 1) % 3), tmp_path)
