"""A teacher that is a PyTorch module, asked anew for every batch."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from itertools import chain

import torch
from torch import nn

from tutelage.data.fingerprint import fingerprint
from tutelage.errors import ModelError
from tutelage.layers import evaluating, observe
from tutelage.layers.capture import check_places
from tutelage.signals import Batch, Fields, Signals
from tutelage.teachers._teacher import Teacher


class Live(Teacher):
    """A frozen module: in eval mode and inference mode at every call, whatever others set.

    Nothing of the module changes: its training flags are put back after each call, its
    `requires_grad` is not touched (in inference mode no gradient can arise), and it is no part of
    the student's `state_dict`.

    Args:
        module: Any module; see `tutelage.layers.observe` for how it is called.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module: nn.Module = module  # pyright: ignore[reportIncompatibleVariableOverride]

    def signals(self, batch: Batch, fields: Fields) -> Signals:
        """Return the module's signals, as plain tensors that autograd may save."""
        with evaluating(self.module), torch.inference_mode():
            signals = observe(self.module, batch.inputs, fields, "teacher")
        # An inference tensor cannot be saved for a backward pass; its clone can.
        output = signals.full_output()
        output = None if output is None else output.clone()
        return Signals(output, signals.features)  # of which capture has made copies

    def check_places(self, places: Collection[str]) -> None:
        """Refuse places that the module does not have; the nearest ones are named."""
        check_places(self.module, places, "teacher")

    @contextmanager
    def ready(self, device: torch.device) -> Iterator[None]:
        """Move the module to `device` and into eval mode; afterwards back to where it was."""
        first = next(chain(self.module.parameters(), self.module.buffers()), None)
        with evaluating(self.module):
            if first is None or first.device == device:
                yield
                return
            home = first.device
            self.module.to(device)
            try:
                yield
            finally:
                self.module.to(home)

    def fingerprint(self) -> str:
        """Return the class and a hash over names, shapes and bytes of all weights and buffers."""
        return f"{type(self.module).__name__} {fingerprint(self.module.state_dict())}"


def as_member(teacher: object) -> Teacher:
    """Return a single teacher for what a user gives: a module becomes `Live`, a teacher stays.

    Raises:
        ModelError: It is neither.
    """
    if isinstance(teacher, Teacher):
        return teacher
    if isinstance(teacher, nn.Module):
        return Live(teacher)
    raise ModelError(
        f"a teacher must be a torch.nn.Module or a Teacher, got {type(teacher).__name__}; "
        "wrap a callable of another library in tutelage.teachers.Predictor"
    )
