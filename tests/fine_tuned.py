"""A small network and its fine-tuning."""

from functools import partial

import torch
from torch import nn
from torch.utils.data import TensorDataset

import tutelage as tl

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
