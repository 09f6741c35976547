"""Transforms in training: both sides see the same batches, validation and projectors the data."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import tutelage as tl
from tutelage.errors import DataError, RunFolderError

X = torch.randn(48, 6, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] > 0).long() + (X[:, 1] > 0).long()
DATA, VAL = TensorDataset(X, Y), TensorDataset(X[:10] + 100, Y[:10])


class Seeing(nn.Module):
    """A linear model that keeps what it is shown."""

    def __init__(self):
        super().__init__()
        self.inner, self.seen = nn.Linear(6, 3), []

    def forward(self, x):
        self.seen.append((self.training, x.clone()))
        return self.inner(x)


def small():
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))


def distilled(transform, **settings):
    teacher, student = Seeing(), Seeing()
    chosen = {"objective": tl.HardLabels() + tl.SoftTargets(2), "epochs": 2} | settings
    tl.distill(teacher, student, train=DATA, val=VAL, batch_size=16, transform=transform, **chosen)
    return teacher.seen, student.seen


@pytest.mark.parametrize("transform", [tl.data.Mixup(), tl.data.Noise(0.5), tl.data.Swap(0.2)])
def test_both_sides_see_the_same_changed_inputs(transform):
    teacher, student = distilled(transform)
    assert len(teacher) == len(student) == 1 + 2 * (3 + 1)  # first one batch of `val`
    rows = {tuple(row) for row in X.tolist()}
    for (_, theirs), (training, ours) in zip(teacher, student, strict=True):
        assert torch.equal(theirs, ours)
        assert (torch.equal(ours, X[:10] + 100)) == (not training)
        if training:
            assert not {tuple(row) for row in ours.tolist()} <= rows


def test_each_epoch_is_drawn_anew():
    seen = [x for training, x in distilled(tl.data.Noise(0.5))[1] if training]
    first, second = torch.cat(seen[:3]), torch.cat(seen[3:])
    assert not {tuple(row) for row in first.tolist()} & {tuple(row) for row in second.tolist()}


def test_the_dry_run_of_projectors_sees_the_data_as_they_are():
    objective = tl.FeatureMatch({"inner": "inner"}) + tl.SoftTargets(2)
    teacher, student = distilled(
        lambda batch: replace(batch, inputs=batch.inputs + 7), objective=objective
    )
    assert len(teacher) == len(student) == 2 + 2 * (3 + 1)
    assert {tuple(row) for row in student[0][1].tolist()} <= {tuple(row) for row in X.tolist()}


def test_a_function_of_ones_own_may_be_the_identity():
    torch.manual_seed(0)
    plain, through = small(), small()
    through.load_state_dict(plain.state_dict())
    settings = {"train": DATA, "epochs": 2, "batch_size": 16}
    first = tl.fit(plain, **settings)
    second = tl.fit(through, transform=lambda batch: batch, **settings)
    assert first.history[-1]["train/loss"] == second.history[-1]["train/loss"]
    assert torch.equal(plain[0].weight, through[0].weight)


def test_fit_on_mixtures_against_a_loop_written_out():
    torch.manual_seed(0)
    ours, theirs = small(), small()
    theirs.load_state_dict(ours.state_dict())
    transform = tl.data.Mixup(0.4)
    tl.fit(
        ours,
        train=DATA,
        epochs=3,
        batch_size=48,
        seed=5,
        transform=transform,
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.5),
    )
    torch.manual_seed(5)
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.5)
    order = tl.data.as_source("train", DATA, 48, seed=5)
    for epoch in range(3):
        batch = transform(next(order.epoch(epoch)))
        one_hot = nn.functional.one_hot(torch.stack([batch.labels, batch.mixture.labels]), 3)
        share = batch.mixture.fraction.unsqueeze(1)
        target = share * one_hot[0] + (1 - share) * one_hot[1]
        optimizer.zero_grad()
        nn.functional.cross_entropy(theirs(batch.inputs), target).backward()
        optimizer.step()
    torch.testing.assert_close(ours[0].weight, theirs[0].weight)
    torch.testing.assert_close(ours[2].bias, theirs[2].bias)


def test_stages_have_it_too():
    stages = [tl.Stage(tl.SoftTargets(2), 1), tl.Stage(tl.HardLabels(), 1)]
    _, student = distilled(tl.data.Noise(0.5), objective=None, epochs=None, stages=stages)
    shown = [x for training, x in student if training]
    rows = {tuple(row) for row in X.tolist()}
    assert len(shown) == 6
    assert all(not {tuple(row) for row in x.tolist()} & rows for x in shown)


def test_an_arm_of_a_study_has_it_and_others_have_not(tmp_path):
    seen = []

    def watched(batch):
        seen.append(len(batch))
        return batch

    study = tl.study(
        nn.Linear(6, 3),
        small,
        train=DATA,
        test=VAL,
        arms={
            "watched": tl.Arm(objective=tl.SoftTargets(2), transform=watched),
            "mixed": tl.Arm(objective=tl.SoftTargets(2), transform=tl.data.Mixup()),
            "plain": tl.SoftTargets(2),
        },
        controls={"labels": tl.HardLabels()},
        seeds=2,
        epochs=1,
        training=tl.Training(batch_size=16),
        out=tmp_path,
        progress=False,
    )
    assert seen == [16] * 3 * 2
    arms = {arm.name: arm for arm in study.results.arms}
    curves = {name: [trial.curves for trial in arm.trials] for name, arm in arms.items()}
    assert curves["watched"] == curves["plain"] != curves["mixed"]
    assert arms["mixed"].settings["transform"] == "Mixup(alpha=1.0, within_domain=True)"
    assert "transform" not in arms["plain"].settings


class TestTheFolderOfARun:
    def fitted(self, out, transform):
        torch.manual_seed(0)
        return tl.fit(small(), train=DATA, epochs=1, out=out, transform=transform)

    def test_another_transform_is_another_run(self, tmp_path):
        self.fitted(tmp_path, tl.data.Mixup(0.4))
        for other in (tl.data.Mixup(0.5), tl.data.Noise(), None, lambda batch: batch):
            with pytest.raises(RunFolderError, match=r"transform\S*: .* → "):
                self.fitted(tmp_path, other)

    def test_the_same_is_taken_up(self, tmp_path):
        first = self.fitted(tmp_path, tl.data.Mixup(0.4))
        again = self.fitted(tmp_path, tl.data.Mixup(0.4))
        assert again.history == first.history

    def test_a_function_is_known_by_its_name_and_not_by_where_it_lies(self, tmp_path):
        def make():
            def plain(batch):
                return batch

            return plain

        first = self.fitted(tmp_path, make())
        assert self.fitted(tmp_path, make()).history == first.history


class TestBadInput:
    def test_what_returns_no_batch(self):
        with pytest.raises(DataError, match=r"must return a tl\.Batch"):
            tl.fit(small(), train=DATA, epochs=1, transform=lambda batch: batch.inputs)

    def test_objectives_that_read_one_label(self):
        with pytest.raises(DataError, match="mixed examples"):
            distilled(tl.data.Mixup(), objective=tl.DKD())

    def test_token_ids(self):
        ids = TensorDataset(torch.arange(8).reshape(4, 2), torch.arange(4) % 3)
        with pytest.raises(DataError, match="ids cannot be mixed"):
            tl.fit(small(), train=ids, epochs=1, transform=tl.data.Mixup())
