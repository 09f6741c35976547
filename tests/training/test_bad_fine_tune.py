"""Arguments of fine_tune that are refused."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import tutelage as tl
from tutelage.errors import ArgumentError, ModelError
from tutelage.training.parts import parameters_at

X = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] > 0).long() + (X[:, 1] > 0).long()
DATA = TensorDataset(X, Y)
SGD = partial(torch.optim.SGD, lr=0.1, momentum=0.9)


class Net(nn.Module):
    """Something before the blocks, three of them, and a head; and a parameter of its own."""

    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(6))
        self.embed = nn.Linear(6, 8)
        self.body = nn.Sequential(*[self.block() for _ in range(3)])
        self.head = nn.Linear(8, 3)

    @staticmethod
    def block():
        return nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.1))

    def forward(self, x):
        return self.head(self.body(self.embed(x + self.shift)))


def net():
    torch.manual_seed(0)
    return Net()


def moved(before, after):
    """Return which parameters and buffers changed, by how much at most."""
    return {
        name: (after[name] - before[name]).abs().max().item()
        for name in before
        if not torch.equal(after[name], before[name])
    }


def tuned(model=None, **settings):
    model = model or net()
    before = {name: each.clone() for name, each in model.state_dict().items()}
    chosen = {"train": DATA, "epochs": 1, "batch_size": 20, "optimizer": SGD} | settings
    run = tl.fine_tune(model, **chosen)
    return run, moved(before, model.state_dict())


class TestBadInput:
    @pytest.mark.parametrize("settings", [{"frozen": ["embd"]}, {"lr_factors": {"embd": 0.5}}])
    def test_a_path_that_names_nothing(self, settings):
        with pytest.raises(ArgumentError, match="no layer 'embd'; nearest are 'embed'"):
            tuned(**settings)

    @pytest.mark.parametrize("frozen", ["embed", {"embed"}, 3])
    def test_paths_that_are_no_list(self, frozen):
        with pytest.raises(ArgumentError, match="`frozen` must be a list of paths"):
            tuned(frozen=frozen)

    @pytest.mark.parametrize(
        "settings",
        [
            {"lr_factors": {"body": 0.5, "body.1": 0.1}},
            {"lr_factors": {"body.1": 0.1, "body": 0.5}},
            {"lr_factors": {"embed": 0.1, "embed.weight": 0.5}},
            {"lr_factors": {"embed.weight": 0.5}, "frozen": ["embed"]},
        ],
        ids=str,
    )
    def test_paths_that_overlap(self, settings):
        with pytest.raises(ArgumentError, match="must have one factor or be frozen"):
            tuned(**settings)

    @pytest.mark.parametrize("factor", [0, -1, float("nan"), "0.1", None])
    def test_factors_out_of_range(self, factor):
        with pytest.raises(ArgumentError, match=r"lr_factors\['embed'\]"):
            tuned(lr_factors={"embed": factor})

    def test_rates_that_are_no_dict(self):
        with pytest.raises(ArgumentError, match=r"`lr_factors` must be a dict by name, got \['em"):
            tuned(lr_factors=["embed"])

    @pytest.mark.parametrize("decay", [0, -0.5, 1.5, "0.8"])
    def test_decays_out_of_range(self, decay):
        with pytest.raises(ArgumentError, match="layer_decay"):
            tuned(layer_decay=decay)

    def test_a_decay_without_blocks(self):
        with pytest.raises(ArgumentError, match=r"repeated blocks.*give `lr_factors` by path"):
            tuned(nn.Linear(6, 3), layer_decay=0.8)

    def test_parts_without_parameters(self):
        for settings in ({"frozen": ["body.0.2"]}, {"lr_factors": {"body.0.2": 0.5}}):
            with pytest.raises(ArgumentError, match="without any; leave it out"):
                tuned(**settings)
        assert len(parameters_at(net(), "shift")) == 1

    def test_everything_frozen(self):
        with pytest.raises(ModelError, match="must have parameters to train"):
            tuned(frozen=[""])

    @pytest.mark.parametrize(
        "make",
        [
            lambda groups: torch.optim.SGD([p for p in groups if p.ndim > 1], lr=0.1),
            lambda groups: torch.optim.SGD([p for g in groups for p in g["params"]], lr=0.1),
        ],
        ids=["takes none", "makes its own"],
    )
    def test_an_optimizer_without_groups(self, make):
        with pytest.raises(ArgumentError, match="must take groups of parameters"):
            tuned(optimizer=make, lr_factors={"embed": 0.1})

    @pytest.mark.parametrize("make", [3, lambda _: 3])
    def test_an_optimizer_that_is_none(self, make):
        with pytest.raises(ArgumentError, match="from parameters to an optimizer"):
            tuned(optimizer=make, lr_factors={"embed": 0.1})
