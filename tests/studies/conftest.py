from dataclasses import replace

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import TensorDataset

import tutelage as tl

QUIET = tl.Engine(device="cpu", progress=False)


@pytest.fixture(autouse=True, scope="module")
def quick():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        # Figures of time are not what these tests look at.
        patch.setattr("tutelage.studies.conclude._SECONDS", 0.002)
        patch.setattr("tutelage.studies.conclude._ROUNDS", 2)
        yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _words_of_pages(charts_undrawn):
    """Few of these tests look at a chart."""


@pytest.fixture
def no_compiler(monkeypatch):
    """Let the compiled variant fail: it takes half a minute, and is tested where variants are."""

    def fail(*_, **__):
        raise RuntimeError("not here")

    monkeypatch.setattr(torch, "compile", fail)


class Setup:
    """Digits in three parts, a trained teacher and a small student."""

    def __init__(self):
        pixels, labels = load_digits(return_X_y=True)
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
        self.inputs = torch.tensor(pixels, dtype=torch.float32)[order] / 16
        self.labels = torch.tensor(labels)[order]
        self.train, self.val, self.test = self.part(0, 300), self.part(300, 600), self.part(600)
        torch.manual_seed(0)
        self.teacher = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
        tl.fit(self.teacher, train=self.part(0, 600), epochs=8, engine=QUIET)

    def part(self, first, last=None):
        return TensorDataset(self.inputs[first:last], self.labels[first:last])

    @staticmethod
    def make():
        return nn.Sequential(nn.Linear(64, 6), nn.ReLU(), nn.Linear(6, 10))

    def study(self, **changes):
        options = {
            "train": self.train,
            "test": self.test,
            "arms": {"soft": tl.SoftTargets(4)},
            "seeds": 2,
            "epochs": 2,
            "training": tl.Training(engine=QUIET),
            "progress": False,
        }
        if isinstance(changes.get("training"), tl.Training):
            changes["training"] = replace(changes["training"], engine=QUIET)
        return tl.study(self.teacher, self.make, **(options | changes))


@pytest.fixture(scope="session")
def setup():
    torch.set_num_threads(1)
    return Setup()
