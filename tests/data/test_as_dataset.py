"""Data as users first give it: tensors, arrays, tuples of them, rows of dicts."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.utils.data import ConcatDataset, DataLoader, TensorDataset

import tutelage as tl
from tutelage.data import as_source
from tutelage.data.source import TensorSource
from tutelage.errors import DataError

X = torch.randn(11, 3, generator=torch.Generator().manual_seed(0))
Y = torch.arange(11) % 2
ONCE = {"epochs": 1, "batch_size": 4}


def epoch(data, size=4):
    return list(as_source("train", data, size, seed=1).epoch(0))


ARRAYS = {
    "tensors": (X, Y),
    "arrays": (X.numpy(), Y.numpy()),
    "float64": (X.double().numpy(), Y.numpy().astype(np.int32)),
    "both": (X, Y.numpy()),
    "a list": (X, Y.tolist()),
    "a column of a table": (X.numpy(), pd.Series(Y.tolist(), index=range(5, 16))),
    "of the other byte order": (X.numpy().astype(">f4"), Y.numpy().astype(">i4")),
}


class TestArrays:
    @pytest.mark.parametrize("data", ARRAYS.values(), ids=ARRAYS)
    def test_of_inputs_and_labels_are_a_data_set(self, data):
        for ours, theirs in zip(epoch(data), epoch(TensorDataset(X, Y)), strict=True):
            assert torch.equal(ours.inputs, theirs.inputs)
            assert ours.labels.tolist() == theirs.labels.tolist()
        assert isinstance(as_source("train", data, 4, seed=0), TensorSource)

    @pytest.mark.parametrize("data", [X, X.numpy(), (X,)])
    def test_of_inputs_alone_are_a_data_set(self, data):
        batch = epoch(data)[0]
        assert torch.equal(batch.inputs, X[batch.index])
        assert batch.labels is None

    @pytest.mark.parametrize("labels", [Y, Y.tolist()])
    def test_of_several_inputs_are_a_tuple_of_their_own(self, labels):
        first, second = (batch := epoch(((X, X + 1), labels))[0]).inputs
        assert torch.equal(second, first + 1)
        assert torch.equal(batch.labels, Y[batch.index])

    def test_keep_memory_and_dtype_of_tensors(self):
        found = tl.data.as_dataset("train", (X.double(), Y.numpy()))
        assert found.tensors[0].dtype == torch.float64
        assert np.shares_memory(found.tensors[1].numpy(), Y.numpy())

    def test_are_taken_wherever_data_is(self, tmp_path):
        teacher, student = nn.Linear(3, 2), nn.Linear(3, 2)
        both = X.numpy(), Y.numpy()
        store = tl.label(teacher, both, out=tmp_path)
        assert len(store) == 11
        run = tl.distill(store, student, train=both, val=both, objective=tl.SoftTargets(), **ONCE)
        assert len(run.history) == 1
        joined = ConcatDataset([tl.data.domains({"a": both, "b": (X, Y)}), TensorDataset(X, Y)])
        assert len(joined) == 33
        assert len(tl.data.Indexed(both)) == len(tl.data.Views(both)) == 11
        assert tl.data.unlabelled(X.numpy())[3][1] == -100

    def test_are_taken_by_a_study(self):
        arms = {"soft": tl.Arm(objective=tl.SoftTargets())}
        data = {"train": (X.numpy(), Y.numpy()), "val": (X + 1, Y), "test": (X + 2, Y)}
        found = tl.study(
            nn.Linear(3, 2),
            lambda: nn.Linear(3, 2),
            arms=arms,
            seeds=2,
            controls={},
            epochs=1,
            training=tl.Training(batch_size=4),
            **data,
        )
        assert "soft" in str(found)

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            ((X, Y[:-1]), r"one row per example, got .*lengths \[11, 10\]; give as many"),
            ((X, torch.tensor(1)), r"one row per example, got .*lengths \[11, 'none'\]"),
            (np.array(["a", "b"]), r"arrays of numbers, got one of <U1; turn"),
            (np.array([None, X], object), r"arrays of numbers, got one of object"),
            ((X, ["cat"] * 11), r"arrays of numbers, got one of <U3; turn categories"),
            ([X, Y], r"a tuple of inputs and labels, .* write \(inputs, labels"),
        ],
    )
    def test_that_make_no_examples_are_refused(self, data, message):
        with pytest.raises(DataError, match=rf"`train` must .*{message}"):
            as_source("train", data, 4)


TWO = [((x, x + 1), y) for x, y in zip(X, Y, strict=True)]


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 2)

    def forward(self, left, right):
        return self.layer(torch.cat([left, right], dim=1))


@pytest.mark.parametrize(
    "data",
    [
        ((X, X + 1), Y),
        tl.data.labelled(TensorDataset(X, X + 1, Y), labels=-1),
        TWO,
        DataLoader(tl.data.labelled(TensorDataset(X, X + 1, Y), labels=2), 4),
        DataLoader(TWO, 4),
        tl.data.domains({"a": ((X, X + 1), Y)}),
        tl.data.domains({"a": TWO}),
        ConcatDataset([tl.data.labelled((X, X + 1, Y), 2), tl.data.unlabelled(((X, X + 1), Y))]),
        ConcatDataset([tl.data.labelled((X, X, Y), labels=2), tl.data.unlabelled(TWO)]),
    ],
    ids=[
        "tuple",
        "set",
        "list",
        "loader",
        "rows in a loader",
        "domains",
        "domains of rows",
        "unlabelled",
        "mixed",
    ],
)
def test_models_of_several_inputs_are_trained(data):
    run = tl.distill(Two(), Two(), train=data, objective=tl.SoftTargets(), **ONCE)
    assert np.isfinite(run.history[0]["train/loss"])


ROWS = [
    {"input_ids": [7, position, 3], "mask": [[1.0, 0.5]], "label": position % 2, "text": "t"}
    for position in range(5)
]


class TestRowsOfLists:
    """What the `datasets` library yields."""

    def test_become_tensors(self):
        batch = epoch(ROWS, 5)[0]
        assert batch.inputs["input_ids"].tolist() == [[7, n, 3] for n in batch.index.tolist()]
        assert batch.inputs["input_ids"].dtype == torch.int64
        assert batch.inputs["mask"].shape == (5, 1, 2)
        assert list(batch.inputs["text"]) == ["t"] * 5
        assert batch.labels.tolist() == [n % 2 for n in batch.index.tolist()]

    def test_in_tuples_become_tensors(self):
        batch = epoch([([1, 2, 3], [0.5, 1.5])] * 4, 4)[0]
        assert (batch.inputs.shape, batch.labels.shape) == ((4, 3), (4, 2))

    @pytest.mark.parametrize("tensors", [True, False])
    def test_of_unequal_lengths_that_are_no_tokens_are_refused(self, tensors):
        rows = [{"audio": list(range(n)), "label": 0} for n in (2, 5)]
        if tensors:
            rows = [row | {"audio": torch.tensor(row["audio"])} for row in rows]
        with pytest.raises(
            DataError, match=r"'audio' of one shape, got int64 \[\d\] and .*function that pads"
        ):
            epoch(rows)

    def test_of_unequal_lengths_within_an_example_are_refused(self):
        with pytest.raises(DataError, match="must have 'a' of one shape"):
            epoch([{"a": [[1], [2, 3]], "label": 0}, {"a": [[1], [2], [3]], "label": 0}])


class Failing:
    def __init__(self, error):
        self.error = error

    def __len__(self):
        return 3

    def __getitem__(self, index):
        raise self.error


@pytest.mark.parametrize("wrap", [lambda data: data, lambda data: DataLoader(data, 2)])
@pytest.mark.parametrize("error", [OSError("disk"), ZeroDivisionError("0"), IndexError("i")])
def test_an_error_of_the_data_set_names_it_and_is_the_cause(wrap, error):
    with pytest.raises(DataError, match=rf"`train` \(Failing\).* {type(error).__name__}: ") as info:
        list(as_source("train", wrap(Failing(error)), 2).epoch(0))
    assert info.value.__cause__ is error
