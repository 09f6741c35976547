"""The same setting has the same key in another process, and another setting another key."""

import os
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset, TensorDataset

import tutelage as tl
from tutelage.identity import identity
from tutelage.studies.eval_data import read_eval_data
from tutelage.studies.plan import readable

SCRIPT = """
from functools import partial
import torch
from tutelage.identity import identity
from tutelage import Engine, SoftTargets
def outer(rate):
    def make(parameters):
        return torch.optim.SGD(parameters, lr=rate)
    return make
def scale(optimizer, steps):
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
print(identity([outer(0.1), scale, partial(torch.optim.AdamW, lr=0.1), Engine(), SoftTargets(3)]))
print(identity([{'a', 'b', 'c'}, lambda x: x in {'d', 'e', 'f'}]))
from transformers import LlamaConfig, LlamaForCausalLM
torch.manual_seed(0)
print(identity(LlamaForCausalLM(LlamaConfig(
    vocab_size=8, hidden_size=4, intermediate_size=4, num_hidden_layers=1,
    num_attention_heads=1, num_key_value_heads=1,
))))
"""


def test_it_is_the_same_in_another_process(capsys):
    """Whose hashes differ, and with them the order in sets."""
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    other = subprocess.run(
        [sys.executable, "-c", SCRIPT], check=True, capture_output=True, text=True,
        env=os.environ | {"PYTHONHASHSEED": seed},
    ).stdout  # fmt: skip
    assert len(set(other.split())) == 3
    exec(SCRIPT, {"__name__": "__main__"})
    assert capsys.readouterr().out == other


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (partial(torch.optim.SGD, lr=0.1), partial(torch.optim.SGD, lr=0.2)),
        (partial(torch.optim.SGD, lr=0.1), partial(torch.optim.Adam, lr=0.1)),
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
    setup.study(
        seeds=1, out=tmp_path, training=tl.Training(optimizer=partial(torch.optim.AdamW, lr=0.02))
    )
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


class Mine(tl.Objective):
    """An objective whose text does not tell its number."""

    wants = tl.SoftTargets(1).wants

    def __init__(self, scale):
        super().__init__()
        self.scale = scale
        self.inner = tl.SoftTargets(2)

    def forward(self, student, teacher, batch):
        return self.scale * self.inner(student, teacher, batch)


def test_plain_attributes_are_part_of_an_objective():
    assert identity(Mine(1.0)) != identity(Mine(2.0))
    assert identity(Mine(1.0)) == identity(Mine(1.0))


def _closing_over(rate):
    return lambda parameters: torch.optim.SGD(parameters, lr=rate)


def test_settings_that_are_functions_of_one_name_are_trials_of_their_own(setup, tmp_path):
    """Their code is not read, so by their identity they are the same."""
    sweep = {"optimizer": [_closing_over(rate) for rate in (0.0, 0.1)]}
    assert identity(sweep["optimizer"][0]) == identity(sweep["optimizer"][1])
    setup.study(seeds=1, controls={}, sweep=sweep, val=setup.val, out=tmp_path)
    assert len(list(tmp_path.glob("trials/*"))) == 2


def test_arrays_are_known_by_all_of_their_content():
    one, other = np.arange(5000), np.arange(5000)
    other[2500] = -1
    assert identity(one) == identity(one.copy())
    assert identity(one) != identity(other)


class Own(Dataset):
    """A data set that is no tensors, as far as anyone can see."""

    def __init__(self, inputs, labels):
        self.inputs, self.labels = inputs, labels

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, place):
        return self.inputs[place], self.labels[place]


def test_validation_and_test_data_of_one_size_are_told_apart(setup):
    inputs, labels = setup.inputs, setup.labels
    options = {"seeds": 1, "sweep": {"learning_rate": [1e-3, 1e-2]}}
    parts = (slice(300, 500), slice(500, 700))
    plain = [TensorDataset(inputs[part], labels[part]) for part in parts]
    own = [Own(inputs[part], labels[part]) for part in parts]
    one, other = (setup.study(val=val, test=test, **options) for val, test in (plain, own))
    for ours, theirs in zip(one.results.arms, other.results.arms, strict=True):
        assert ours.trials[0].metrics == theirs.trials[0].metrics
        assert ours.trials[0].val == theirs.trials[0].val


def test_domains_of_validation_data_are_part_of_a_trial(setup, tmp_path):
    """An objective may distil by them."""
    x, y = setup.val.tensors
    options = {"seeds": 1, "epochs": 1, "controls": {}, "out": tmp_path}
    for at in (100, 200):
        one, other = (TensorDataset(x[own], y[own]) for own in (slice(at), slice(at, None)))
        setup.study(val=tl.data.domains({"one": one, "other": other}), **options)
    assert len(list(tmp_path.glob("trials/*"))) == 2


def test_another_content_of_ones_own_data_is_seen(setup, tmp_path):
    first, second = (Own(setup.inputs[a:b], setup.labels[a:b]) for a, b in ((600, 700), (700, 800)))
    setup.study(seeds=1, test=first, out=tmp_path)
    ours = setup.study(seeds=1, test=second, out=tmp_path).results
    theirs = setup.study(seeds=1, test=second).results
    assert ours.arm("soft").values("kl") == theirs.arm("soft").values("kl")
    count = len(list(tmp_path.glob("trials/*")))
    setup.study(seeds=1, train=Own(*setup.val.tensors), test=second, out=tmp_path)
    setup.study(seeds=1, train=Own(*setup.train.tensors), test=second, out=tmp_path)
    assert len(list(tmp_path.glob("trials/*"))) == 3 * count


def test_texts_and_row_masks_are_part_of_test_data():
    """Or outputs for other texts would be taken for those of these."""
    x, y = torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.int64)

    def of(text, mask):
        parts = zip((text, "no"), x, (mask, [1, 1, 1]), y, strict=True)
        names = ("text", "x", "row_mask", "labels")
        return read_eval_data(
            "test", [dict(zip(names, each, strict=True)) for each in parts]
        ).fingerprint

    assert of("yes", [1, 1, 0]) == of("yes", [1, 1, 0])
    assert len({of("yes", [1, 1, 0]), of("now", [1, 1, 0]), of("yes", [1, 0, 1])}) == 3


def test_another_teacher_changes_what_a_control_is_compared_with(setup, tmp_path):
    setup.study(seeds=1, out=tmp_path)
    torch.manual_seed(1)
    other = nn.Linear(64, 10)
    options = {
        "train": setup.train, "test": setup.test, "arms": {"soft": tl.SoftTargets(4)}, "seeds": 1,
        "epochs": 2, "training": tl.Training(engine=tl.Engine(device="cpu", progress=False)),
        "progress": False,
    }  # fmt: skip
    ours = tl.study(other, setup.make, out=tmp_path, **options).results
    theirs = tl.study(other, setup.make, **options).results
    for name in ("labels", "soft"):
        assert ours.arm(name).trials[0].train == theirs.arm(name).trials[0].train
