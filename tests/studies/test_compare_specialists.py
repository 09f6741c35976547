"""Whether specialists beat a generalist: what is found, and the advice."""

from copy import deepcopy
from dataclasses import astuple
from functools import partial

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import ConstantLR
from torch.utils.data import Dataset, TensorDataset

import tutelage as tl
from tutelage.evaluation import Interval, accuracy, paired_interval, predict
from tutelage.studies import SpecialistComparison, compare_specialists
from tutelage.studies.compare_specialists import _one_for_all, _one_per_domain

QUIET = tl.Engine(device="cpu", progress=False)
TRAINING = tl.Training(
    batch_size=16, engine=QUIET, optimizer=partial(torch.optim.Adam, lr=0.03), keep_best=False
)
NAMES = ("day", "night", "dusk")


def table(seed, rows=64, flipped=()):
    """Two classes by the sign of the first input; in some domains by the opposite sign."""
    generator = torch.Generator().manual_seed(seed)
    sets = {}
    for name in NAMES:
        inputs = torch.randn(rows, 4, generator=generator)
        sets[name] = TensorDataset(inputs, ((inputs[:, 0] > 0) ^ (name in flipped)).long())
    return tl.data.domains(sets)


def make():
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def compare(make_model=make, **changes):
    options = {
        "train": table(0, flipped=["night"]),
        "val": table(1, rows=50, flipped=["night"]),
        "epochs": 8,
        "training": TRAINING,
        "seeds": 3,
        "progress": False,
    }
    return compare_specialists(make_model, **(options | changes))


def right(model, data):
    return (predict(model, data).argmax(1) == data.tensors[1]).double()


def test_the_differences_are_those_of_models_trained_by_hand():
    found, train, val = compare(), table(0, flipped=["night"]), table(1, 50, ["night"])
    tables = {name: [] for name in NAMES}  # by domain, [seeds, examples]
    for seed in range(3):
        torch.manual_seed(seed)
        first = make()
        settings = {
            "epochs": 8, "batch_size": 16, "seed": seed, "optimizer": TRAINING.optimizer,
            "engine": QUIET,
        }  # fmt: skip
        everyone = tl.fit(deepcopy(first), train=train, **settings).student
        for name in NAMES:
            own = tl.fit(deepcopy(first), train=train.sets[name], **settings).student
            tables[name].append(right(own, val.sets[name]) - right(everyone, val.sets[name]))
    by_domain = {name: torch.stack(rows) for name, rows in tables.items()}
    for name in NAMES:
        expected = paired_interval(by_domain[name], resolution=1, confidence=1 - 0.05 / 3)
        assert astuple(found.by_domain[name]) == pytest.approx(astuple(expected))
    whole = paired_interval(torch.cat(list(by_domain.values()), 1), resolution=1)
    assert astuple(found.difference) == pytest.approx(astuple(whole))


def test_where_domains_contradict_each_other_specialists_are_advised():
    found = compare()
    assert found.difference.low > 0
    assert "Specialists are better than one generalist of the same size" in found.advice
    assert str(found) == found.advice


def test_where_one_rule_holds_with_few_examples_the_generalist_is_advised():
    found = compare(train=table(0, rows=3), val=table(1, rows=200), epochs=40, seeds=5)
    assert found.difference.high < 0
    assert "Specialists are worse than one generalist of the same size" in found.advice
    assert "Distil from the generalist." in found.advice


def interval(mean, half):
    return Interval(mean, mean - half, mean + half)


@pytest.mark.parametrize(
    ("whole", "parts", "expected"),
    [
        (0.1, (0.1, 0.1, 0.1), "Distil from the specialists, routed by domain."),
        (0.1, (0.1, 0.0, 0.1), "Distil from the specialists, routed by domain."),
        (0.1, (0.2, -0.1, 0.2), "from the specialists of 'day', 'dusk', and from the generalist"),
        (-0.1, (-0.1, -0.1, 0.0), "Distil from the generalist."),
        (-0.1, (-0.2, 0.1, -0.2), "from the specialists of 'night', and from the generalist"),
        (0.0, (0.0, 0.0, 0.0), "Distil from the generalist, which is one model"),
        (0.0, (-0.1, 0.1, 0.0), "from the specialists of 'night', and from the generalist"),
    ],
)
def test_the_advice_follows_from_the_intervals(whole, parts, expected):
    study = compare(seeds=2, epochs=1).study
    by_domain = {name: interval(each, 0.05) for name, each in zip(NAMES, parts, strict=True)}
    advice = SpecialistComparison(interval(whole, 0.05), by_domain, study).advice
    assert expected in advice
    assert f"accuracy {100 * whole:+.2f}".replace("-", "−") in advice
    assert "2 seeds" in advice


