"""Which epoch is kept, when training stops early, and what cannot decide either."""

import math

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import tutelage as tl
from tutelage.errors import ArgumentError, DataError, NonFiniteError
from tutelage.training.monitor import Monitor, as_monitor, choose_monitor
from tutelage.training.state import RunState

X = torch.randn(96, 6, generator=torch.Generator().manual_seed(0))
LABELS = (X[:, 0] > 0).long() + (X[:, 1] > 0).long()
UNLABELLED = torch.full((96,), -100)


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))


def teacher():
    weights = torch.zeros(3, 6)
    weights[0, 0], weights[1, 1], weights[2, 0] = -4.0, 2.0, 4.0
    found = nn.Linear(6, 3, bias=False)
    found.weight.data = weights
    return found


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.05)


class TestMovingWeights:
    """Epochs are compared by one measure, not by the weights that each was trained with."""

    def test_a_rising_weight_does_not_keep_the_first_epoch(self):
        """Under the weight of its epoch the loss of the first would be near zero."""
        run = tl.distill(
            teacher(),
            network(),
            train=TensorDataset(X),
            val=TensorDataset(X),
            objective=tl.schedules.Linear(0, 1) * tl.SoftTargets(4),
            epochs=10,
            batch_size=16,
            optimizer=sgd,
        )
        losses = [record["val/loss"] for record in run.history]
        assert run.best_epoch > 5
        assert losses[run.best_epoch - 1] == min(losses)
        final = tl.objectives.soft_targets(run.student(X), teacher()(X), 4.0).mean().item()
        assert losses[run.best_epoch - 1] == pytest.approx(final, rel=1e-4)

    def test_patience_does_not_run_out_by_a_moving_temperature(self):
        """The recipe of docs/temperature.md: its weight rises while the temperature falls."""
        rising, cooling = tl.schedules.Linear(0, 1, until=0.2), tl.schedules.Cosine(8, 1)
        run = tl.distill(
            teacher(),
            network(),
            train=TensorDataset(X, LABELS),
            val=TensorDataset(X, LABELS),
            objective=0.1 * tl.HardLabels() + rising * tl.SoftTargets(cooling),
            epochs=20,
            batch_size=16,
            optimizer=sgd,
            monitor=Monitor("loss", patience=3),
        )
        assert len(run.history) == 20


class TestNaN:
    def test_unlabelled_data_is_judged_by_the_loss(self):
        run = tl.distill(
            teacher(),
            network(),
            train=TensorDataset(X),
            val=TensorDataset(X, UNLABELLED),
            objective=tl.SoftTargets(2),
            epochs=4,
            batch_size=16,
            optimizer=sgd,
        )
        assert "val/accuracy" not in run.history[0]
        losses = [record["val/loss"] for record in run.history]
        assert losses[run.best_epoch - 1] == min(losses)

    def test_a_chosen_metric_that_turns_out_nan_is_an_error(self):
        with pytest.raises(NonFiniteError, match=r"metric 'mine' must be a number, got NaN in epo"):
            tl.fit(
                network(),
                train=TensorDataset(X, LABELS),
                val=TensorDataset(X, LABELS),
                epochs=2,
                metrics={"mine": lambda *_: math.nan},
                monitor=Monitor("mine", higher_is_better=True),
            )

    def test_a_metric_that_decides_nothing_may_be_nan(self):
        run = tl.fit(
            network(),
            train=TensorDataset(X, LABELS),
            val=TensorDataset(X, LABELS),
            epochs=1,
            metrics={"mine": lambda *_: math.nan},
        )
        assert math.isnan(run.history[0]["val/mine"])

    def test_accuracy_asked_for_by_name_where_there_are_no_labels(self):
        with pytest.raises(ArgumentError, match=r"'accuracy' must be one of \['agreement', 'loss'"):
            tl.distill(
                teacher(),
                network(),
                train=TensorDataset(X),
                val=TensorDataset(X, UNLABELLED),
                objective=tl.SoftTargets(2),
                epochs=1,
                monitor="accuracy",
            )


def test_validation_labels_that_are_no_class_are_refused():
    with pytest.raises(DataError, match=r"labels must lie from 0 to 2"):
        tl.distill(
            teacher(),
            network(),
            train=TensorDataset(X),
            val=TensorDataset(X, LABELS + 1),
            objective=tl.SoftTargets(2),
            epochs=1,
        )


