"""Runs on data without a valid example for an objective are refused."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import tutelage as tl
from tutelage.errors import DataError
from tutelage.signals import Batch

X = torch.randn(9, 4, generator=torch.Generator().manual_seed(1))
QUIET = tl.Engine(progress=False)


def distill(objective, labels=None, engine=QUIET, **settings):
    data = TensorDataset(X) if labels is None else TensorDataset(X, labels)
    torch.manual_seed(0)
    return tl.distill(
        nn.Linear(4, 3), nn.Linear(4, 3), train=data, objective=objective,
        **{"epochs": 1, "batch_size": 4, "engine": engine, **settings},
    )  # fmt: skip


@pytest.mark.parametrize("also", [None, tl.SoftTargets(2)], ids=["only", "beside"])
@pytest.mark.parametrize(
    ("objective", "labels"),
    [
        (tl.HardLabels(), torch.full((9,), -100)),
        (tl.DKD(), torch.full((9,), -100)),
        (tl.LabelRegression(), torch.full((9, 3), torch.nan)),
    ],
    ids=["HardLabels", "DKD", "LabelRegression"],
)
@pytest.mark.parametrize("accumulation", [1, 2])
def test_data_without_a_single_label_are_refused(objective, labels, also, accumulation):
    engine = tl.Engine(progress=False, accumulation=accumulation)
    with pytest.raises(DataError, match=r"no example of the whole epoch has one.*label some"):
        distill(objective if also is None else objective + also, labels, engine)


def test_one_label_is_enough():
    labels = torch.full((9,), -100)
    labels[7] = 1
    assert distill(tl.HardLabels(), labels).history[0]["train/loss"] > 0


@pytest.mark.parametrize("objective", [tl.RKD(), tl.CKA(), tl.SoftTargets() + tl.CKA()], ids=repr)
@pytest.mark.parametrize("accumulation", [1, 2])
def test_batches_of_one_are_refused_by_objectives_that_compare_examples(objective, accumulation):
    engine = tl.Engine(progress=False, accumulation=accumulation)
    with pytest.raises(
        DataError, match=r"no batch of the whole epoch has more than one.*batch_size"
    ):
        distill(objective, engine=engine, batch_size=1)


@pytest.mark.parametrize("objective", [tl.RKD(), tl.CKA()], ids=repr)
def test_a_last_batch_of_one_is_left_out_of_the_mean(objective):
    """Of nine in batches of four, one is left over."""
    torch.manual_seed(0)
    teacher, student = nn.Linear(4, 3), nn.Linear(4, 3)
    frozen = tl.Engine(progress=False)
    run = tl.distill(
        teacher, student, train=DataLoader(TensorDataset(X), batch_size=4), objective=objective,
        epochs=1, engine=frozen, optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.0),
    )  # fmt: skip
    distiller = tl.Distiller(student, teacher, objective)
    whole = [distiller(Batch(X[rows])).total.item() for rows in (slice(0, 4), slice(4, 8))]
    (name,) = (term.name for term in objective.terms())
    assert run.history[0][f"train/{name}"] == pytest.approx(sum(whole) / 2)


def test_a_batch_of_one_gives_no_gradient():
    distiller = tl.Distiller(nn.Linear(4, 3), nn.Linear(4, 3), tl.CKA())
    distiller(Batch(X[:1])).total.backward()
    assert all((each.grad == 0).all() for each in distiller.student.parameters())


class Summed(tl.Objective):
    wants = tl.Wants(student=tl.Fields(output=True))

    def forward(self, student, teacher, batch):
        return student.logits.square().mean()


def test_a_custom_objective_that_returns_a_scalar_is_refused_with_advice():
    with pytest.raises(
        tl.ArgumentError, match=r"Summed\(\) must return one value per example.*red"
    ):
        distill(Summed())


class Loss(tl.SoftTargets):
    pass


def test_an_objective_called_loss_does_not_hide_the_total():
    record = distill(0.5 * Loss() + tl.SoftTargets()).history[0]
    assert record["train/loss"] == pytest.approx(
        0.5 * record["train/loss_term"] + record["train/soft_targets"]
    )
