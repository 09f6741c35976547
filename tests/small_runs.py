"""A small run with good arguments, of which a test changes some."""

import torch
from torch import nn
from torch.utils.data import TensorDataset

import tutelage as tl

INPUTS = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(40) % 3


def distill(**changes):
    """Call `distill` with good arguments, but for the changes."""
    good = {
        "teacher": nn.Linear(6, 3),
        "student": nn.Linear(6, 3),
        "train": TensorDataset(INPUTS, LABELS),
        "objective": 0.5 * tl.HardLabels() + tl.SoftTargets(2),
        "epochs": 2,
        "batch_size": 8,
    }
    return tl.distill(**(good | changes))
