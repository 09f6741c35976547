"""Several teachers that all see every example, and their mean."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from torch import Tensor

from tutelage._checks import not_negative
from tutelage.coarse import CoarseLogits
from tutelage.errors import ArgumentError, ModelError, TutelageError, in_short
from tutelage.nested import describe, first_tensor
from tutelage.signals import Batch, Fields, Signals
from tutelage.teachers._teacher import AnyTeacher, Teacher, as_teacher, ask
from tutelage.teachers.averages import mean_of_outputs
from tutelage.teachers.predictor import callable_fingerprint

SEPARATOR = "/"
"""Between a member's name and the path of its layer: `"big/layer3"`. Names must not contain it."""

Average = Callable[[Tensor, Tensor], Tensor]
"""From outputs `[members, batch, …]` and weights `[members, batch, 1…]` to their mean."""
Weighting = Callable[[Tensor, Batch], Tensor]
"""From outputs `[members, batch, …]` and their batch to weights `[members, batch]`."""


class Team(Teacher):
    """Members that run one after another on each batch.

    Args:
        teachers: Modules or teachers: a list (its members are named `"0"`, `"1"`, …) or a dict by
            name.
        devices: The device of each member; None for that of the batch. Inputs are moved there and
            outputs back.

    Raises:
        ArgumentError: There is no member, a name is not a str or contains a `/`, or the devices
            are invalid or not one for each member.
        ModelError: A member is not a teacher.
    """

    def __init__(
        self,
        teachers: Sequence[AnyTeacher] | Mapping[str, AnyTeacher],
        devices: Sequence[torch.device | str | None] | None = None,
    ) -> None:
        named = named_members(teachers)
        self.names = tuple(named)
        self.members = tuple(as_teacher(each) for each in named.values())
        given = [None] * len(named) if devices is None else devices
        if isinstance(given, str) or len(given) != len(named):
            raise ArgumentError(
                f"`devices` must be a list of one for each of the {len(named)} teachers, got "
                f"{given!r}; write None for those on the device of the batch"
            )
        self.devices = tuple(None if each is None else _device(each) for each in given)

    def ask_all(
        self, batch: Batch, fields: Fields
    ) -> tuple[list[Tensor | CoarseLogits], dict[str, Tensor]]:
        """Return all members' outputs, where required, and the features by `name/path`."""
        home, wanted = first_tensor(batch.inputs).device, self._wanted(fields)
        outputs, features = [], {}
        for name, member, device in zip(self.names, self.members, self.devices, strict=True):
            there = batch if device is None else batch.to(device)
            signals = ask(member, there, wanted[name]).to(home)
            outputs += [signals.wanted_answer()] if fields.output else []
            features |= {f"{name}{SEPARATOR}{path}": x for path, x in signals.features.items()}
        return outputs, features

    def check_layers(self, paths: Collection[str]) -> None:
        """Refuse paths that do not begin with a member's name, or that it does not have."""
        wanted = self._wanted(Fields(features=frozenset(paths)))
        for name, member in zip(self.names, self.members, strict=True):
            member.check_layers(wanted[name].features)

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
        """Return what else determines the output."""
        return ""

    def _wanted(self, fields: Fields) -> dict[str, Fields]:
        """Return what is required of each member."""
        paths: dict[str, set[str]] = {name: set() for name in self.names}
        for text in fields.features:
            name, separator, path = text.partition(SEPARATOR)
            if name not in paths or not separator:
                raise ArgumentError(
                    f"a layer of one of several teachers must be written member{SEPARATOR}layer "
                    f"with one of the members {list(self.names)}, got {text!r}; for instance "
                    f"'{self.names[0]}{SEPARATOR}{text if not separator else path}'"
                )
            paths[name].add(path)
        return {name: Fields(fields.output, frozenset(found)) for name, found in paths.items()}


