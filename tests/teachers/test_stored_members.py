"""Stored targets as members of other teachers: the data is checked there too."""

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import tutelage as tl
from tutelage.data import as_source
from tutelage.evaluation import evaluate
from tutelage.teachers import Ensemble, Specialist, Specialists, Stored
from tutelage.wants import OUTPUT


def data(examples=30, seed=5):
    generator = torch.Generator().manual_seed(seed)
    return TensorDataset(torch.randn(examples, 4, generator=generator), torch.arange(examples) % 3)


@pytest.fixture
def store(tmp_path):
    return tl.label(nn.Linear(4, 3), data(), out=tmp_path, dtype="float32")


TEAMS = {
    "ensemble": lambda stored: Ensemble([stored, nn.Linear(4, 3)]),
    "specialist": lambda stored: Specialist(stored, labels=[2, 0, 1], other_class=False, classes=3),
    "specialists": lambda stored: Specialists({0: stored}),
    "both": lambda stored: Ensemble(
        [Specialist(stored, labels=[0, 1, 2], other_class=False, classes=3), stored]
    ),
}


@pytest.mark.parametrize("kind", TEAMS)
def test_members_are_checked_against_the_data(kind, store):
    team = TEAMS[kind](Stored(store))
    with pytest.raises(tl.StoreError, match="`train` must be the data set that was labelled"):
        team.for_data("train", data(seed=6))
    found = team.for_data("train", data())
    assert type(found) is type(team)
    assert found.views == 1
    assert found.fingerprint() == team.fingerprint()


def test_each_member_uses_the_store_of_the_data(store, tmp_path):
    val = data(20, seed=9)
    other = tl.label(nn.Linear(4, 3), val, out=tmp_path / "val", dtype="float32")
    team = Ensemble([Stored(store, other)])
    batch = tl.Batch(val.tensors[0][:3], index=torch.arange(3))
    found = team.for_data("val", val).signals(batch, OUTPUT).output
    assert torch.equal(found, other.read("output", [0, 1, 2]))
    assert not torch.equal(found, store.read("output", [0, 1, 2]))


def test_for_data_returns_the_same_ensemble_without_stores():
    team = Ensemble([nn.Linear(4, 3), Ensemble([nn.Linear(4, 3)])])
    assert team.for_data("train", data()) is team
    assert team.views is None


def test_training_with_an_ensemble_of_a_store_of_other_data_is_refused(store):
    with pytest.raises(tl.StoreError, match="`train` must be the data set"):
        tl.distill(
            Ensemble([Stored(store), nn.Linear(4, 3)]),
            nn.Linear(4, 3),
            train=data(seed=6),
            objective=tl.SoftTargets(2),
            epochs=1,
        )


def test_a_study_does_not_ask_for_examples_that_were_not_labelled(store):
    teacher = Stored(store).for_data("test", data())
    said = evaluate(teacher, None, None, as_source("test", data(), 256)).outputs.student
    assert torch.equal(said, store.read("output", torch.arange(30)))
    with pytest.raises(tl.StoreError, match="must be the data set that was labelled"):
        tl.study(
            Stored(store), lambda: nn.Linear(4, 3), train=data(), test=data(seed=6), epochs=1,
            arms={"soft": tl.SoftTargets(2)}, progress=False,
        )  # fmt: skip
