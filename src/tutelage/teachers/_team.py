"""Several teachers that are all asked about every example."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from tutelage._checks import not_negative
from tutelage.coarse import CoarseLogits
from tutelage.errors import ArgumentError
from tutelage.nested import first_tensor
from tutelage.signals import Batch, Fields
from tutelage.teachers._teacher import Teacher
from tutelage.teachers.live import as_member

SEPARATOR = "/"
"""Between a member's name and a place inside it: `"big/layer3"`. Names must not contain it."""


class Team(Teacher):
    """Members that run one after another, and what they say side by side.

    Args:
        teachers: Modules or teachers: a list (its members are named `"0"`, `"1"`, …) or a dict by
            name.
        devices: For each member the device that it runs on; None for that of the batch. Inputs
            are moved there and answers back.

    Raises:
        ArgumentError: There is no member, a name is no text or holds a `/`, or devices are none or
            not as many as members.
        ModelError: A member is neither module nor teacher.
    """

    def __init__(
        self,
        teachers: Sequence[nn.Module | Teacher] | Mapping[str, nn.Module | Teacher],
        devices: Sequence[torch.device | str | None] | None = None,
    ) -> None:
        named = named_members(teachers)
        self.names = tuple(named)
        self.members = tuple(as_member(each) for each in named.values())
        given = [None] * len(named) if devices is None else devices
        if isinstance(given, str) or len(given) != len(named):
            raise ArgumentError(
                f"`devices` must be a list of one for each of the {len(named)} teachers, got "
                f"{given!r}; write None for those on the device of the batch"
            )
        self.devices = tuple(None if each is None else _device(each) for each in given)

    def ask(
        self, batch: Batch, fields: Fields
    ) -> tuple[list[Tensor | CoarseLogits], dict[str, Tensor]]:
        """Return all members' outputs, where they are wanted, and the features by `name/place`."""
        home, wanted = first_tensor(batch.inputs).device, self._wanted(fields)
        outputs, features = [], {}
        for name, member, device in zip(self.names, self.members, self.devices, strict=True):
            there = batch if device is None else batch.to(device)
            said = member.signals(there, wanted[name]).to(home)
            outputs += [said.wanted_answer()] if fields.output else []
            features |= {f"{name}{SEPARATOR}{key}": each for key, each in said.features.items()}
        return outputs, features

    def check_places(self, places: Collection[str]) -> None:
        """Refuse places that are of no member, or that it does not have."""
        wanted = self._wanted(Fields(features=frozenset(places)))
        for name, member in zip(self.names, self.members, strict=True):
            member.check_places(wanted[name].features)

    @contextmanager
    def ready(self, device: torch.device) -> Iterator[None]:
        """Move each member to its own device, or to `device`; afterwards back."""
        with ExitStack() as stack:
            for member, own in zip(self.members, self.devices, strict=True):
                stack.enter_context(member.ready(own or device))
            yield

    def fingerprint(self) -> str:
        """Return the settings and the fingerprints of all members."""
        prints = [
            f"{name}: {member.fingerprint()}"
            for name, member in zip(self.names, self.members, strict=True)
        ]
        return f"{type(self).__name__}({self._settings()}; {'; '.join(prints)})"

    def _settings(self) -> str:
        """Return what else decides the answer."""
        return ""

    def _wanted(self, fields: Fields) -> dict[str, Fields]:
        """Return what is wanted of each member."""
        places: dict[str, set[str]] = {name: set() for name in self.names}
        for text in fields.features:
            name, separator, place = text.partition(SEPARATOR)
            if name not in places or not separator:
                raise ArgumentError(
                    f"a layer of one of several teachers must be written member{SEPARATOR}layer "
                    f"with one of the members {list(self.names)}, got {text!r}; for instance "
                    f"'{self.names[0]}{SEPARATOR}{text if not separator else place}'"
                )
            places[name].add(place)
        return {name: Fields(fields.output, frozenset(found)) for name, found in places.items()}


def _device(device: torch.device | str) -> torch.device:
    try:
        return torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ArgumentError(
            f"`devices` must name devices, got {device!r}, of which torch says: {error}; write "
            "'cuda:0' or 'cpu', or None for that of the batch"
        ) from error


def shares(weights: Sequence[float] | None, names: Sequence[str]) -> Tensor:
    """Return weights that sum to 1, `[members]` in float64: those given, or equal ones.

    Raises:
        ArgumentError: A weight is negative or not finite, their number is another, or all are 0.
    """
    if weights is None:
        return torch.full((len(names),), 1 / len(names), dtype=torch.float64)
    advice = "0 leaves a teacher out"
    numbers = weights.tolist() if isinstance(weights, (Tensor, np.ndarray)) else weights
    listed = isinstance(numbers, Sequence) and not isinstance(numbers, str)
    values = [not_negative("weights", each, advice) for each in numbers] if listed else []
    if len(values) != len(names) or sum(values) <= 0:
        raise ArgumentError(
            f"`weights` must be one for each of the {len(names)} teachers, in a list, with a sum "
            f"above 0, got {numbers!r}; for equal weights leave them out"
        )
    given = torch.tensor(values, dtype=torch.float64)
    return given / given.sum()


def named_members(
    teachers: Sequence[nn.Module | Teacher] | Mapping[str, nn.Module | Teacher],
) -> dict[str, nn.Module | Teacher]:
    """Return teachers by name; those of a list are numbered.

    Raises:
        ArgumentError: There is none, or a name is no text or holds a `/`.
    """
    several = isinstance(teachers, (Mapping, Sequence)) and not isinstance(teachers, str)
    if not several or not len(teachers):
        raise ArgumentError(
            "`teachers` must be a list of teachers or a dict of them by name, with at least one, "
            f"got {teachers!r:.80}; for instance [first, second]"
        )
    if not isinstance(teachers, Mapping):
        return {str(place): each for place, each in enumerate(teachers)}
    wrong = [name for name in teachers if not isinstance(name, str) or SEPARATOR in name]
    if wrong:
        raise ArgumentError(
            f"a teacher's name must be a text without {SEPARATOR!r}, got {wrong[0]!r}; rename it"
        )
    return dict(teachers)
