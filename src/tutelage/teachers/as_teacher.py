"""From what users give for a teacher to a teacher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from tutelage.errors import ModelError
from tutelage.store import TargetStore
from tutelage.teachers._teacher import Teacher
from tutelage.teachers.ensemble import Ensemble
from tutelage.teachers.live import Live
from tutelage.teachers.specialists import Specialists
from tutelage.teachers.stored import Stored

AnyTeacher = nn.Module | Teacher | TargetStore | Sequence[Any] | Mapping[Any, Any]
"""A module; a teacher; a store of answers; a list, an ensemble; a dict by domain, specialists."""


def as_teacher(teacher: object) -> Teacher:
    """Return a teacher for what a user gives.

    A module becomes `Live`, what `label` returned `Stored`, a list an `Ensemble`, a dict from
    domains `Specialists`; lists within a dict are ensembles, one for each domain.

    Raises:
        ArgumentError: A list or a dict is empty.
        ModelError: It is none of these.
    """
    if isinstance(teacher, Teacher):
        return teacher
    if isinstance(teacher, nn.Module):
        return Live(teacher)
    if isinstance(teacher, TargetStore):
        return Stored(teacher)
    if isinstance(teacher, Mapping):
        return Specialists({domain: as_teacher(each) for domain, each in teacher.items()})
    if isinstance(teacher, Sequence) and not isinstance(teacher, (str, bytes)):
        return Ensemble([as_teacher(each) for each in teacher])
    raise ModelError(
        "`teacher` must be a torch.nn.Module, a Teacher, a list of these (an ensemble) or a dict "
        f"of these by domain (specialists), got {type(teacher).__name__}; wrap a callable of "
        "another library in tutelage.teachers.Predictor"
    )
