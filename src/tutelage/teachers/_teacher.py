"""The base class of teachers, and the conversion of what users pass as a teacher."""

from __future__ import annotations

import copy
import logging
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.data import randomness
from tutelage.errors import ModelError
from tutelage.heads import HeadLogits
from tutelage.objectives._objective import OutputKind
from tutelage.positions import flatten_rows
from tutelage.signals import Batch, Signals
from tutelage.store import TargetStore
from tutelage.wants import Fields

_RANDOM = 1e-3
"""By how much of its largest number an output changes that is random, and not only rounded."""


class Teacher(ABC):
    """A source of outputs and features to learn from; never trained, and not part of the student.

    Attributes:
        module: The module that computes them, if there is one.
        members: The teachers that this one combines, if any.
        views: The number of a data set's views (see `data.Views`) for which it has targets; None
            if it computes them for any input.
        is_causal: Whether its output at a token is about the next one, of a language model that is
            not a module here; of a team, if that of any member is.
        vocabulary: The number of classes, where its `CoarseLogits` name some and it is known.
        traceable: Whether `torch.compile` may trace `signals`. Otherwise, as where that of a member
            is not, a compiled `Distiller` calls it outside of its graph.
        is_remote: Whether its answers come from elsewhere, so that a store keeps those of each
            batch.
    """

    module: nn.Module | None = None
    members: tuple[Teacher, ...] = ()
    views: int | None = None
    is_causal: bool = False
    vocabulary: int | None = None
    traceable: bool = True
    is_remote: bool = False

    @abstractmethod
    def signals(self, batch: Batch, fields: Fields) -> Signals:
        """Return the teacher's output and features for a batch: plain tensors without a gradient.

        The output may be `CoarseLogits`, where the teacher knows only some of the classes. With
        several answers an example it is what its model returns, or rows (see `ask`).
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a short text that changes when the teacher's outputs may change."""

    def for_data(self, name: str, data: object) -> Teacher:
        """Return the teacher for a data set or `DataLoader`, or refuse that of the argument `name`.

        That is the teacher itself if it computes targets for any input; with members, theirs.
        """
        members = tuple(each.for_data(name, data) for each in self.members)
        if all(one is other for one, other in zip(members, self.members, strict=True)):
            return self
        selected = copy.copy(self)
        selected.members = members
        selected.views = min((each.views for each in members if each.views), default=None)
        return selected

    def check_layers(self, paths: Collection[str]) -> None:
        """Refuse layer paths that do not exist, in each member, before the first batch."""
        for member in self.members:
            member.check_layers(paths)

    def check_kind(self, kind: OutputKind | None) -> None:
        """Refuse an objective that reads outputs of this kind, if they are combined for another.

        Args:
            kind: The objective's `output_kind`.
        """
        for member in self.members:
            member.check_kind(kind)

    def modules(self) -> tuple[nn.Module, ...]:
        """Return the modules of the teacher and of its members, each once."""
        own = () if self.module is None else (self.module,)
        inner = (module for member in self.members for module in member.modules())
        return tuple({id(module): module for module in (*own, *inner)}.values())

    def is_made_of_modules(self) -> bool:
        """Tell whether its size can be measured: it, or each of its members, is a module."""
        if not self.members:
            return self.module is not None
        return all(member.is_made_of_modules() for member in self.members)

    def is_traceable(self) -> bool:
        """Tell whether `torch.compile` may trace `signals`, and those of all members."""
        return self.traceable and all(member.is_traceable() for member in self.members)

    @contextmanager
    def ready(self, device: torch.device) -> Iterator[None]:
        """Prepare for batches on `device`, members too; afterwards restore the former state."""
        with ExitStack() as stack:
            for member in self.members:
                stack.enter_context(member.ready(device))
            yield


def ask(teacher: Teacher, batch: Batch, fields: Fields, predictions: bool = False) -> Signals:
    """Return a teacher's signals, by row; refuse those without what the objective needs.

    `predictions` are accepted in place of an output, as of detectors, where nothing compares it.
    """
    signals = teacher.signals(batch, fields)
    lacks_output = fields.output and signals.output is None
    if lacks_output and signals.predictions is not None:
        if not predictions:
            _ = signals.targets  # which raises
        lacks_output = False
    if lacks_output or not fields.features <= signals.features.keys():
        missing = ["its output"] if lacks_output else []
        missing += map(repr, sorted(fields.features - signals.features.keys()))
        raise ModelError(
            f"the teacher ({type(teacher).__name__}) must return what the objective needs, got "
            f"signals without {', '.join(missing)}; use another objective, or a teacher with them"
        )
    return flatten_rows(signals, batch, "teacher")


def ask_first(teacher: Teacher, batch: Batch, fields: Fields) -> Signals:
    """Return what `ask` does for a first batch; log if the teacher's answers are random.

    It is called again only if it has drawn random numbers, as a functional dropout does even in
    eval mode; some models draw numbers that they do not use.
    """
    before = randomness.capture()
    signals = ask(teacher, batch, fields)
    if randomness.equal(before, randomness.capture()):
        return signals
    with randomness.preserved():
        again = ask(teacher, batch, fields)
    pairs = [(each, again.features[path]) for path, each in signals.features.items()]
    one, other = (
        each.hidden if isinstance(each, HeadLogits) else each
        for each in (signals.output, again.output)
    )
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        pairs.append((one, other))
    if any(bool((one - other).abs().max() > _RANDOM * one.abs().max()) for one, other in pairs):
        logging.getLogger("tutelage").warning(
            "The teacher (%s) gives other outputs when it is called again, though it is in eval "
            "mode: it draws random numbers, such as F.dropout without training=self.training. The "
            "student learns from single draws.",
            type(teacher if teacher.module is None else teacher.module).__name__,
        )
    return signals


AnyTeacher = nn.Module | Teacher | TargetStore | str | Path | Sequence[Any] | Mapping[Any, Any]
"""A module; a teacher; a store or its folder; a list (ensemble); a dict by domain (specialists)."""


def as_teacher(teacher: object) -> Teacher:
    """Return a teacher for a module, several teachers or stored targets.

    A module becomes `Live`, the store that `label` returned, or its folder, `Stored`, a list an
    `Ensemble`, a dict from domains `Specialists`; lists within a dict are ensembles, one for each
    domain.

    Raises:
        ModelError: It is none of these.
        StoreError: A path is not that of a finished store.
    """
    # These modules import this one.
    from tutelage.teachers.ensemble import Ensemble  # noqa: PLC0415
    from tutelage.teachers.live import Live  # noqa: PLC0415
    from tutelage.teachers.specialists import Specialists  # noqa: PLC0415
    from tutelage.teachers.stored import Stored  # noqa: PLC0415

    if isinstance(teacher, Teacher):
        return teacher
    if isinstance(teacher, nn.Module):
        return Live(teacher)
    if isinstance(teacher, (TargetStore, str, Path)):
        return Stored(teacher)
    if isinstance(teacher, Mapping):
        return Specialists(teacher)
    if isinstance(teacher, Sequence) and not isinstance(teacher, bytes):
        return Ensemble(teacher)
    raise ModelError(
        "`teacher` must be a torch.nn.Module, a Teacher, the store (or its folder) that tl.label "
        "made, a list of these (an ensemble) or a dict of these by domain (specialists), got "
        f"{type(teacher).__name__}; wrap a callable of another library in "
        "tutelage.teachers.Predictor"
    )
