"""Gaussian noise on the inputs of both teacher and student."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from tutelage._checks import not_negative
from tutelage.data.mixing import refuse_integers
from tutelage.errors import ArgumentError, DataError
from tutelage.nested import describe, named_tensors, on_tensors
from tutelage.signals import Batch


@dataclass(frozen=True)
class Noise:
    """x + σ·ε, with ε standard normal for each value, from torch's global generator.

    Labels are unchanged, so the noise should be small.

    Args:
        scale: σ, zero or more; or one for each column (the last dimension), such as a tenth of the
            columns' standard deviations, AutoGluon's choice for tables.

    Raises:
        ArgumentError: A scale is negative or not finite, or there is none.
        DataError: When called: an input is not of floats, or the number of columns differs.

    >>> Noise(0.0)(Batch(torch.ones(1, 2))).inputs
    tensor([[1., 1.]])
    """

    scale: float | Sequence[float] = 0.1

    def __post_init__(self) -> None:
        scale: Any = self.scale
        plain = scale.tolist() if hasattr(scale, "tolist") else scale
        if isinstance(plain, (tuple, list)):
            # The repr of a tuple shows all numbers, and is part of a run's identity.
            object.__setattr__(self, "scale", tuple(plain))
        if self.scale == ():
            raise ArgumentError("`scale` must be one number for each column, got none; write 0.1")
        for each in self.scale if isinstance(self.scale, tuple) else (self.scale,):
            not_negative("scale", each, "0 adds nothing")

    def __call__(self, batch: Batch) -> Batch:
        """Return the changed batch."""
        scale: Any = self.scale

        def noisy(tensor: Tensor) -> Tensor:
            refuse_integers(tensor, "Noise")
            if not isinstance(scale, tuple):
                return tensor + scale * torch.randn_like(tensor)
            if tensor.shape[-1] != len(scale):
                raise DataError(
                    f"Noise with {len(scale)} scales must have inputs of as many columns, got "
                    f"{describe(tensor)}; give one scale for each, or one number for all"
                )
            return tensor + tensor.new_tensor(scale) * torch.randn_like(tensor)

        if next(named_tensors(batch.inputs), None) is None:
            raise DataError(
                f"Noise must have inputs of floats, got {describe(batch.inputs)}; leave it out, or "
                "change the texts in the data set"
            )
        return replace(batch, inputs=on_tensors(batch.inputs, noisy), index=None)
