"""What values, models and data sets declare; the test for random augmentation."""

import copy
import random
import subprocess
import sys
from collections import namedtuple
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import nn
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    TensorDataset,
    WeightedRandomSampler,
)

from tutelage.data import labelled, randomness
from tutelage.data.fingerprint import content
from tutelage.errors import DataError
from tutelage.identity import (
    EXAMPLES,
    dataset_fingerprint,
    declared,
    declared_data,
    draws_at_random,
    identity,
    model_identity,
)

X = torch.arange(400.0).reshape(100, 4)
Y = torch.arange(100) % 3
PAIR = namedtuple("PAIR", "left right")


@dataclass
class Example:
    pixels: torch.Tensor
    name: str


class Made(Dataset):
    """Examples made by a function of their position."""

    def __init__(self, make, length=100):
        self.make, self.length = make, length

    def __len__(self):
        return self.length

    def __getitem__(self, position):
        return self.make(position)


def image(shade, mode="RGB", size=(4, 3)):
    return Image.new(mode, size, shade)


def palette(shade):
    made = Image.new("P", (2, 2), 0)
    made.putpalette([shade] * 768)
    return made


DIFFERENT = [
    (torch.zeros(2), torch.ones(2)),
    (torch.zeros(2), torch.zeros(2, 1)),
    (torch.zeros(2), torch.zeros(2, dtype=torch.float64)),
    (torch.zeros(2), torch.zeros(2, dtype=torch.bfloat16)),
    (np.zeros(2), np.ones(2)),
    (np.zeros(2), np.zeros((1, 2))),
    (np.zeros(2, np.float32), np.zeros(2, np.int32)),
    (np.array([None, 1], object), np.array([None, 2], object)),
    (np.float32(1), np.float32(2)),
    (1, 2),
    (1, 1.0),
    (1, True),
    ("a", "b"),
    ("1", 1),
    (b"a", "a"),
    (None, 0),
    (1 + 2j, 1 + 3j),
    ((1, 2), (2, 1)),
    ((1, (2, 3)), ((1, 2), 3)),
    ((1, 2), [1, 2]),
    ("ab", ("a", "b")),
    (("ab", "c"), ("a", "bc")),
    ({"a": 1}, {"a": 2}),
    ({"a": 1}, {"b": 1}),
    ({1, 2}, {1, 3}),
    (PAIR(1, 2), PAIR(1, 3)),
    (Example(X, "one"), Example(X, "two")),
    (Example(X, "one"), Example(X + 1, "one")),
    (image((1, 2, 3)), image((1, 2, 4))),
    (image(3, "L", (4, 3)), image(3, "L", (3, 4))),
    (image(0, "L"), image(0, "1")),
    (palette(1), palette(2)),
]


class TestContent:
    @pytest.mark.parametrize(("one", "other"), DIFFERENT)
    def test_differs_with_the_value(self, one, other):
        assert content(one) != content(other)
        assert content(one) == content(one)

    @given(st.recursive(st.integers() | st.text() | st.floats(), st.lists))
    def test_is_a_function_of_the_value(self, value):
        assert content(value) == content(eval(repr(value), {"nan": float("nan"), "inf": np.inf}))
        assert content([value]) != content(value)

    def test_does_not_depend_on_memory_layout_or_on_the_order_of_keys(self):
        assert content(X.T) == content(X.T.contiguous())
        assert content(X[:1].T[0]) == content(X[:1].T[0].clone())
        assert content(X.numpy().T) == content(X.numpy().T.copy())
        assert content({"a": 1, "b": 2}) == content({"b": 2, "a": 1})

    @given(position=st.integers(0, 3 * 2**20 + 4))
    def test_changes_with_any_byte_of_a_large_tensor(self, position):
        value = torch.zeros(3 * 2**20 + 5, dtype=torch.uint8)
        before = content(value)
        value[position] = 1
        assert before != content(value) == content(value.clone())
        assert content(value.numpy()) != content(np.zeros(len(value), np.uint8))

    def test_of_records_that_hold_objects_is_that_of_the_objects(self):
        kind = [("number", int), ("text", object)]
        one, same, other = (np.array([(1, "".join(text))], kind) for text in ("ab", "ab", "ac"))
        assert content(one) == content(same) != content(other)

    def test_of_an_unknown_kind_is_refused(self):
        with pytest.raises(DataError, match=r"tensors, arrays, images.*got object; make"):
            content([object()])


