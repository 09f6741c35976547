"""Tasks: what differs between classes, binary labels, values, boxes and language.

A `Task` knows the usual objective, the metrics and how they are shown, what each example adds to
them, calibration, and what a report says. Tokens and pixels are rows of any task. To add one, write
a class in a file of its own and add it to `TASKS`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from torch import Tensor

from tutelage.errors import ArgumentError, DataError
from tutelage.labels import is_known
from tutelage.nested import describe
from tutelage.objectives import Objective
from tutelage.tasks.binary import Binary, are_multi_hot, has_label_for_each_output
from tutelage.tasks.boxes import Boxes
from tutelage.tasks.classes import Classes
from tutelage.tasks.language import Language
from tutelage.tasks.outputs import Outputs
from tutelage.tasks.task import Task
from tutelage.tasks.values import Values

TASKS: dict[str, Task] = {
    each.name: each for each in (Classes(), Binary(), Values(), Boxes(), Language())
}
"""All tasks, by name."""

__all__ = [
    "TASKS",
    "Binary",
    "Boxes",
    "Classes",
    "Language",
    "Outputs",
    "Task",
    "Values",
    "infer_task",
    "task_of",
    "with_companions",
]


def task_of(objective: Objective, outputs: Outputs) -> Task:
    """Return what outputs hold: by the objective or, where it does not tell, by their labels.

    Args:
        objective: Tells by its `output_kind`; that of one on layers is None.
        outputs: As the objective reads them (`Outputs.read_by`).

    Raises:
        DataError: Labels are binary, and the objective reads classes.
    """
    if outputs.scores is not None:
        return TASKS["language"]
    if outputs.student is None:
        return TASKS["boxes" if outputs.predictions is not None else "classes"]
    labels = outputs.labels if isinstance(outputs.labels, Tensor) else None
    binary = labels is not None and has_label_for_each_output(outputs.student, labels)
    if objective.output_kind is None:
        return TASKS["binary" if binary else "classes"]
    if (
        objective.output_kind == "classes"
        and labels is not None
        and bool(is_known(labels).any())
        and (binary or are_multi_hot(outputs.student, labels))
    ):
        raise DataError(
            f"labels of class logits must be class ids [examples], got {describe(labels)} for "
            f"outputs {describe(outputs.student)}, a label for each logit; for binary labels "
            "use BinaryLabels and BinaryTargets"
        )
    return TASKS[objective.output_kind]


def infer_task(
    objectives: Iterable[Objective],
    others: Iterable[Objective] = (),
    labels: Any = None,
    *,
    language: bool = False,
) -> Task:
    """Return what outputs will hold, before there are any.

    Args:
        objectives: Those of arms tell first, values before binary labels before classes;
        others: those of controls where they do not,
        labels: and the labels where neither does, `[examples, …]`; a list of dicts is of boxes.
        language: Whether a language model predicts the next tokens.

    Raises:
        ArgumentError: Some objectives are of binary labels and others are not, or there is nothing
            to tell by but floats that are all 0 or 1.
    """
    if labels is not None and not isinstance(labels, Tensor):
        return TASKS["boxes"]
    if language:
        return TASKS["language"]
    first, rest = (
        {each.output_kind: each for each in reversed(list(group)) if each.output_kind is not None}
        for group in (objectives, others)
    )
    kinds = {**rest, **first}
    if "binary" in kinds and len(kinds) > 1:
        other = next(each for kind, each in kinds.items() if kind != "binary")
        raise ArgumentError(
            "the arms of a study must read the outputs alike, got logits of binary labels in "
            f"{kinds['binary']}, but not in {other}; for binary labels use BinaryLabels, "
            "BinaryTargets and LogitRegression(center=False)"
        )
    for group in filter(None, (first, rest)):
        return TASKS[next(name for name in ("values", "binary", "classes") if name in group)]
    return TASKS["classes"] if labels is None else _by_labels(labels)


def with_companions(names: Collection[str], objective: Objective) -> set[str]:
    """Return metrics that a few examples have, with those that more examples may have too."""
    kind = objective.output_kind
    tasks = TASKS.values() if kind is None else (TASKS[kind],)
    return set(names).union(*(each.with_companions(names) for each in tasks))


def _by_labels(labels: Tensor) -> Task:
    values = labels[is_known(labels)]
    binary = len(values) > 0 and bool(((values == 0) | (values == 1)).all())
    if not labels.is_floating_point():  # several numbers of an example may also be tags of tokens
        return TASKS["binary" if binary and labels.ndim == 2 else "classes"]  # noqa: PLR2004
    if binary:
        raise ArgumentError(
            "labels that are floats must be values or binary labels, got only 0 and 1, which may "
            "be either; give an objective that tells, tl.BinaryLabels() or tl.LabelRegression(), "
            "for an arm that is a function as `reads`: tl.Arm(run=..., reads=tl.BinaryLabels())"
        )
    return TASKS["values"]