def test_the_trained_models_are_returned_as_teachers():
    found, val = compare(), table(1, 50, ["night"])
    night = val.sets["night"]
    model = found.specialists(1)["night"]
    assert accuracy(predict(model, night), night.tensors[1]) > 0.9
    assert accuracy(predict(found.specialists(1)["day"], night), night.tensors[1]) < 0.2
    run = tl.distill(
        found.specialists(), make(), train=val, objective=tl.SoftTargets(1), epochs=1, engine=QUIET
    )
    assert run.history
    trials = found.study.results.arm("generalist").trials
    whole = accuracy(predict(found.generalist(2), night), night.tensors[1])
    assert trials[2].domains["night"]["accuracy"] == whole


class Steps:
    """Counts the optimizer steps of each training through its scheduler."""

    def __init__(self):
        self.asked = []

    def __call__(self, optimizer, steps):
        self.asked.append(steps)
        return ConstantLR(optimizer, factor=1.0)


def test_specialists_take_as_many_steps_as_the_generalist(tmp_path):
    sets = dict(zip(NAMES, ((200, 0), (90, 1), (10, 2)), strict=True))
    uneven = tl.data.domains(
        {name: table(seed, rows).sets[name] for name, (rows, seed) in sets.items()}
    )
    steps = Steps()
    settings = {"epochs": 8, "batch_size": 16, "scheduler": steps, "engine": QUIET}
    trial = tl.Trial(
        seed=0,
        student=make(),
        teacher=None,
        train=uneven,
        val=None,
        out=tmp_path,
        settings=settings,
    )
    _one_per_domain(trial, table(1), tl.HardLabels())
    own = steps.asked
    steps.asked = []
    _one_for_all(trial, table(1), tl.HardLabels())
    assert len(own) == 3
    assert steps.asked == [8 * 19]
    assert abs(sum(own) - 8 * 19) <= (13 + 6 + 1) / 2


def test_a_function_of_the_seed_gives_each_seed_its_examples():
    seen = []

    def sample(seed):
        seen.append(seed)
        return table(seed + 10, flipped=["night"])

    found = compare(train=sample)
    assert set(seen) == {0, 1, 2}
    assert found.difference.low > 0


def apart(seed, rows=60):
    """The same inputs and rule in two domains whose classes are different."""
    generator = torch.Generator().manual_seed(seed)
    sets = {}
    for name, first in (("left", 0), ("right", 2)):
        inputs = torch.randn(rows, 4, generator=generator)
        sets[name] = TensorDataset(inputs, first + (inputs[:, 0] > 0).long())
    return tl.data.domains(sets)


def test_with_different_classes_both_choose_among_those_of_the_domain():
    found = compare(lambda: nn.Linear(4, 4), train=apart(0), val=apart(1), epochs=30)
    # Without the domain nobody can tell 0 from 2, and the generalist would get about a half.
    assert min(found.study.results.arm("generalist").values("accuracy")) > 0.9
    assert abs(found.difference.mean) < 0.05
    plain = predict(found.generalist(), apart(1))
    assert accuracy(plain, torch.cat([each.tensors[1] for each in apart(1).sets.values()])) < 0.7


def confidence(model):
    return predict(model, table(1)).softmax(1).amax(1).mean()


def test_the_objective_is_used_for_both():
    plain, smooth = (compare(seeds=2, objective=each) for each in (None, tl.HardLabels(0.8)))
    for name in NAMES:
        assert confidence(plain.specialists()[name]) > 0.85
        assert confidence(smooth.specialists()[name]) < 0.7
    assert confidence(smooth.generalist()) < 0.7


def test_a_class_that_one_domain_lacks_in_training_may_still_be_chosen_there():
    train, val = table(0), table(1, rows=200)
    only = train.sets["day"].tensors[1] == 0
    train.sets["day"] = TensorDataset(*(each[only] for each in train.sets["day"].tensors))
    found = compare(train=tl.data.domains(train.sets), val=val, epochs=20)
    assert found.by_domain["day"].mean < -0.3
    assert found.study.results.arm("generalist").trials[0].domains["day"]["accuracy"] > 0.8