class TestFingerprintOfTensors:
    @given(st.integers(0, 99), st.integers(0, 3))
    def test_changes_with_any_single_value(self, row, column):
        changed = X.clone()
        changed[row, column] += 1
        assert dataset_fingerprint(TensorDataset(changed, Y)) != dataset_fingerprint(
            TensorDataset(X, Y)
        )

    def test_changes_with_labels_order_length_and_dtype(self):
        sets = [
            TensorDataset(X, Y),
            TensorDataset(X, Y + 1),
            TensorDataset(X),
            labelled(TensorDataset(X, Y, Y + 2), labels=2, inputs=[0]),
            TensorDataset(X.flip(0), Y.flip(0)),
            TensorDataset(X[:-1], Y[:-1]),
            TensorDataset(X.double(), Y),
            Subset(TensorDataset(X, Y), range(99, -1, -2)),
        ]
        assert len({dataset_fingerprint(each) for each in sets}) == len(sets)
        unused = TensorDataset(X, Y, Y + 2)
        assert dataset_fingerprint(unused) == dataset_fingerprint(sets[0])

    def test_a_subset_is_known_by_its_examples(self):
        rows = torch.randperm(100)[:30]
        subset = Subset(Subset(TensorDataset(X, Y), range(100)), rows.tolist())
        assert dataset_fingerprint(subset) == dataset_fingerprint(TensorDataset(X[rows], Y[rows]))

    def test_reads_more_rows_than_a_piece_holds(self):
        many = torch.arange(40_000)
        changed = many.clone()
        changed[-1] = 0
        assert dataset_fingerprint(TensorDataset(many)) != dataset_fingerprint(
            TensorDataset(changed)
        )

    def test_a_loader_is_known_by_its_data_set(self):
        loader = DataLoader(TensorDataset(X, Y), 7, shuffle=True)
        assert dataset_fingerprint(loader) == dataset_fingerprint(TensorDataset(X, Y))


class TestFingerprintOfOtherSets:
    @pytest.mark.parametrize(("one", "other"), DIFFERENT)
    def test_changes_with_the_examples(self, one, other):
        sets = [Made(lambda _, value=value: (value, 0)) for value in (one, other)]
        assert dataset_fingerprint(sets[0]) != dataset_fingerprint(sets[1])

    @pytest.mark.parametrize("changed", [0, 99])
    def test_changes_with_the_first_and_the_last(self, changed):
        other = Made(lambda position: -1 if position == changed else position)
        assert dataset_fingerprint(other) != dataset_fingerprint(Made(int))

    def test_changes_with_the_length_and_the_order(self):
        sets = [Made(int), Made(int, 99), Made(lambda position: 99 - position)]
        assert len({dataset_fingerprint(each) for each in sets}) == 3

    def test_reads_few_examples_of_a_large_set(self):
        seen = []
        dataset_fingerprint(Made(lambda position: seen.append(position) or position, 10**6))
        assert len(set(seen)) == EXAMPLES
        assert len(seen) <= EXAMPLES + 8
        assert {0, 10**6 - 1} <= set(seen)

    def test_of_parts_and_joined_sets(self):
        one, other = Made(int), Made(lambda position: position + 1)
        sets = [
            Subset(one, [1, 2]),
            Subset(one, [2, 1]),
            Subset(other, [1, 2]),
            ConcatDataset([one, other]),
            ConcatDataset([other, one]),
        ]
        assert len({dataset_fingerprint(each) for each in sets}) == len(sets)

    def test_is_constant_for_an_augmented_set_and_keeps_random_states(self):
        dataset = Made(lambda position: X[position % 100] + torch.randn(4) + np.random.rand())
        before = content(list(randomness.capture().values()))
        first = dataset_fingerprint(dataset)
        assert content(list(randomness.capture().values())) == before
        torch.rand(3)
        assert dataset_fingerprint(dataset) == first

    def test_that_draw_from_a_generator_of_their_own_are_known_by_their_length(self):
        sets = [Made(lambda _: np.random.default_rng().random(), length) for length in (9, 9, 10)]
        same, again, other = map(dataset_fingerprint, sets)
        assert same == again != other

    def test_counters_caches_and_files_are_as_before(self):
        class Lazy(Made):
            def __getitem__(self, index):
                self.calls, self.file = self.calls + 1, self.file or object()
                return super().__getitem__(index)

        data = Lazy(int)
        data.calls, data.file = 0, None
        dataset_fingerprint(Subset(data, range(9)))
        assert (data.calls, data.file) == (0, None)

    def test_is_the_same_in_another_process(self):
        program = (
            "import torch\nfrom tutelage.data.fingerprint import content\n"
            "print(content({'a': (torch.arange(3), {'x', 'y', 'z'}), 'b': 'text'}))"
        )
        printed = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        ).stdout
        assert printed.strip() == content({"a": (torch.arange(3), {"x", "y", "z"}), "b": "text"})


class Scale:
    def __init__(self, by):
        self.by, self.seen = by, ["/here/a.png"]


class Wide(nn.Module):
    def __init__(self, scale, extra=None, mean=0.0):
        super().__init__()
        self._scale, self.extra, self.calls = scale, extra, 0
        self.layer = nn.Linear(2, 2)
        self.register_buffer("mean", torch.tensor(mean), persistent=False)

    def forward(self, inputs):
        self.calls += 1
        self.cache = inputs
        return self.layer(inputs) * self._scale


