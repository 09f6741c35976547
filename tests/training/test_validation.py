"""The figures of each epoch: over which examples, of which kind, the user's own."""

import pytest
import torch
import torchmetrics
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import tutelage as tl

INPUTS = torch.randn(96, 6, generator=torch.Generator().manual_seed(0))
LABELS = (INPUTS[:, 0] > 0).long() + (INPUTS[:, 1] > 0).long()
DATA = TensorDataset(INPUTS, LABELS)


def network():
    return nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))


def test_metrics_of_ones_own():
    """A function of outputs and labels, and an object of torchmetrics."""
    run = tl.fit(
        network(),
        train=DATA,
        val=DATA,
        epochs=2,
        metrics={
            "error": lambda output, labels: (output.argmax(1) != labels).float().mean(),
            "f1": torchmetrics.F1Score("multiclass", num_classes=3, average="micro"),
        },
        monitor=tl.Monitor("error", higher_is_better=False),
    )
    for record in run.history:
        assert record["val/error"] == pytest.approx(1 - record["val/accuracy"], abs=1e-6)
        assert record["val/f1"] == pytest.approx(record["val/accuracy"], abs=1e-6)


def test_logged_means_run_over_the_examples_that_count():
    """One label in eight, one example a batch, nothing learnt: the mean is that of the labelled."""
    labels = LABELS.where(torch.arange(96) % 8 == 0, -100)
    student = nn.Linear(6, 3)
    expected = nn.functional.cross_entropy(student(INPUTS), labels).item()
    run = tl.fit(
        student,
        train=TensorDataset(INPUTS, labels),
        val=DataLoader(TensorDataset(INPUTS, labels), 1),
        epochs=1,
        batch_size=1,
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.0),
    )
    assert run.history[0]["train/hard_labels"] == pytest.approx(expected, rel=1e-5)
    assert run.history[0]["val/loss"] == pytest.approx(expected, rel=1e-5)


def test_metrics_see_the_labelled_examples_only():
    labels = LABELS.where(torch.arange(96) % 8 == 0, -100)
    least = []
    tl.distill(
        network(),
        network(),
        train=DATA,
        val=TensorDataset(INPUTS, labels),
        objective=tl.SoftTargets(),
        epochs=1,
        metrics={"seen": lambda _, labels: least.append(labels.min().item()) or 0.0},
    )
    assert least == [0]


def test_whole_numbers_as_values_are_still_values():
    """The objective says that outputs are values, whatever type the labels have."""
    values = (INPUTS[:, 0] * 10).round().long()
    run = tl.distill(
        tl.teachers.Predictor(lambda inputs: inputs[:, 0] * 10),
        nn.Linear(6, 1),
        train=TensorDataset(INPUTS),
        val=TensorDataset(INPUTS, values),
        objective=tl.OutputRegression(),
        epochs=30,
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=0.1),
    )
    assert {"val/mse", "val/r2", "val/teacher_mse"} < run.history[0].keys()
    assert "val/accuracy" not in run.history[0]
    assert run.best_epoch > 10


def test_gaussian_outputs_are_scored_by_their_means():
    run = tl.distill(
        nn.Linear(6, 2),
        nn.Linear(6, 2),
        train=TensorDataset(INPUTS),
        val=TensorDataset(INPUTS, INPUTS[:, 0]),
        objective=tl.GaussianRegression(),
        epochs=1,
    )
    means = tl.evaluation.predict(run.student, DATA)[:, :1]
    assert run.history[0]["val/mse"] == pytest.approx(tl.evaluation.mse(means, INPUTS[:, 0]))


def test_embeddings_are_not_scored_as_classes():
    """Class labels beside an embedding say nothing of it: the loss decides."""
    run = tl.distill(
        nn.Linear(6, 5),
        nn.Linear(6, 5),
        train=DATA,
        val=DATA,
        objective=tl.OutputRegression(),
        epochs=2,
    )
    figures = {name for name in run.history[0] if name.startswith("val/")}
    assert figures == {"val/loss", "val/teacher_mse"}


def test_validation_has_the_precision_of_training():
    """Under autocast, with half of the memory and time; metrics are computed in float32."""
    seen, dtypes = [], []

    class Student(nn.Linear):
        def forward(self, inputs):
            output = super().forward(inputs)
            if not self.training:
                seen.append(output.dtype)
            return output

    tl.fit(
        Student(6, 3),
        train=DATA,
        val=DATA,
        epochs=1,
        metrics={"mine": lambda output, _: dtypes.append(output.dtype) or 0.0},
        engine=tl.Engine(precision="bf16", device="cpu"),
    )
    assert set(seen) == {torch.bfloat16}
    assert set(dtypes) == {torch.float32}
