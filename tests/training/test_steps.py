"""A number of steps in place of epochs: data that never ends, and data that does."""

from itertools import count

import pytest
import torch
from torch import nn
from torch.utils.data import IterableDataset, TensorDataset

import tutelage as tl
from tutelage.errors import ArgumentError, DataError
from tutelage.training.loop import Loop

X = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(40) % 3
DATA = TensorDataset(X, LABELS)


class Endless(IterableDataset):
    """The examples in turn, without an end."""

    seen, last = [], None

    def __iter__(self):
        for number in count():
            if number == self.last:
                raise OSError("gone")
            self.seen.append(number)
            yield X[number % 40], LABELS[number % 40]


@pytest.fixture(autouse=True)
def _unseen():
    Endless.seen.clear()


def train(data, **options):
    torch.manual_seed(0)
    student = nn.Linear(4, 3)
    return tl.fit(student, train=data, batch_size=8, **options)


def test_a_stream_that_never_ends_is_validated_ten_times_and_goes_on_between():
    run = train(Endless(), steps=20, val=DATA)
    assert [record["step"] for record in run.history] == list(range(2, 21, 2))
    assert "val/accuracy" in run.history[0]
    assert Endless.seen[-1] >= 20 * 8 - 1


def test_labels_may_come_later_in_a_stream():
    class Late(IterableDataset):
        def __iter__(self):
            return ((X[n % 40], LABELS[n % 40] if n >= 40 else torch.tensor(-100)) for n in count())

    objective = tl.HardLabels() + tl.SoftTargets(2)
    given = {"train": Late(), "objective": objective, "steps": 20, "batch_size": 8}
    assert len(tl.distill(nn.Linear(4, 3), nn.Linear(4, 3), **given).history) == 10


def test_data_with_a_length_ends_in_the_middle_of_a_pass():
    run = train(DATA, steps=13)
    assert [record["step"] for record in run.history] == [5, 10, 13]
    whole = train(DATA, epochs=2)
    assert train(DATA, steps=10).student.weight.equal(whole.student.weight)


def test_steps_are_those_of_the_optimizer():
    run = train(DATA, steps=3, engine=tl.Engine(accumulation=2))
    assert run.history[-1]["step"] == 3


def test_schedules_go_over_the_steps():
    weights = []

    class Seen(tl.schedules.Schedule):
        def __call__(self, progress):
            weights.append(progress)
            return 1.0

    objective = Seen() * tl.HardLabels()
    weights.clear()  # of the check of its values
    train(Endless(), steps=4, objective=objective)
    assert weights[:4] == [0, 0.25, 0.5, 0.75]


@pytest.mark.parametrize("steps", [13, 14])  # in the middle of a tenth, and at its end
def test_a_stopped_run_ends_as_one_that_was_not(steps, tmp_path, monkeypatch):
    every_step = tl.Engine(checkpoint_seconds=0)
    whole = train(Endless(), steps=20, engine=every_step, out=tmp_path / "whole")
    monkeypatch.setattr(Endless, "last", steps * 8)
    with pytest.raises(DataError, match="gone"):
        train(Endless(), steps=20, engine=every_step, out=tmp_path / "stopped")
    monkeypatch.setattr(Endless, "last", None)
    resumed = train(Endless(), steps=20, engine=every_step, out=tmp_path / "stopped")
    assert resumed.student.weight.equal(whole.student.weight)
    losses = [[each["train/loss"] for each in run.history] for run in (whole, resumed)]
    assert losses[0] == losses[1]


def test_a_run_stopped_before_its_last_validation_has_it_when_it_is_resumed(tmp_path, monkeypatch):
    options = {"steps": 1, "val": DATA, "out": tmp_path, "engine": tl.Engine(checkpoint_seconds=0)}

    def stopped(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_validate", stopped)
        with pytest.raises(KeyboardInterrupt):
            train(Endless(), **options)
    run = train(Endless(), **options)
    assert [record["step"] for record in run.history] == [1]


@pytest.mark.parametrize("given", [{}, {"epochs": 1, "steps": 1}, {"steps": 0}])
def test_it_is_either_epochs_or_steps(given):
    with pytest.raises(ArgumentError, match=r"`epochs` or `steps`|`steps` must be"):
        train(DATA, **given)