class TestDeclared:
    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ((1, [2.5, None]), [1, [2.5, None]]),
            ({1: float("inf")}, {"1": "inf"}),
            (np.float32(0.5), 0.5),
            ({"b", "a"}, ["a", "b"]),
            (Path("/data/train.csv"), "train.csv"),
            (torch.float16, "torch.float16"),
            (partial(torch.optim.SGD, lr=0.1), {"of": "torch.optim.sgd.SGD", "lr": 0.1}),
            (Scale(2), {"of": f"{__name__}.Scale", "by": 2, "seen": ["a.png"]}),
        ],
    )
    def test_is_plain_data(self, value, expected):
        assert declared(value) == expected
        assert identity(value) == identity(value)

    def test_functions_go_by_their_names(self):
        def made(by):
            def scaled(x):
                return by * x

            return scaled

        assert identity(made(1)) == identity(made(2)) != identity(made)

    def test_tensors_and_cycles(self):
        assert identity(torch.zeros(2)) != identity(torch.ones(2))
        value = Scale(1)
        value.by = value
        assert declared(value)["by"] == "itself"

    def test_fitted_estimators_by_what_they_learned(self):
        from sklearn.ensemble import RandomForestClassifier  # noqa: PLC0415

        forests = [
            RandomForestClassifier(3, random_state=seed).fit(X, Y).predict_proba
            for seed in (0, 0, 1)
        ]
        same, again, other = map(identity, forests)
        assert same == again != other


class TestModelIdentity:
    def test_of_use_it_does_not_change(self):
        model = Wide(2)
        before = model_identity(model)
        model(torch.zeros(1, 2))
        assert model_identity(model) == before == model_identity(copy.deepcopy(model))
        assert model_identity(torch.compile(model, backend="eager")) == before

    def test_it_changes_with_arguments_architecture_and_weights(self):
        torch.manual_seed(0)
        models = [Wide(2), Wide(3), Wide(2, nn.ReLU()), Wide(2, nn.GELU()), Wide(2)]
        models += [nn.TransformerEncoderLayer(8, heads) for heads in (2, 4)]
        assert len(set(map(model_identity, models))) == len(models)
        shapes = [model_identity(each, weights=False) for each in models]
        assert shapes[0] == shapes[4]
        assert len(set(shapes)) == len(models) - 1
        model = Wide(2)
        before = model_identity(model)
        model.mean += 1
        assert model_identity(model) != before


class TestLoaders:
    def test_by_data_sizes_sampler_and_collation(self):
        def halved(examples):
            return torch.utils.data.default_collate(examples)

        data, weights = TensorDataset(X, Y), [1.0] * 99
        loaders = [
            DataLoader(data, 8),
            DataLoader(data, 9),
            DataLoader(data, 8, shuffle=True),
            DataLoader(data, 8, collate_fn=halved),
            DataLoader(TensorDataset(X + 1, Y), 8),
            DataLoader(data, 8, sampler=WeightedRandomSampler([*weights, 1.0], 100)),
            DataLoader(data, 8, sampler=WeightedRandomSampler([*weights, 2.0], 100)),
        ]
        before = [declared_data(each) for each in loaders]
        assert all(before.count(each) == 1 for each in before)
        list(loaders[2])
        assert declared_data(loaders[2]) == before[2]


class TestRandomExamples:
    @pytest.mark.parametrize(
        "draw",
        [
            lambda: torch.rand(2),
            lambda: np.random.rand(2),
            random.random,
            lambda: float(random.random() < 0.03),  # rare
        ],
    )
    def test_detects_global_generators(self, draw):
        before = content(list(randomness.capture().values()))
        assert draws_at_random(Made(lambda position: (position, draw())))
        assert content(list(randomness.capture().values())) == before

    def test_detects_a_generator_of_its_own(self):
        generator = np.random.default_rng(0)
        assert draws_at_random(Made(lambda _: generator.random()))
        assert draws_at_random(Subset(Made(lambda _: generator.random()), [3]))
        assert draws_at_random(DataLoader(Made(lambda _: generator.random())))

    def test_sets_that_stay_as_they_are(self):
        assert not draws_at_random(TensorDataset(X, Y))
        assert not draws_at_random(Made(int))
        assert not draws_at_random(Made(int, 1))
        assert not draws_at_random(Made(lambda position: (position, torch.rand(2) * 0)))


class Stream(IterableDataset):
    def __iter__(self):
        return iter([1, 2])


@pytest.mark.parametrize("ask", [dataset_fingerprint, draws_at_random])
class TestRefusals:
    @pytest.mark.parametrize("data", [Stream(), DataLoader(Stream()), object()])
    def test_without_indices(self, ask, data):
        with pytest.raises(DataError, match="must have __len__ and __getitem__, got"):
            ask(data)

    def test_empty(self, ask):
        with pytest.raises(DataError, match="at least one example, got an empty one"):
            ask(Made(int, 0))

    def test_that_cannot_be_loaded(self, ask):
        with pytest.raises(DataError, match=r"load its example 0, got ZeroDivisionError.*correct"):
            ask(Made(lambda position: 1 / position))
