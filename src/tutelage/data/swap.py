"""Swap: exchange features between the rows of a table."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tutelage._checks import fraction
from tutelage.data.mixing import pairs, refuse_mixed, with_mixed_labels
from tutelage.errors import DataError
from tutelage.nested import describe, on_tensors
from tutelage.signals import UNLABELLED, Batch

_TABLE = 2


@dataclass(frozen=True)
class Swap:
    """Pair rows at random, and swap each feature within its pair with a probability.

    Each column keeps its values, and the teacher labels the new rows, as in MUNGE (Bucila et al.
    2006, https://doi.org/10.1145/1150402.1150464), which pairs nearest neighbours. Random pairs are
    AutoGluon's simplification, with a probability of at most 0.1. Uses torch's global generator.

    Args:
        probability: The probability that a feature is swapped, in [0, 1].
        within_domain: As in `Mixup`.
        mix_labels: Whether a changed row has both labels, weighted by their fractions of its
            features, as in `CutMix`. Otherwise it has no label, since the true one is unknown, and
            the hard-label term uses the unchanged rows only.

    Shape:
        Inputs `[batch, features]` or `[batch]`, of any dtype, including category ids.

    Raises:
        ArgumentError: `probability` is outside [0, 1].
        DataError: When called: an input is not a table, or the examples are mixed already.

    >>> table = Batch(torch.arange(6.0).reshape(3, 2))
    >>> sorted(Swap(0.5)(table).inputs[:, 1].tolist())
    [1.0, 3.0, 5.0]
    """

    probability: float = 0.1
    within_domain: bool = True
    mix_labels: bool = False

    def __post_init__(self) -> None:
        fraction("probability", self.probability, "AutoGluon uses at most 0.1")

    def __call__(self, batch: Batch) -> Batch:
        """Return the changed batch."""
        refuse_mixed(batch)
        mate = pairs(batch, self.within_domain)
        first = torch.minimum(mate, torch.arange(len(mate)))
        unchanged: list[Tensor] = []

        def exchanged(tensor: Tensor) -> Tensor:
            if tensor.ndim > _TABLE:
                raise DataError(
                    f"Swap must have tables [batch, features], got {describe(tensor)}; for images "
                    "use CutMix or Mixup"
                )
            table = tensor if tensor.ndim == _TABLE else tensor.unsqueeze(1)
            chosen = torch.rand(table.shape) < self.probability
            # The choice for a pair's first row holds for both, so that values are exchanged.
            moved = chosen[first] & (mate != torch.arange(len(mate))).unsqueeze(1)
            unchanged.append(~moved)
            other = table[mate.to(tensor.device)]
            return torch.where(moved.to(tensor.device), other, table).reshape(tensor.shape)

        inputs = on_tensors(batch.inputs, exchanged)
        fraction = torch.cat(unchanged, dim=1).float().mean(dim=1)
        if self.mix_labels:
            return with_mixed_labels(batch, inputs, mate, fraction)
        labels = None if batch.labels is None else _kept(batch.labels, fraction == 1)
        return replace(batch, inputs=inputs, labels=labels, index=None)


def _kept(labels: Tensor, unchanged: Tensor) -> Tensor:
    """Return the labels of unchanged rows; other rows have none."""
    if not isinstance(labels, Tensor):
        raise DataError(
            f"Swap must have a tensor of labels, got {describe(labels)}; leave it out, or exchange "
            "values in the data set"
        )
    unchanged = unchanged.to(labels.device).reshape(-1, *[1] * (labels.ndim - 1))
    if not labels.is_floating_point():
        # As int64, since uint8 cannot represent −100.
        return torch.where(unchanged, labels.long(), UNLABELLED)
    return labels.where(unchanged, torch.nan)
