"""What every teacher can do: answer a batch with the signals that are wanted of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from tutelage.signals import Batch, Fields, Signals


class Teacher(ABC):
    """A source of signals to learn from; never trained, and no part of the student.

    Attributes:
        module: The module that answers, if there is one, so that its size can be told.
    """

    module: nn.Module | None = None

    @abstractmethod
    def signals(self, batch: Batch, fields: Fields) -> Signals:
        """Return what the teacher says of a batch: plain tensors without a gradient."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a short text that changes when the teacher's answers may change."""

    @contextmanager
    def ready(self, device: torch.device) -> Iterator[None]:
        """Make ready to answer batches on `device`; afterwards restore the former state."""
        yield
