"""A teacher of some of the student's classes, or with other names or another order of classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from tutelage._checks import integer
from tutelage.coarse import CoarseLogits
from tutelage.errors import ArgumentError, ModelError
from tutelage.objectives._objective import OutputKind
from tutelage.signals import Batch, Signals
from tutelage.teachers._teacher import AnyTeacher, Teacher, as_teacher, ask
from tutelage.wants import Fields


class Specialist(Teacher):
    """A teacher whose outputs are assigned to the student's classes.

    Its output is `CoarseLogits`, from which `SoftTargets` can learn. If it knows all classes, its
    output is logits in the student's order, from which any objective can learn.

    Args:
        teacher: A module or teacher with logits for its classes, in the order of `labels`.
        labels: The teacher's classes, in the order of its outputs: the student's class ids, or
            names.
        other_class: Whether the teacher's last logit stands for all other classes together.
            Otherwise the probability of all other classes is 0, so use it only for examples of its
            own classes, as `Specialists` does.
        classes: The student's classes: their names in the order of its outputs, or their number.
            Needed if `labels` are names, or are all classes.
        names: From the teacher's names to the student's, where they differ.

    Raises:
        ArgumentError: Labels are not among the student's classes, or are repeated; or there is an
            "other" class although the teacher knows all classes.
        ModelError: `teacher` is not a teacher.

    >>> animals = Specialist(
    ...     torch.nn.Linear(2, 3), labels=["dog", "cat"], classes=["bus", "cat", "dog", "van"]
    ... )
    >>> known = animals.signals(Batch(torch.ones(1, 2)), Fields(output=True)).output
    >>> known.ids.tolist(), list(known.other.shape)
    ([[2, 1]], [1])
    """

    def __init__(
        self,
        teacher: AnyTeacher,
        labels: Sequence[int] | Sequence[str],
        other_class: bool = True,
        classes: int | Sequence[str] | None = None,
        names: Mapping[str, str] | None = None,
    ) -> None:
        self.members = (as_teacher(teacher),)
        self.is_causal = self.teacher.is_causal
        if not isinstance(other_class, bool):
            raise ArgumentError(
                f"`other_class` must be True or False, got {other_class!r}; True if the last "
                "logit stands for all other classes together"
            )
        if classes is not None and not _in_order(classes):
            advice = "it is the number of the student's outputs, or lists their names in order"
            classes = integer("classes", classes, 1, advice)
        self.ids = class_ids(labels, classes, names or {})
        self.other_class, self.classes = other_class, classes
        number = number_of(classes)
        self.knows_all = len(self.ids) == number
        if self.knows_all and other_class:
            raise ArgumentError(
                f'a teacher of all {number} classes must have no "other" class, got '
                "other_class=True; set other_class=False, or leave out the labels that it does not "
                "know"
            )

    @property
    def teacher(self) -> Teacher:
        """The teacher of these classes."""
        return self.members[0]

    def signals(self, batch: Batch, fields: Fields) -> Signals:
        """Return the teacher's signals, with its output in the student's classes."""
        signals = ask(self.teacher, batch, replace(fields, head_from=None))
        if not fields.output:
            return signals
        return replace(signals, output=self._in_student_classes(signals.logits))

    def check_kind(self, kind: OutputKind | None) -> None:
        """Refuse some of several binary labels: the others have no "other" class to be in."""
        super().check_kind(kind)
        if kind == "binary" and not self.knows_all:
            raise ModelError(
                "a Specialist of some classes is for classes that exclude each other, got an "
                "objective on binary labels; give one module that returns the logits of all labels "
                "side by side, from whichever teacher knows each"
            )

    def fingerprint(self) -> str:
        """Return the classes and the teacher's fingerprint."""
        known = f"{'all ' if self.knows_all else ''}{list(self.ids)}"
        other = "with" if self.other_class else "without"
        return f"Specialist({known} {other} other; {self.teacher.fingerprint()})"

    def _in_student_classes(self, logits: Tensor) -> Tensor | CoarseLogits:
        known = len(self.ids)
        if logits.shape[1:] != (known + self.other_class,):
            more = ', and one for "other"' if self.other_class else ""
            raise ModelError(
                f"a Specialist's teacher must have {known + self.other_class} logits, one for each "
                f"label{more}, got {list(logits.shape)}; give `labels` in the order of its outputs,"
                " and set `other_class`"
            )
        ids = torch.tensor(self.ids, device=logits.device)
        if self.knows_all:
            return logits[:, ids.argsort()]
        other = logits[:, -1] if self.other_class else logits.new_full(logits.shape[:1], -torch.inf)
        return CoarseLogits(ids.expand(len(logits), known), logits[:, :known], other)


