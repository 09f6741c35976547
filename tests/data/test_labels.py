"""Inputs without labels beside labelled ones: hard-label terms see the latter, teachers all."""

import pytest
import torch
from torch import nn
from torch.utils.data import ConcatDataset, DataLoader, Dataset, StackDataset, TensorDataset

import tutelage as tl
from tutelage.data import as_source, unlabelled
from tutelage.errors import ArgumentError, DataError
from tutelage.signals import Batch

X = torch.randn(12, 4, generator=torch.Generator().manual_seed(0))
Y = torch.arange(6) % 3
LABELLED, REST = TensorDataset(X[:6], Y), unlabelled(X[6:])


class Inputs(Dataset):
    """Examples of other forms: bare, in tuples with labels to be dropped, with plain numbers."""

    def __init__(self, make):
        self.make = make

    def __len__(self):
        return 6

    def __getitem__(self, position):
        return self.make(position)


@pytest.mark.parametrize(
    "inputs",
    [
        X[6:],
        TensorDataset(X[6:]),
        TensorDataset(X[6:], Y),
        Inputs(lambda position: X[6 + position]),
        Inputs(lambda position: (X[6 + position], 2)),
    ],
    ids=["tensor", "tensors", "with labels", "bare", "pairs"],
)
def test_every_example_has_the_mark_for_no_label(inputs):
    batch = next(as_source("train", unlabelled(inputs), 6).epoch(0))
    assert torch.equal(batch.inputs, X[6:])
    assert batch.labels.tolist() == [-100] * 6
    assert not batch.labelled().any()


def test_the_mark_for_values_is_nan_of_their_shape():
    for values, shape in (((), [6]), ((2,), [6, 2])):
        labels = next(as_source("train", unlabelled(X[6:], values), 6).epoch(0)).labels
        assert list(labels.shape) == shape
        assert labels.isnan().all()


def test_dicts_lose_their_label_and_keep_the_rest():
    held = StackDataset(ids=X[6:], label=Y)
    batch = next(as_source("train", unlabelled(held), 6).epoch(0))
    assert set(batch.inputs) == {"ids"}
    assert batch.labels.tolist() == [-100] * 6


@pytest.mark.parametrize("key", ["label", "labels", "y"])
@pytest.mark.parametrize("wrap", [lambda data: data, tl.data.Indexed])
def test_rows_join_labelled_ones_whatever_the_key_of_their_labels(key, wrap):
    rows = [{"x": torch.ones(2), key: n} for n in range(3)]
    for more in (rows, [{"x": torch.ones(2)}] * 3):
        joined = wrap(ConcatDataset([unlabelled(more), rows]))  # pyright: ignore
        (batch,) = as_source("train", joined, 6).epoch(0)
        assert batch.labels.tolist() == [-100] * 3 + [0, 1, 2]
        assert list(batch.inputs) == ["x"]


def test_the_domain_stays():
    held = unlabelled(tl.data.domains({"photo": LABELLED}))
    assert held[0][2] == "photo"
    assert list(next(as_source("train", held, 6).epoch(0)).domain) == ["photo"] * 6


@pytest.mark.parametrize(
    "labelled",
    [
        LABELLED,
        Inputs(lambda position: (X[position], Y[position])),
        Inputs(lambda position: (X[position], int(Y[position]))),
    ],
    ids=["tensors", "pairs", "pairs with plain numbers"],
)
def test_terms_average_over_the_examples_with_targets(labelled):
    """Against a loss of twelve rows written out."""
    teacher, student = nn.Linear(4, 3), nn.Linear(4, 3)
    logits, soft = student(X), teacher(X)
    hard = nn.functional.cross_entropy(logits[:6], Y).item()
    softened = nn.functional.kl_div(
        logits.log_softmax(1), soft.log_softmax(1), log_target=True, reduction="batchmean"
    ).item()
    run = tl.distill(
        teacher,
        student,
        train=ConcatDataset([labelled, REST]),
        objective=tl.HardLabels() + tl.SoftTargets(1),
        epochs=1,
        batch_size=12,
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.0),
    )
    assert run.history[0]["train/hard_labels"] == pytest.approx(hard, rel=1e-5)
    assert run.history[0]["train/soft_targets"] == pytest.approx(softened, rel=1e-4)


