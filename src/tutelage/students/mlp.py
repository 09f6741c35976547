"""A small network for the rows of a table."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from tutelage._checks import fraction, integer
from tutelage.errors import ArgumentError


def mlp(
    features: int, outputs: int, hidden: Sequence[int] = (128, 128), dropout: float = 0.0
) -> nn.Sequential:
    """Return a multi-layer perceptron: linear layers with ReLU between them, random weights.

    Args:
        features: Number of inputs.
        outputs: Number of outputs: of classes, of binary labels or of values.
        hidden: Widths of the hidden layers; empty for a linear model.
        dropout: Fraction of hidden units that are dropped in training, in [0, 1].

    Raises:
        ArgumentError: A size is below 1, or `dropout` outside its range.

    >>> sum(each.numel() for each in mlp(4, 3, hidden=[8]).parameters())
    67
    """
    if not isinstance(hidden, Sequence) or isinstance(hidden, str):
        raise ArgumentError(f"`hidden` must be a list of widths, got {hidden!r}; write [128, 128]")
    widths = [integer("features", features, 1, "it counts the inputs")]
    widths += [integer("hidden", each, 1, "it is the width of a layer") for each in hidden]
    outputs = integer("outputs", outputs, 1, "it counts classes, binary labels or values")
    dropped = fraction("dropout", dropout, "0 drops nothing")
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
        layers += [nn.Dropout(dropped)] if dropped else []
    return nn.Sequential(*layers, nn.Linear(widths[-1], outputs))
