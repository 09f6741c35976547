"""Swap features between the rows of a table."""

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
    """Rows are paired, and each feature is swapped within its pair with a probability.

    Each column keeps its values, and the teacher labels the new rows: the idea of MUNGE
    (Bucila et al. 2006, https://doi.org/10.1145/1150402.1150464), which pairs nearest neighbours.
    As AutoGluon's simplified form does, this takes any two rows; it changes at most a tenth of the
    features. Drawn from torch's global generator.

    Args:
        probability: Of each feature to be swapped, in [0, 1]. At 0.5 a row is half its own and
            half its partner's.
        within_domain: As in `Mixup`.
        mix_labels: Whether a changed row gets both labels, weighted by their fractions of its
            features, as `CutMix` does with pixels. Otherwise it has none, since the true one is
            unknown, and the hard-label term uses the unchanged rows.

    Shape:
        Inputs `[batch, features]` or `[batch]`, of any dtype: ids of categories too.

    Raises:
        ArgumentError: `probability` is outside [0, 1].

    >>> table = Batch(torch.arange(6.0).reshape(3, 2))
    >>> sorted(Swap(0.5)(table).inputs[:, 1].tolist())
    [1.0, 3.0, 5.0]
    """

    probability: float = 0.1
    within_domain: bool = True
    mix_labels: bool = False

    def __post_init__(self) -> None:
        fraction("probability", self.probability, "AutoGluon changes at most a tenth")

    def __call__(self, batch: Batch) -> Batch:
        """Return the batch with features swapped.

        Raises:
            DataError: An input is not a table, or labels are to be mixed twice.
        """
        refuse_mixed(batch)
        mate = pairs(batch, self.within_domain)
        first = torch.minimum(mate, torch.arange(len(mate)))
        own: list[Tensor] = []  # which cells of each table are unchanged

        def exchanged(tensor: Tensor) -> Tensor:
            cells = _as_table(tensor)
            drawn = torch.rand(cells.shape) < self.probability
            # One draw for a pair, that of its first row, so that cells are swapped in both.
            moved = drawn[first] & (mate != torch.arange(len(mate))).unsqueeze(1)
            own.append(~moved)
            other = cells[mate.to(tensor.device)]
            return torch.where(moved.to(tensor.device), other, cells).reshape(tensor.shape)

        inputs = on_tensors(batch.inputs, exchanged)
        fraction = torch.cat(own, dim=1).float().mean(dim=1)
        if self.mix_labels:
            return with_mixed_labels(batch, inputs, mate, fraction)
        labels = None if batch.labels is None else _kept(batch.labels, fraction == 1)
        return replace(batch, inputs=inputs, labels=labels, index=None)


def _as_table(tensor: Tensor) -> Tensor:
    if tensor.ndim > _TABLE:
        raise DataError(
            f"Swap must have tables [batch, features], got {describe(tensor)}; for images use "
            "CutMix or Mixup"
        )
    return tensor if tensor.ndim == _TABLE else tensor.unsqueeze(1)


def _kept(labels: Tensor, stayed: Tensor) -> Tensor:
    """Return the labels of unchanged rows, and the mark for no label elsewhere."""
    if not labels.is_floating_point():
        # Labels in bytes cannot hold −100.
        return torch.where(stayed.to(labels.device), labels.long(), UNLABELLED)
    stayed = stayed.to(labels.device).reshape(-1, *[1] * (labels.ndim - 1))
    return labels.where(stayed, torch.nan)