def test_values_average_over_the_labelled():
    student, values = nn.Linear(4, 2), torch.randn(6, 2)
    expected = (student(X[:6]) - values).square().mean().item()
    run = tl.fit(
        student,
        train=ConcatDataset([TensorDataset(X[:6], values), unlabelled(X[6:], (2,))]),
        objective=tl.LabelRegression(),
        epochs=1,
        batch_size=12,
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.0),
    )
    assert run.history[0]["train/label_regression"] == pytest.approx(expected, rel=1e-5)


def test_a_loader_of_both():
    raws = DataLoader(ConcatDataset([LABELLED, REST]), 12)
    assert Batch.of(next(iter(raws))).labelled().tolist() == [True] * 6 + [False] * 6


def test_bad_input():
    with pytest.raises(DataError, match="`unlabelled` must be given a map-style data set"):
        unlabelled(iter([1]))
    with pytest.raises(ArgumentError, match="must not be given together"):
        unlabelled(X, (2,), ids=(2,))


class TestLabelled:
    ROWS = tuple({"x": torch.full((2,), float(n)), "age": n, "breed": n % 3} for n in range(6))

    def batch(self, data):
        (batch,) = as_source("train", data, 6).epoch(0)
        return batch

    def test_the_named_column_holds_the_labels(self):
        batch = self.batch(tl.data.labelled(self.ROWS, labels="breed"))
        assert batch.labels.tolist() == [0, 1, 2] * 2
        assert list(batch.inputs) == ["x", "age"]

    def test_other_columns_may_be_left_out(self):
        for inputs in (["x"], "x"):
            batch = self.batch(tl.data.labelled(self.ROWS, labels="breed", inputs=inputs))
            assert list(batch.inputs) == ["x"]

    def test_a_row_mask_index_and_domain_stay(self):
        rows = [
            {"x": torch.ones(3), "ids": torch.arange(3), "row_mask": [1, 0, 1], "index": n}
            for n in range(6)
        ]
        batch = self.batch(tl.data.labelled(rows, labels="ids", inputs=["x"]))
        assert batch.row_mask.tolist() == [[True, False, True]] * 6
        assert batch.index.tolist() == list(range(6))

    def test_it_wins_over_the_usual_keys(self):
        rows = [row | {"y": 9.0, "domain": "a"} for row in self.ROWS]
        batch = self.batch(tl.data.labelled(rows, labels="breed"))
        assert batch.labels.tolist() == [0, 1, 2] * 2
        assert set(batch.inputs) == {"x", "age", "y"}
        assert batch.domain == ["a"] * 6

    @pytest.mark.parametrize("position", [1, -2])
    def test_a_position_names_a_column_of_tuples(self, position):
        rows = [(torch.zeros(2), n % 3, torch.ones(1)) for n in range(6)]
        batch = self.batch(tl.data.labelled(rows, labels=position))
        assert batch.labels.tolist() == [0, 1, 2] * 2
        assert [tuple(part.shape) for part in batch.inputs] == [(6, 2), (6, 1)]
        alone = self.batch(tl.data.labelled(rows, labels=position, inputs=[0]))
        assert alone.inputs.shape == (6, 2)

    def test_bad_input(self):
        with pytest.raises(DataError, match=r"'labels': 'bred'.*, got .*breed: int.*give keys"):
            tl.data.labelled(self.ROWS, labels="bred")[0]
        with pytest.raises(DataError, match=r"'labels': 'breed', 'inputs': \('z',\).*, got"):
            tl.data.labelled(self.ROWS, labels="breed", inputs=["z"])[0]
        with pytest.raises(DataError, match=r"'labels': 7.*, got"):
            tl.data.labelled([(1, 2)], labels=7)[0]
        with pytest.raises(DataError, match=r"map-style .*put the loader around `labelled`"):
            tl.data.labelled(iter([1]), labels="a")
