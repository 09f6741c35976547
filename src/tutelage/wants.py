"""What an objective requires of student, teacher and batch; nothing else is computed.

`Fields` are the signals required of one model, and `Wants` those of student and teacher.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tutelage.errors import ArgumentError
from tutelage.signals import Batch


@dataclass(frozen=True, slots=True)
class Fields:
    """The output and features that are required of one model, the student or the teacher.

    Args:
        output: Whether its output is required.
        features: Layer paths: `"layer3"`, `"encoder.layer.2.attention:input"`, `"decoder[1]"`.
        loss: A function of (student, batch) that calls the student for its own loss; see `OwnLoss`.
        head_from: `HeadLogits` may stand for the output of a model whose head has at least so many
            classes; None for logits. A union allows what both sides allow.

    Raises:
        ArgumentError: `features` is a single string; in a union, two different losses.
    """

    output: bool = False
    features: frozenset[str] = frozenset()
    loss: Callable[[Any, Batch], Any] | None = None
    head_from: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.features, str):
            raise ArgumentError(
                f"`features` must be a set of layer paths, got {self.features!r}; write "
                f"frozenset({{{self.features!r}}})"
            )
        object.__setattr__(self, "features", frozenset(self.features))  # of a list too

    def __or__(self, other: Fields) -> Fields:
        if self.loss is not None and other.loss is not None and self.loss != other.loss:
            raise ArgumentError(
                "all `OwnLoss` of an objective must have one function, as the student runs once, "
                f"got {self.loss!r} and {other.loss!r}; return a dict of both losses from one "
                'function f, and weigh them: tl.OwnLoss(f, "first") + 2 * tl.OwnLoss(f, "second")'
            )
        loss = other.loss if self.loss is None else self.loss
        both = (self.head_from, other.head_from)
        least = None if None in both else max(each for each in both if each is not None)
        return Fields(self.output or other.output, self.features | other.features, loss, least)

    def __bool__(self) -> bool:
        return self.output or bool(self.features) or self.loss is not None


@dataclass(frozen=True, slots=True)
class Wants:
    """The outputs, features and labels that an objective requires.

    Args:
        student: The student's.
        teacher: The teacher's; if there are none, the teacher does not run.
        labels: Whether the batch must carry labels.
    """

    student: Fields = Fields()
    teacher: Fields = Fields()
    labels: bool = False

    def __or__(self, other: Wants) -> Wants:
        student, teacher = self.student | other.student, self.teacher | other.teacher
        return Wants(student, teacher, self.labels or other.labels)


OUTPUT = Fields(output=True)
