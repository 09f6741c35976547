"""A teacher that is a PyTorch module, run on every batch."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain

import torch
from torch import Tensor, nn

from tutelage.identity import model_identity
from tutelage.layers import evaluating, observe
from tutelage.layers.capture import check_layers
from tutelage.signals import Batch, Signals
from tutelage.teachers._teacher import Teacher
from tutelage.wants import Fields


class Live(Teacher):
    """A frozen module; each call is in eval mode and without gradients.

    The module does not change: its training flags are restored after each call, its `requires_grad`
    is not touched, and it is not part of the student's `state_dict`. A module that needs autograd
    within its forward pass, as for forces from energies, may enable it by `torch.enable_grad()`.

    Args:
        module: Any module; see `tutelage.layers.observe` for how it is called.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module: nn.Module = module  # pyright: ignore[reportIncompatibleVariableOverride]

    def signals(self, batch: Batch, fields: Fields) -> Signals:
        """Return the module's output and features, as tensors without a gradient."""
        with evaluating(self.module), torch.no_grad():
            found = observe(self.module, batch.inputs, fields, "teacher")
        # A model may enable autograd itself, and may reuse the memory of its output, as compiled
        # ones do; captured features are clones already.
        features = {path: each.detach() for path, each in found.features.items()}
        output = found.output
        output = output.detach().clone() if isinstance(output, Tensor) else output
        return replace(found, output=output, features=features)

    def check_layers(self, paths: Collection[str]) -> None:
        """Refuse paths of layers that the module does not have; the error names the nearest."""
        check_layers(self.module, paths, "teacher")

    @contextmanager
    def ready(self, device: torch.device) -> Iterator[None]:
        """Move the module to `device` and into eval mode; afterwards back to where it was."""
        first = next(chain(self.module.parameters(), self.module.buffers()), None)
        home = None if first is None or first.device == device else first.device
        with evaluating(self.module):
            try:
                if home is not None:
                    self.module.to(device)
                yield
            finally:
                if home is not None:
                    self.module.to(home)

    def fingerprint(self) -> str:
        """Return the class and a hash of architecture and weights (see `tutelage.identity`)."""
        return model_identity(self.module)