class Ensemble(Team):
    """The mean of several teachers that know the same classes, or predict the same values.

    Do not average teachers of different domains: outside of its own domain a teacher's output is
    noise. `Specialists` asks for each example only the teacher of its domain.

    Args:
        teachers: A list of modules or teachers, or a dict by name. A layer of a member is written
            `name/path`, such as `"big/layer3"`; in a list the names are `"0"`, `"1"`, ….
        weights: One number for each member, zero or more (they are normalised to sum to 1); or a
            function from outputs and batch to weights for each example, such as
            `by_label_confidence` and `by_entropy`; None for equal ones.
        average: A function of outputs and weights: `mean_of_outputs` (the default, since it holds
            for values as for logits: of logits it is the normalised geometric mean of the
            probabilities), `mean_of_probabilities`, or `mean_of_gaussians` for models that return
            means and log-variances.
        devices: The device of each member; None for that of the batch.

    Raises:
        ArgumentError: There is no member, weights or devices do not fit them, or `average` is no
            function.
        ModelError: A member is not a teacher.

    >>> one, other = nn.Linear(2, 3), nn.Linear(2, 3)
    >>> Ensemble([one, other]).signals(Batch(torch.ones(4, 2)), Fields(output=True)).output.shape
    torch.Size([4, 3])
    """

    def __init__(
        self,
        teachers: Sequence[AnyTeacher] | Mapping[str, AnyTeacher],
        weights: Sequence[float] | Weighting | None = None,
        average: Average = mean_of_outputs,
        devices: Sequence[torch.device | str | None] | None = None,
    ) -> None:
        super().__init__(teachers, devices)
        self.weights: Tensor | Weighting = (
            weights if callable(weights) else normalized(weights, self.names)
        )
        if not callable(average):
            raise ArgumentError(
                f"`average` must be a function of outputs and weights, got {average!r}; for "
                "instance tl.teachers.mean_of_probabilities"
            )
        self.average = average

    def signals(self, batch: Batch, fields: Fields) -> Signals:
        """Return the mean of the members' outputs, and the required features of each."""
        outputs, features = self.ask_all(batch, fields)
        if not fields.output:
            return Signals(None, features)
        stacked = self._stacked(outputs)
        weights = self._weigh(stacked, batch)
        weights = weights.reshape(*weights.shape, *[1] * (stacked.ndim - weights.ndim))
        return Signals(_call("average", self.average, stacked, weights), features)

    def _weigh(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return weights that sum to 1 over the members, `[members, batch]` or `[members, 1]`."""
        if isinstance(self.weights, Tensor):
            return self.weights.to(outputs.device, outputs.dtype).unsqueeze(1)
        weights = _call("weights", self.weights, outputs, batch)
        if weights.shape != outputs.shape[:2]:
            raise ModelError(
                f"`weights` must return {list(outputs.shape[:2])}, one for each teacher and "
                f"example, got {describe(weights)}; correct the function"
            )
        total = weights.sum(dim=0, keepdim=True)
        # Only on the CPU, where reading a value does not wait for a device.
        if weights.device.type == "cpu" and not bool((weights >= 0).all() & (total > 0).all()):
            raise ModelError(
                "`weights` must return zero or more for each teacher, and a sum above 0 for each "
                f"example, got {weights.amin().item():g} as the least weight and "
                f"{total.amin().item():g} as the least sum; give all teachers equal weights where "
                "none is to be preferred"
            )
        return weights / total

    def _stacked(self, outputs: Sequence[Tensor | CoarseLogits]) -> Tensor:
        """Return `[members, batch, …]` in float32 at least, or an error if they have no mean."""
        dense = [each for each in outputs if isinstance(each, Tensor)]
        if len(dense) < len(outputs):
            raise ModelError(
                "an Ensemble averages teachers that know all classes, got one that knows some; "
                "join these in Specialists, by domain, or in Consensus"
            )
        shapes = {name: list(each.shape) for name, each in zip(self.names, dense, strict=True)}
        if len({each.shape for each in dense}) > 1:
            raise ModelError(
                f"the teachers of an Ensemble must have outputs of one shape, got {shapes}; give "
                "teachers of the same classes, or name each one's classes with Specialist"
            )
        double = any(each.dtype == torch.float64 for each in dense)
        return torch.stack([each.to(torch.float64 if double else torch.float32) for each in dense])

    def _settings(self) -> str:
        if isinstance(self.weights, Tensor):
            weights = str([round(each, 9) for each in self.weights.tolist()])
        else:
            weights = callable_fingerprint(self.weights)
        return f"{callable_fingerprint(self.average)}, weights {weights}"


def _call(name: str, function: Callable[..., Tensor], outputs: Tensor, other: object) -> Tensor:
    """Call a function of the user's, so that its errors name the argument that it was."""
    try:
        result = function(outputs, other)
    except TutelageError:
        raise
    except Exception as error:
        raise ModelError(
            f"`{name}` must be a function of outputs {describe(outputs)} and "
            f"{'weights' if name == 'average' else 'a Batch'}, got {in_short(error)}; correct the "
            "function"
        ) from error
    if not isinstance(result, Tensor):
        raise ModelError(
            f"`{name}` must return a tensor, got {describe(result)}; correct the function"
        )
    return result


def _device(device: torch.device | str) -> torch.device:
    try:
        return torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ArgumentError(
            f"`devices` must name devices, got {device!r}, of which torch says: {error}; write "
            "'cuda:0' or 'cpu', or None for that of the batch"
        ) from error


def normalized(weights: Sequence[float] | None, names: Sequence[str]) -> Tensor:
    """Return weights that sum to 1, `[members]` in float64: those given, or equal ones.

    Raises:
        ArgumentError: A weight is negative or not finite, their number is another, or all are 0.
    """
    if weights is None:
        return torch.full((len(names),), 1 / len(names), dtype=torch.float64)
    numbers = weights.tolist() if isinstance(weights, (Tensor, np.ndarray)) else weights
    listed = isinstance(numbers, Sequence) and not isinstance(numbers, str)
    advice = "0 leaves a teacher out"
    values = [not_negative("weights", each, advice) for each in numbers] if listed else []
    if len(values) != len(names) or sum(values) <= 0:
        raise ArgumentError(
            f"`weights` must be one for each of the {len(names)} teachers, in a list, with a sum "
            f"above 0, got {numbers!r}; for equal weights leave them out"
        )
    given = torch.tensor(values, dtype=torch.float64)
    return given / given.sum()


def named_members(
    teachers: Sequence[AnyTeacher] | Mapping[str, AnyTeacher],
) -> dict[str, AnyTeacher]:
    """Return teachers by name; those of a list are numbered.

    Raises:
        ArgumentError: There is none, or a name is not a str or contains a `/`.
    """
    several = isinstance(teachers, (Mapping, Sequence)) and not isinstance(teachers, str)
    if not several or not len(teachers):
        raise ArgumentError(
            "`teachers` must be a list of teachers or a dict of them by name, with at least one, "
            f"got {teachers!r:.80}; for instance [first, second]"
        )
    if not isinstance(teachers, Mapping):
        return {str(number): each for number, each in enumerate(teachers)}
    wrong = [name for name in teachers if not isinstance(name, str) or SEPARATOR in name]
    if wrong:
        raise ArgumentError(
            f"a teacher's name must be a str without {SEPARATOR!r}, got {wrong[0]!r}; rename it"
        )
    return dict(teachers)