def test_a_metric_that_fails_is_named():
    def broken(_, __):
        raise TypeError("unhashable")

    with pytest.raises(ArgumentError, match=r"metric `mine` failed .*TypeError: unhashable"):
        tl.fit(
            network(),
            train=TensorDataset(X, LABELS),
            val=TensorDataset(X, LABELS),
            epochs=1,
            metrics={"mine": broken},
        )


class TestDefault:
    @pytest.mark.parametrize(
        ("names", "chosen"),
        [
            ({"loss", "accuracy", "agreement"}, "accuracy"),
            ({"loss", "mse", "r2"}, "mse"),
            ({"loss", "agreement"}, "loss"),
            ({"agreement", "mine"}, "agreement"),
            ({"teacher_mse"}, "teacher_mse"),
        ],
    )
    def test_it_is_the_first_that_there_is(self, names, chosen):
        assert choose_monitor(names).name == chosen

    def test_without_any_there_is_an_error(self):
        with pytest.raises(ArgumentError, match=r"one of the metrics accuracy.*got \['mine'\]"):
            choose_monitor({"mine"})


def test_a_student_whose_outputs_are_nan_is_not_scored_as_if_it_named_a_class():
    """The argmax of NaN logits is class 0."""

    class Broken(nn.Linear):
        def forward(self, inputs):
            return super().forward(inputs) * (1.0 if self.training else math.nan)

    data = TensorDataset(X, torch.zeros(96).long())
    with pytest.raises(NonFiniteError, match=r"'accuracy' must be a number, got NaN in epoch 1"):
        tl.fit(Broken(6, 3), train=data, val=data, epochs=1, monitor="accuracy")


class TestTies:
    """Accuracies on few examples are equal long before training is done."""

    def test_equal_values_go_by_the_loss_and_then_to_the_later_epoch(self):
        state = RunState(Monitor("accuracy", patience=2))
        values = [(0.5, 3.0), (0.9, 2.0), (0.9, 1.0), (0.9, 1.5), (0.9, 1.0), (0.8, 0.1)]
        kept = []
        for epoch, (accuracy, loss) in enumerate(values, 1):
            state.epoch = epoch
            if state.is_best({"accuracy": accuracy, "loss": loss}):
                kept.append(epoch)
        assert kept == [1, 2, 3, 5]
        assert state.waited == 4  # since a better value

    def test_a_loss_that_is_nan_is_no_better_than_another(self):
        state = RunState(Monitor("accuracy"))
        assert state.is_best({"accuracy": 0.9, "loss": math.nan})
        assert state.is_best({"accuracy": 0.9, "loss": 2.0})
        assert not state.is_best({"accuracy": 0.9, "loss": math.nan})

    def test_on_few_examples_the_loss_decides(self):
        assert choose_monitor({"loss", "accuracy"}, 199).name == "loss"
        assert choose_monitor({"loss", "accuracy"}, 200).name == "accuracy"
        assert choose_monitor({"accuracy"}, 20).name == "accuracy"
        assert choose_monitor({"loss", "mse"}, 20).name == "mse"

    def test_a_run_keeps_the_epoch_of_the_lowest_loss(self):
        data = TensorDataset(X, LABELS)
        run = tl.fit(network(), train=data, val=data, epochs=6, optimizer=sgd)
        losses = [record["val/loss"] for record in run.history]
        assert run.best_epoch == 1 + losses.index(min(losses)) == 6


def test_a_metric_may_have_a_slash_in_its_name():
    data, metrics = TensorDataset(X, LABELS), {"top2/acc": lambda *_: 0.5}
    monitor = Monitor("top2/acc", higher_is_better=True)
    run = tl.fit(network(), train=data, val=data, epochs=1, metrics=metrics, monitor=monitor)
    assert run.history[0]["val/top2/acc"] == 0.5


def test_an_infinite_value_is_worse_than_any_other():
    state = RunState(Monitor("loss"))
    assert state.is_best({"loss": math.inf})
    assert state.is_best({"loss": 5.0})
    assert not state.is_best({"loss": math.inf})


def test_a_metric_tells_its_own_direction():
    class Distance:
        higher_is_better = False

        def __call__(self, output, labels):
            return 0.0

    found = as_monitor("distance/photo", {"distance": Distance()})
    assert (found.name, found.higher) == ("distance/photo", False)
    with pytest.raises(ArgumentError, match="does not know whether higher"):
        as_monitor("distance", {"distance": nn.functional.mse_loss})
    assert choose_monitor({"loss", "accuracy", "perplexity"}) == Monitor("perplexity")
    assert not Monitor("perplexity").higher
