"""A teacher that knows some of the student's classes, or knows them by another order or name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from tutelage.coarse import CoarseLogits
from tutelage.errors import ArgumentError, ModelError
from tutelage.signals import Batch, Fields, Signals
from tutelage.teachers._labels import class_ids
from tutelage.teachers._teacher import Teacher
from tutelage.teachers.live import as_member


class Specialist(Teacher):
    """A teacher whose outputs are named: which of the student's classes each one is.

    It answers with `CoarseLogits`, from which `SoftTargets` learns; where it knows all classes,
    with logits in the student's order, from which any objective does.

    Args:
        teacher: A module or teacher with logits for its classes, in the order of `labels`.
        labels: The teacher's classes, in the order of its outputs: the student's class ids, or
            names.
        elsewhere: `"cell"`: the teacher's last logit, one more than `labels`, stands for all other
            classes together. `"none"`: it has no such logit, and takes each example for one of its
            own classes; ask it about such examples only (`Specialists` does), or the student is
            told that what the teacher does not know is not there.
        classes: The student's classes: their names in the order of its outputs, or their number.
            Needed where `labels` are names, or are all classes.
        names: From the teacher's names to the student's, where they differ.

    Raises:
        ArgumentError: Labels are none of the student's classes, or not different ones; or there is
            a cell for elsewhere and no class is elsewhere.
        ModelError: `teacher` is neither module nor teacher.

    >>> animals = Specialist(
    ...     nn.Linear(2, 3), labels=["dog", "cat"], classes=["bus", "cat", "dog", "van"]
    ... )
    >>> known = animals.signals(Batch(torch.ones(1, 2)), Fields(output=True)).output
    >>> known.ids.tolist(), list(known.rest.shape)
    ([[2, 1]], [1])
    """

    def __init__(
        self,
        teacher: nn.Module | Teacher,
        labels: Sequence[int] | Sequence[str],
        elsewhere: Literal["cell", "none"] = "cell",
        classes: int | Sequence[str] | None = None,
        names: Mapping[str, str] | None = None,
    ) -> None:
        self.members = (as_member(teacher),)
        if elsewhere not in ("cell", "none"):
            raise ArgumentError(
                f"`elsewhere` must be 'cell' or 'none', got {elsewhere!r}; 'cell' where the last "
                "logit stands for all other classes"
            )
        self.ids = class_ids(labels, classes, names or {})
        self.elsewhere = elsewhere
        number = classes if classes is None or isinstance(classes, int) else len(classes)
        self.knows_all = len(self.ids) == number
        if self.knows_all and elsewhere == "cell":
            raise ArgumentError(
                f"a teacher of all {number} classes must not have a cell for what is elsewhere, "
                "got elsewhere='cell'; set elsewhere='none', or name the labels that it knows"
            )

    @property
    def teacher(self) -> Teacher:
        """Who knows these classes."""
        return self.members[0]

    def signals(self, batch: Batch, fields: Fields) -> Signals:
        """Return the teacher's signals, with its output in the student's classes.

        Raises:
            ModelError: It does not have as many logits as labels.
        """
        said = self.teacher.signals(batch, fields)
        if not fields.output:
            return said
        return Signals(self._named(said.wanted_output()), said.features)

    @contextmanager
    def ready(self, device: torch.device) -> Iterator[None]:
        """Make the teacher ready."""
        with self.teacher.ready(device):
            yield

    def fingerprint(self) -> str:
        """Return the classes and the teacher's fingerprint."""
        known = f"{'all ' if self.knows_all else ''}{list(self.ids)}"
        return f"Specialist({known}, {self.elsewhere}; {self.teacher.fingerprint()})"

    def _named(self, logits: Tensor) -> Tensor | CoarseLogits:
        known, cell = len(self.ids), self.elsewhere == "cell"
        if logits.shape[1:] != (known + cell,):
            more = ", and one for elsewhere" if cell else ""
            raise ModelError(
                f"a Specialist's teacher must have {known + cell} logits, one for each label{more},"
                f" got {list(logits.shape)}; name all its classes in their order, and set "
                "`elsewhere`"
            )
        ids = torch.tensor(self.ids, device=logits.device)
        if self.knows_all:
            return logits[:, ids.argsort()]
        rest = logits[:, -1] if cell else logits.new_full(logits.shape[:1], -torch.inf)
        return CoarseLogits(ids.expand(len(logits), known), logits[:, :known], rest)
