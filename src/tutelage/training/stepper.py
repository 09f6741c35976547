"""Backward pass and optimiser step: torch's own, or Accelerate's where that adds something."""

from __future__ import annotations

from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch import Tensor, nn
from torch.optim import Optimizer

_PLAIN = (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU)


class Stepper:
    """Turns losses into changed weights.

    Accelerate's optimiser looks on the disk for an optional package at every step, which takes a
    quarter of the step of a small network; so it is called only where it does something: with a
    gradient scaler, or on devices and engines with a way of their own.

    Args:
        accelerator: On what.
        optimizer: Of all `parameters`.
        parameters: What is trained, for clipping.
        clip_norm: Largest gradient norm; None for no limit.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        optimizer: Optimizer,
        parameters: list[nn.Parameter],
        clip_norm: float | None,
    ) -> None:
        self.accelerator, self.optimizer = accelerator, optimizer
        self.parameters, self.clip_norm = parameters, clip_norm
        plain = accelerator.scaler is None and accelerator.distributed_type in _PLAIN
        self._wrapped = None if plain else accelerator.prepare(optimizer)

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of a loss to what the parameters hold."""
        if self._wrapped is None:
            loss.backward()
        else:
            self.accelerator.backward(loss)

    def step(self) -> bool:
        """Change the weights and clear the gradients; tell whether it was not skipped.

        With float16 a step whose gradient overflows is skipped and the scale lowered.
        """
        if self.clip_norm is not None:
            self.accelerator.clip_grad_norm_(self.parameters, self.clip_norm)
        (self._wrapped or self.optimizer).step()
        for each in self.parameters:  # as zero_grad does, without its entry in the profiler
            each.grad = None
        return self._wrapped is None or not self._wrapped.step_was_skipped
