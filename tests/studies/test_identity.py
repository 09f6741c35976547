"""The same setting has the same key in another process, and another setting another key."""

import subprocess
import sys
from functools import partial

import pytest
import torch
from torch import nn

import tutelage as tl
from tutelage.studies.describe import identity, readable

SCRIPT = """
from functools import partial
import torch
from tutelage.studies.describe import identity
from tutelage import Engine, SoftTargets
def outer(rate):
    def make(parameters):
        return torch.optim.SGD(parameters, lr=rate)
    return make
def scale(optimizer, steps):
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
print(identity([outer(0.1), scale, partial(torch.optim.AdamW, lr=0.1), Engine(), SoftTargets(3)]))
"""


def test_it_is_the_same_in_another_process():
    found = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT], check=True, capture_output=True, text=True
        ).stdout
        for _ in range(2)
    }
    assert len(found) == 1


def _closing_over(rate):
    return lambda parameters: torch.optim.SGD(parameters, lr=rate)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (partial(torch.optim.SGD, lr=0.1), partial(torch.optim.SGD, lr=0.2)),
        (partial(torch.optim.SGD, lr=0.1), partial(torch.optim.Adam, lr=0.1)),
        (_closing_over(0.1), _closing_over(0.2)),
        (lambda step: step + 1, lambda step: step + 2),
        (lambda step: step + 1, lambda step: step - 1),
        (tl.SoftTargets(1), tl.SoftTargets(2)),
        (tl.Engine(precision="bf16"), tl.Engine()),
        ({"a": {"b": [1, {"c": 2.0}]}}, {"a": {"b": [1, {"c": 3.0}]}}),
        (torch.zeros(2), torch.ones(2)),
    ],
)
def test_other_settings_are_told_apart(one, other):
    assert identity(one) == identity(one)
    assert identity(one) != identity(other)
    deep = [{"settings": partial(print, one)}], [{"settings": partial(print, other)}]
    assert identity(deep[0]) != identity(deep[1])


def test_weights_are_part_of_a_model():
    one, other = nn.Linear(2, 2), nn.Linear(2, 2)
    assert identity(one) != identity(other)
    other.load_state_dict(one.state_dict())
    assert identity(one) == identity(other)


def test_readers_see_names():
    assert readable(partial(torch.optim.SGD, lr=0.1, momentum=0.9)) == "SGD(lr=0.1, momentum=0.9)"
    assert readable(test_readers_see_names) == "test_readers_see_names"
    assert readable(object()) == "<object object>"
    assert "0x" not in readable(nn.Linear)


def test_a_changed_setting_is_another_trial_and_the_old_one_stays(setup, tmp_path):
    setup.study(seeds=1, out=tmp_path)
    before = set(tmp_path.glob("trials/*"))
    setup.study(seeds=1, out=tmp_path, optimizer=partial(torch.optim.AdamW, lr=0.02))
    both = set(tmp_path.glob("trials/*"))
    assert before < both
    assert len(both) == 2 * len(before)


def test_more_seeds_are_added_to_those_that_are_done(setup, tmp_path):
    setup.study(seeds=1, out=tmp_path)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("trials/*/trial.json")}
    study = setup.study(seeds=3, out=tmp_path)
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert [trial.seed for trial in study.results.arm("soft").trials] == [0, 1, 2]


def test_another_test_set_is_answered_without_training_again(setup, tmp_path):
    setup.study(seeds=1, out=tmp_path)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("trials/*/run/last.pt")}
    study = setup.study(seeds=1, out=tmp_path, test=setup.val)
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert study.results.examples["test"] == len(setup.val)
    fresh = setup.study(seeds=1, test=setup.val)
    ours, theirs = (each.results.arm("soft").values("kl") for each in (study, fresh))
    assert ours == theirs
