"""examples/compare_specialists.py: what is compared is fair, and the advice follows from it."""

import runpy
from copy import deepcopy
from dataclasses import astuple
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import tutelage as tl
from tutelage.evaluation import Interval, accuracy, paired_interval, predict

EXAMPLE = runpy.run_path(
    str(Path(__file__).parents[1] / "examples" / "compare_specialists.py"), run_name="compared"
)
QUIET = tl.Engine(device="cpu", progress=False)
TRAINING = tl.Training(batch_size=16, engine=QUIET, optimizer=partial(torch.optim.Adam, lr=0.03))
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
    return EXAMPLE["compare"](make_model, **(options | changes))


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
    assert found.difference.low > 0
    night = val.sets["night"]
    assert accuracy(predict(found.specialists(1)["night"], night), night.tensors[1]) > 0.9
    assert accuracy(predict(found.specialists(1)["day"], night), night.tensors[1]) < 0.2


@pytest.mark.parametrize(
    ("whole", "parts", "expected"),
    [
        (0.1, (0.1, 0.0, 0.1), "Distil from the specialists, routed by domain."),
        (0.1, (0.2, -0.1, 0.2), "from the specialists of ['day', 'dusk'], and from the generalist"),
        (-0.1, (-0.1, -0.1, 0.0), "Distil from the generalist."),
        (0.0, (-0.1, 0.1, 0.0), "from the specialists of ['night'], and from the generalist"),
    ],
)
def test_the_advice_follows_from_the_intervals(whole, parts, expected):
    def interval(mean):
        return Interval(mean, mean - 0.05, mean + 0.05)

    by_domain = {name: interval(each) for name, each in zip(NAMES, parts, strict=True)}
    assert expected in EXAMPLE["Comparison"](interval(whole), by_domain, None).advice


def test_with_different_classes_both_choose_among_those_of_the_domain():
    def apart(seed, rows=60):
        """The same inputs and rule in two domains whose classes are different."""
        generator = torch.Generator().manual_seed(seed)
        sets = {}
        for name, first in (("left", 0), ("right", 2)):
            inputs = torch.randn(rows, 4, generator=generator)
            sets[name] = TensorDataset(inputs, first + (inputs[:, 0] > 0).long())
        return tl.data.domains(sets)

    found = compare(lambda: nn.Linear(4, 4), train=apart(0), val=apart(1), epochs=30, seeds=2)
    # Without the domain nobody can tell 0 from 2, and the generalist would get about a half.
    assert min(found.study.results.arm("generalist").values("accuracy")) > 0.9
    assert abs(found.difference.mean) < 0.05


def test_a_sweep_chooses_on_every_second_example_and_nothing_is_trained_twice(
    tmp_path, monkeypatch
):
    options = {"sweep": {"learning_rate": [1e-5, 0.03]}, "out": tmp_path, "seeds": 2}
    first = compare(**options)
    assert first.study.results.arm("specialists").settings["chosen"] == "learning rate 0.03"
    assert first.study.results.examples["test"] == 75
    monkeypatch.setattr(torch.optim.Adam, "step", None)  # any step would fail
    assert compare(**options).by_domain == first.by_domain


def test_examples_in_both_train_and_val_are_refused():
    with pytest.raises(tl.DataError, match="must have no examples in common"):
        compare(train=table(1, rows=50, flipped=["night"]))


def test_it_runs():
    found = EXAMPLE["main"](epochs=4, seeds=2)
    assert found["turned"] > found["alike"]
