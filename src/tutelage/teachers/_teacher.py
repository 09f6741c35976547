"""What every teacher can do: answer a batch with the signals that are wanted of it."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from tutelage.signals import Batch, Fields, Signals


class Teacher(ABC):
    """A source of signals to learn from; never trained, and no part of the student.

    Attributes:
        module: The module that answers, if there is one, so that its size can be told.
        members: The teachers that this one asks, if it asks others.
        views: How many of a data set's views (see `data.Views`) it has answers for; None where it
            answers whatever it is shown.
    """

    module: nn.Module | None = None
    members: tuple[Teacher, ...] = ()
    views: int | None = None

    @abstractmethod
    def signals(self, batch: Batch, fields: Fields) -> Signals:
        """Return what the teacher says of a batch: plain tensors without a gradient.

        The output may be `CoarseLogits`, where the teacher knows some of the classes only.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a short text that changes when the teacher's answers may change."""

    def answering(self, name: str, data: object) -> Teacher:
        """Return the teacher for a data set: itself where it answers whatever it is shown.

        One that asks others asks those that they return.

        Args:
            name: The argument that the data was, for messages.
            data: A data set or a `DataLoader`.

        Raises:
            StoreError: It has no answers for this data.
        """
        answering = tuple(each.answering(name, data) for each in self.members)
        if all(one is other for one, other in zip(answering, self.members, strict=True)):
            return self
        found = copy.copy(self)
        found.members = answering
        found.views = min((each.views for each in answering if each.views), default=None)
        return found

    def check_places(self, places: Collection[str]) -> None:
        """Refuse places that are not there, before anybody is asked about a batch.

        One that asks others asks all of them about the same places.

        Raises:
            ArgumentError: A module has no layer of that name.
        """
        for member in self.members:
            member.check_places(places)

    def modules(self) -> tuple[nn.Module, ...]:
        """Return the modules that answer, each once: its own, and those of who it asks."""
        own = () if self.module is None else (self.module,)
        theirs = (module for member in self.members for module in member.modules())
        return tuple({id(module): module for module in (*own, *theirs)}.values())

    def is_made_of_modules(self) -> bool:
        """Tell whether all that answers are modules, so that the size of all can be told."""
        if not self.members:
            return self.module is not None
        return all(member.is_made_of_modules() for member in self.members)

    @contextmanager
    def ready(self, device: torch.device) -> Iterator[None]:
        """Make ready to answer batches on `device`; afterwards restore the former state."""
        yield
