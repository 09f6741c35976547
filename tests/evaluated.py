"""A small network, its data and its logits."""

import copy

import torch
from torch import nn
from torch.utils.data import TensorDataset

from tutelage.data import as_source

X = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
Y = torch.arange(30) % 3
DATA = TensorDataset(X, Y)


def model(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 3))


def source(data=DATA, size=7):
    return as_source("val", data, size)


def logits(network, inputs=X):
    with torch.no_grad():
        return copy.deepcopy(network).eval()(inputs)
