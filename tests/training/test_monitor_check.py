"""A monitored metric that validation will not give is refused before the first step."""

import pytest
import torch
from torch import nn
from torch.utils.data import ConcatDataset, DataLoader, TensorDataset

import tutelage as tl
from tutelage.errors import ArgumentError, DataError

X = torch.randn(24, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(24) % 3
BINARY = (torch.arange(72).reshape(24, 3) % 5 == 0).long()
QUIET = tl.Engine(device="cpu", progress=False)


class NoStep(torch.optim.SGD):
    def step(self, closure=None):
        raise AssertionError("a step was taken")


def run(objective, val, monitor, teacher=None, optimizer=NoStep, **settings):
    return tl.distill(
        teacher if teacher is not None or not objective.wants.teacher else nn.Linear(4, 3),
        settings.pop("student", nn.Linear(4, 3)),
        train=settings.pop("train", TensorDataset(X, LABELS)),
        val=val,
        objective=objective,
        epochs=1,
        batch_size=8,
        optimizer=lambda each: optimizer(each, lr=0.1),
        monitor=monitor,
        engine=QUIET,
        **settings,
    )


NONE = TensorDataset(X)
ALL_UNKNOWN = TensorDataset(X, torch.full((24,), -100))
SOFT = tl.SoftTargets(2)


@pytest.mark.parametrize(
    ("objective", "val", "monitor", "known"),
    [
        (SOFT, NONE, "accuracy", r"\['agreement', 'loss'\]"),
        (SOFT, TensorDataset(X, LABELS), "kl", r"\['accuracy', 'agreement', 'loss'\]"),
        (SOFT, TensorDataset(X, LABELS), "accuracy/photo", r"\['accuracy', 'agreement', 'loss'\]"),
        (SOFT, TensorDataset(X, LABELS), "mse", r"\['accuracy', 'agreement', 'loss'\]"),
        (tl.HardLabels(), TensorDataset(X, LABELS), "agreement", r"\['accuracy', 'loss'\]"),
        (tl.HardLabels() + SOFT, TensorDataset(X, LABELS), "f1", r"\['acc"),
    ],
)
def test_it_is_refused_before_the_first_step(objective, val, monitor, known):
    with pytest.raises(ArgumentError, match=f"'{monitor}' must be one of {known}"):
        run(objective, val, monitor)


def test_targets_stored_for_training_alone_give_no_agreement(tmp_path):
    train = TensorDataset(X, LABELS)
    store = tl.label(nn.Linear(4, 3), train, out=tmp_path / "store", engine=QUIET)
    with pytest.raises(ArgumentError, match=r"'agreement' must be one of \['accuracy'\]"):
        run(SOFT, TensorDataset(X + 1, LABELS), "agreement", store, train=train)


def test_a_metric_of_ones_own_needs_labels_too():
    own = {"metrics": {"own": lambda *_: 0.5}}
    monitor = tl.Monitor("own", higher_is_better=True)
    with pytest.raises(ArgumentError, match=r"'own' must be one of \['agreement', 'loss'\]"):
        run(SOFT, NONE, monitor, **own)
    found = run(SOFT, TensorDataset(X, LABELS), monitor, optimizer=torch.optim.SGD, **own)
    assert found.history[0]["val/own"] == 0.5


def test_a_first_batch_without_labels_is_no_data_without_labels():
    val = ConcatDataset([ALL_UNKNOWN, TensorDataset(X, LABELS)])
    found = run(SOFT, val, "accuracy", optimizer=torch.optim.SGD)
    assert "val/accuracy" in found.history[0]
    with pytest.raises(ArgumentError, match=r"'f1' must be one of \['accuracy'"):
        run(SOFT, val, "f1")
    with pytest.raises(ArgumentError, match=r"'f1' must be one of \['agreement'"):
        run(SOFT, ALL_UNKNOWN, "f1")


def test_the_batches_of_a_stream_that_were_looked_through_are_validated_on():
    """Those of an iterator cannot be read twice."""
    unknown = torch.full((8,), -100)
    batches = [(X[:8], unknown), (X[8:16], unknown), (X[16:], LABELS[16:])]
    found = run(SOFT, iter(batches), "accuracy", optimizer=torch.optim.SGD, metrics={"n": count})
    assert found.history[0]["val/n"] == 8


def count(_, labels):
    return float(len(labels))


@pytest.mark.parametrize("monitor", ["average_precision", "f1_macro", "label_accuracy"])
def test_a_first_batch_without_a_true_label_has_the_metrics_of_binary_labels(monitor):
    val = TensorDataset(X, torch.cat([torch.zeros(8, 3, dtype=torch.int64), BINARY[8:]]))
    objective, train = tl.BinaryLabels(), TensorDataset(X, BINARY)
    found = run(objective, val, monitor, optimizer=torch.optim.SGD, train=train)
    assert f"val/{monitor}" in found.history[0]
    with pytest.raises(ArgumentError, match="'accuracy' must be one of"):
        run(objective, val, "accuracy", train=train)


def test_a_first_batch_of_equal_values_has_an_r2():
    values = torch.cat([torch.zeros(8, 1), X[8:, :1]])
    both = {"train": TensorDataset(X, values), "student": nn.Linear(4, 1)}
    found = run(tl.LabelRegression(), both["train"], "r2", optimizer=torch.optim.SGD, **both)
    assert "val/r2" in found.history[0]


def test_the_check_changes_nothing():
    """Order and random numbers of a loader that shuffles, dropout and batch statistics."""
    val = TensorDataset(X, LABELS)

    def weights(monitor):
        torch.manual_seed(0)
        layers = nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3)
        loader = DataLoader(val, 5, shuffle=True, generator=torch.Generator().manual_seed(3))
        train = DataLoader(TensorDataset(X, LABELS), 5, shuffle=True)
        settings = {"student": nn.Sequential(*layers), "train": train}
        done = run(tl.HardLabels(), loader, monitor, optimizer=torch.optim.SGD, **settings)
        return [*done.student.state_dict().values(), loader.generator.get_state()]

    for one, other in zip(weights(None), weights("accuracy"), strict=True):
        assert torch.equal(one, other)


def test_a_run_that_is_refused_leaves_its_folder_free(tmp_path):
    with pytest.raises(ArgumentError, match="'accuracy' must be one of"):
        run(SOFT, NONE, "accuracy", out=tmp_path / "run")
    run(SOFT, NONE, "agreement", out=tmp_path / "run", optimizer=torch.optim.SGD)


def test_a_later_stage_is_refused_before_the_first():
    stages = [tl.Stage(tl.HardLabels(), 1), tl.Stage(SOFT, 1, monitor="accuracy")]
    settings = {
        "train": TensorDataset(X, LABELS),
        "optimizer": lambda each: NoStep(each, lr=0.1),
        "engine": QUIET,
    }
    with pytest.raises(DataError, match="must have labels that match"):
        tl.distill(nn.Linear(4, 3), nn.Linear(4, 3), val=NONE, stages=stages[:1], monitor="loss",
                   **settings)  # fmt: skip
    stages[0] = tl.Stage(tl.SoftTargets(1), 1)
    with pytest.raises(ArgumentError, match="'accuracy' must be one of"):
        tl.distill(nn.Linear(4, 3), nn.Linear(4, 3), val=NONE, stages=stages, **settings)