def test_values_are_compared_by_their_squared_errors():
    def values(seed):
        sets = table(seed, flipped=["night"]).sets
        return tl.data.domains(
            {name: (own.tensors[0], 2.0 * own.tensors[1] - 1) for name, own in sets.items()}
        )

    def one():
        return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))

    found = compare(one, train=values(0), val=values(1))
    assert found.difference.low > 0
    assert "mean squared error" in found.advice
    assert "points" not in found.advice


class Rows(Dataset):
    """Examples as dicts, for a model with named inputs."""

    def __init__(self, data):
        self.data = data

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        inputs, label = self.data[index]
        return {"first": inputs[:2], "second": inputs[2:], "labels": label}


class Pairs(Rows):
    """The same as tuples."""

    def __getitem__(self, index):
        first, second, label = super().__getitem__(index).values()
        return first, second, label


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = make()

    def forward(self, first, second):
        return {"logits": self.inner(torch.cat([first, second], dim=1))}


@pytest.mark.parametrize("kind", [Rows, Pairs])
def test_models_of_several_inputs(kind):
    def wrapped(data):
        return tl.data.domains({name: kind(own) for name, own in data.sets.items()})

    options = {"train": table(0, flipped=["night"]), "val": table(1, 50, ["night"])}
    options |= {"seeds": 2, "epochs": 3}
    data = {name: wrapped(options[name]) for name in ("train", "val")}
    assert compare(Net, **(options | data)).difference == compare(**options).difference


def test_a_sweep_chooses_on_every_second_example_and_measures_on_the_others():
    train, val = table(0, flipped=["night"]), table(1, rows=50, flipped=["night"])
    for name, own in val.sets.items():
        own.tensors[1][1::2] = 1 - own.tensors[1][1::2]  # what chooses is not what measures
        assert len(own) == 50, name
    found = compare(train=train, val=val, sweep={"learning_rate": [1e-5, 0.03]})
    for arm in found.study.results.arms:
        assert arm.settings["chosen"] == "learning rate 0.03"
        assert len(arm.tried) == 2
    assert found.study.results.examples["test"] == 75
    assert max(found.study.results.arm("specialists").values("accuracy")) < 0.3


def test_nothing_is_trained_twice(tmp_path, monkeypatch):
    first = compare(out=tmp_path)
    monkeypatch.setattr(torch.optim.Adam, "step", None)  # any step would fail
    assert compare(out=tmp_path).by_domain == first.by_domain
    with pytest.raises(tl.ArgumentError, match="`optimizer`"):
        compare(out=tmp_path, epochs=9)


def test_examples_in_both_train_and_val_are_refused():
    with pytest.raises(tl.DataError, match="`train` and `val` must have no examples in common"):
        compare(train=table(1))
    with pytest.raises(tl.DataError, match="no examples in common"):
        compare(train=table)  # seed 1 gives what `val` is made of
    compare(train=table(1), seeds=2, epochs=1, allow_overlap=True)


PLAIN = TensorDataset(torch.zeros(2, 4), torch.zeros(2).long())
UNLABELLED = tl.data.domains({name: tl.data.unlabelled(torch.zeros(2, 4)) for name in NAMES})


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"train": PLAIN}, tl.ArgumentError, "`train`"),
        ({"train": lambda _: [1]}, tl.ArgumentError, "a function of the seed must return such"),
        ({"train": apart(0)}, tl.DataError, "must have the same domains"),
        ({"train": lambda _: apart(0)}, tl.DataError, "must have the same domains"),
        ({"val": PLAIN}, tl.ArgumentError, "`val`"),
        ({"val": tl.data.domains({"day": table(0).sets["day"]})}, tl.ArgumentError, "two domains"),
        ({"seeds": 1}, tl.ArgumentError, "`seeds` must be at least two"),
        ({"seeds": [4]}, tl.ArgumentError, "`seeds` must be at least two"),
        ({"val": UNLABELLED}, tl.DataError, "all examples of `val` must have labels"),
    ],
)
def test_what_is_refused(changes, error, message):
    with pytest.raises(error, match=message):
        compare(**changes)
