"""What a scheduler may be: a class, a partial or a function, with or without a number of steps."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler
from torch.utils.data import IterableDataset, TensorDataset

import tutelage as tl
from tutelage.errors import ArgumentError

X = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(40) % 3
DATA = TensorDataset(X, LABELS)


class Stream(IterableDataset):
    def __iter__(self):
        return iter(list(zip(X, LABELS, strict=True)))


def rates(scheduler, train=DATA, **options):
    options = {"epochs": 4} | options
    run = tl.fit(
        nn.Linear(4, 3),
        train=train,
        batch_size=20,
        optimizer=partial(torch.optim.SGD, lr=1.0),
        scheduler=scheduler,
        **options,
    )
    return [record["lr"] for record in run.history]


def cosine(optimizer, total=1000):
    return lr_scheduler.CosineAnnealingLR(optimizer, total)


def with_milestones(optimizer, total, steps=(30, 60)):
    assert steps == (30, 60)
    return cosine(optimizer, total)


@pytest.mark.parametrize(
    "kind",
    [
        lr_scheduler.ExponentialLR,
        lr_scheduler.StepLR,
        lr_scheduler.LambdaLR,
        lr_scheduler.OneCycleLR,
    ],
)
def test_a_class_that_needs_something_else_is_refused(kind):
    """Its second argument would be the number of steps, such as gamma = 8."""
    with pytest.raises(ArgumentError, match=rf"got {kind.__name__}, which needs '"):
        rates(kind)


@pytest.mark.parametrize(
    ("scheduler", "expected"),
    [
        (partial(lr_scheduler.ExponentialLR, gamma=0.5), [0.25, 0.0625]),
        (lambda optimizer: lr_scheduler.ExponentialLR(optimizer, 0.5), [0.25, 0.0625]),
        (lr_scheduler.CosineAnnealingLR, [0.853553, 0.5]),
        (partial(lr_scheduler.CosineAnnealingLR, T_max=4), [0.5, 0.0]),
        (partial(lr_scheduler.PolynomialLR, power=1.0), [0.75, 0.5]),
        (lambda optimizer, n: lr_scheduler.PolynomialLR(optimizer, n, 1.0), [0.75, 0.5]),
        (lr_scheduler.LinearLR, [0.5, 2 / 3]),
        (cosine, [0.853553, 0.5]),
        (with_milestones, [0.853553, 0.5]),
    ],
)
def test_the_number_of_steps_goes_where_it_belongs(scheduler, expected):
    assert rates(scheduler)[:2] == pytest.approx(expected, abs=1e-6)


def test_one_that_counts_epochs_is_told(caplog):
    rates(partial(lr_scheduler.CosineAnnealingLR, T_max=4))
    assert "The scheduler has T_max=4, and the run has 8 optimizer steps" in caplog.text


def test_without_a_length_a_scheduler_of_the_optimizer_alone_will_do():
    assert rates(partial(lr_scheduler.ExponentialLR, gamma=0.5), Stream())[0] == 0.25
    with pytest.raises(ArgumentError, match="whose number is not known"):
        rates(lr_scheduler.CosineAnnealingLR, Stream())
    assert rates(partial(lr_scheduler.ExponentialLR, gamma=0.5), Stream(), epochs=1)[0] == 0.25
    found = rates(lr_scheduler.CosineAnnealingLR, Stream(), epochs=None, steps=4)
    assert found[-1] == pytest.approx(0, abs=1e-6)


def test_totals_that_are_left_to_other_arguments():
    cycle = partial(
        lr_scheduler.OneCycleLR, max_lr=1.0, total_steps=None, epochs=4, steps_per_epoch=2
    )
    assert len(rates(cycle)) == 4


def test_plateaus_are_those_of_validation():
    plateau = partial(lr_scheduler.ReduceLROnPlateau, factor=0.5, patience=0, threshold=10.0)
    assert rates(plateau, val=DATA, epochs=3) == [1.0, 0.5, 0.25]  # nothing is 10 times lower
    assert rates(plateau, epochs=3) == [1.0, 0.5, 0.25]  # of the training loss
    highest = partial(plateau, mode="max", threshold=0.0)
    assert len(rates(highest, val=DATA, monitor="accuracy")) == 4
    with pytest.raises(ArgumentError, match="of which higher values are better, got loss"):
        rates(highest, val=DATA, monitor="loss")