def number_of(classes: int | Sequence[str] | None) -> int | None:
    """Return how many classes the student has, where that is known."""
    return classes if classes is None or isinstance(classes, int) else len(classes)


def _in_order(values: object) -> bool:
    """Tell whether values are a list: a set has no order, and a dict's keys may be positions."""
    return hasattr(values, "__len__") and not isinstance(values, (str, Mapping, set, frozenset))


def class_ids(
    labels: Sequence[int] | Sequence[str],
    classes: int | Sequence[str] | None,
    names: Mapping[str, str],
) -> tuple[int, ...]:
    """Return the student's class id for each of a teacher's labels; see `Specialist`."""
    if not _in_order(labels) or not len(labels):
        raise ArgumentError(
            f"`labels` must be class ids or names, at least one, got {labels!r}; list the "
            "teacher's classes in the order of its outputs"
        )
    if not isinstance(names, Mapping):
        raise ArgumentError(
            f"`names` must be a dict from the teacher's names to the student's, got {names!r}; "
            "write {'hound': 'dog'}"
        )
    if not any(isinstance(each, str) for each in labels):
        return _from_numbers(labels, classes, names)
    if classes is None or isinstance(classes, int):
        raise ArgumentError(
            f"`classes` must be the student's class names where labels are names, got {classes!r}; "
            "list them in the order of the student's outputs"
        )
    return _from_names(labels, classes, names)


def _from_numbers(
    labels: Sequence[object], classes: int | Sequence[str] | None, names: Mapping[str, str]
) -> tuple[int, ...]:
    if names:
        raise ArgumentError(
            f"`names` must map labels that are names, got class ids {list(labels)[:5]}; leave "
            "`names` out, or name the labels"
        )
    advice = "labels are the student's class ids, from 0 on"
    ids = tuple(integer("labels", each, 0, advice) for each in labels)
    number = number_of(classes)
    if number is not None and max(ids) >= number:
        raise ArgumentError(
            f"`labels` must lie from 0 to {number - 1}, the student's classes, got "
            f"{sorted(each for each in ids if each >= number)}; correct them, or `classes`"
        )
    _check_different(ids, ids)
    return ids


def _from_names(
    labels: Sequence[object], classes: Sequence[str], names: Mapping[str, str]
) -> tuple[int, ...]:
    _check_different(classes, classes, "`classes`")
    ids = {name: number for number, name in enumerate(classes)}
    renamed = [names.get(each, each) if isinstance(each, str) else each for each in labels]
    unknown = [each for each, name in zip(labels, renamed, strict=True) if name not in ids]
    unused = [each for each in names if each not in labels]
    if unknown or unused:
        free = [name for name in classes if name not in renamed]
        raise ArgumentError(
            f"`labels` must be classes of the student, got {unknown}, which are not; its classes "
            f"without a label are {free}; the keys {unused} of `names` are not labels; map the "
            "teacher's names to the student's by `names`"
        )
    _check_different(renamed, labels)
    return tuple(ids[str(name)] for name in renamed)


def _check_different(
    names: Sequence[object], labels: Sequence[object], what: str = "`labels`"
) -> None:
    """Refuse two labels of one class."""
    repeated = [each for each, name in zip(labels, names, strict=True) if names.count(name) > 1]
    if repeated:
        raise ArgumentError(
            f"{what} must be different classes, got {repeated} for the same; keep one of them, or "
            "sum their probabilities in the teacher"
        )
