"""Learn from the teacher where it does better than the student, and not elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from tutelage.coarse import CoarseLogits
from tutelage.errors import ArgumentError, DataError
from tutelage.nested import describe
from tutelage.objectives._around import Around
from tutelage.objectives._objective import Objective, labels_of
from tutelage.objectives.groupings import by_domain
from tutelage.signals import OUTPUT, Batch, Signals, Wants

Grouping = Callable[[Batch], Sequence[str | None]]
"""From a batch to the name of each example's group; None for one of no group."""

_LEAD = "lead/"


class Selective(Around):
    """Another objective, with a weight of 0 in groups where the student is ahead of its teacher.

    After each epoch both sides are compared on the validation data, group by group: by accuracy
    where labels are class ids, else by mean squared error. A group closes once the student's is
    better, and opens again once it is not. Groups that the validation data do not have stay open.
    What a group loses in weight no other one gains. The figure `val/lead/GROUP` is by how much the
    student is ahead. `val/loss` counts what is closed as 0, so let another figure choose the epoch.

    Source: the idea is the expert selection of Xiang, Ding and Han 2020, "Learning from multiple
    experts", https://arxiv.org/abs/2001.01536, whose weights fall slowly.

    Args:
        objective: What is learnt from the teacher, such as `SoftTargets(4)`; one, and no sum.
        by: From a batch to its examples' groups: `by_domain`, `by_class`, or a function of yours.

    Raises:
        ArgumentError: `objective` is none, is a sum or learns from no teacher, or `by` cannot be
            called.

    >>> from tutelage.objectives import HardLabels, SoftTargets
    >>> HardLabels() + 0.9 * Selective(SoftTargets(4))
    1 * HardLabels() + 0.9 * Selective(SoftTargets(temperature=4), by=by_domain)
    """

    def __init__(self, objective: Objective, by: Grouping = by_domain) -> None:
        super().__init__(objective)
        _check(objective, by)
        self.by = by
        self.wants = objective.wants | Wants(student=OUTPUT, teacher=OUTPUT)
        self.needs_validation = True
        self.closed: frozenset[str] = frozenset()

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Tensor:
        """Return the objective's values, `[batch]`, and 0 for examples of a closed group."""
        values = self.objective(student, teacher, batch)
        if not self.closed:
            return values
        open_ = torch.tensor(
            [group not in self.closed for group in self._groups(batch, len(values))]
        )
        return values.where(open_.to(values.device), 0)

    def review(self, student: Signals, teacher: Signals, batch: Batch) -> dict[str, float]:
        """Return by how much the student is ahead in each group, as `lead/GROUP`.

        Raises:
            DataError: There are no labels, or they are not of the outputs' kind.
        """
        ours = self._scores(student.wanted_output(), batch)
        lead = ours - self._scores(teacher.wanted_answer(), batch)
        rows: dict[str, list[int]] = {}
        known = batch.labelled().tolist()
        for row, group in enumerate(self._groups(batch, len(lead))):
            if group is not None and known[row]:
                rows.setdefault(group, []).append(row)
        return {f"{_LEAD}{group}": lead[own].mean().item() for group, own in rows.items()}

    def heed(self, figures: Mapping[str, float]) -> None:
        """Close the groups in which the student is ahead, and open the others."""
        leads = {key.removeprefix(_LEAD): each for key, each in figures.items() if _is_lead(key)}
        self.closed = frozenset(group for group, lead in leads.items() if lead > 0)

    def get_extra_state(self) -> dict[str, Any]:
        """Return which groups are closed, for checkpoints."""
        return {"closed": sorted(self.closed)}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take up which groups are closed."""
        self.closed = frozenset(state["closed"])

    def extra_repr(self) -> str:
        """Show the objective and the groups."""
        return f"{super().extra_repr()}, by={getattr(self.by, '__name__', type(self.by).__name__)}"

    def _groups(self, batch: Batch, examples: int) -> Sequence[str | None]:
        """Return the group of each of so many examples."""
        found = self.by(batch)
        if not isinstance(found, (list, tuple)) or len(found) != examples:
            raise DataError(
                f"`by` must return a list of one group for each of {examples} examples, got "
                f"{describe(found)}; None is for an example of no group"
            )
        return found

    def _scores(self, output: Tensor | CoarseLogits, batch: Batch) -> Tensor:
        """Return how well each example is answered, `[batch]` in float64: more is better."""
        labels = labels_of(batch)
        if isinstance(output, Tensor):
            output = self.prediction(output)
        if not labels.is_floating_point():
            return (_choices(output) == labels).double()
        if not isinstance(output, Tensor) or labels.numel() != output.numel():
            raise DataError(
                "Selective compares values with labels of the outputs' shape, got labels "
                f"{list(labels.shape)}; give such labels in `val`, or leave Selective out"
            )
        error = (output.reshape(len(labels), -1) - labels.reshape(len(labels), -1)).double()
        return -error.square().nanmean(dim=1)


def _choices(output: Tensor | CoarseLogits) -> Tensor:
    """Return each example's likeliest class; −1 where it is none that the teacher tells apart."""
    if isinstance(output, Tensor):
        return output.argmax(dim=1)
    cells = torch.cat([output.logits, output.rest.unsqueeze(1)], dim=1)
    ids = torch.cat([output.ids, torch.full_like(output.ids[:, :1], -1)], dim=1)
    return ids.gather(1, cells.argmax(dim=1, keepdim=True)).squeeze(1)


def _is_lead(name: str) -> bool:
    return name.startswith(_LEAD)


def _check(objective: Objective, by: object) -> None:
    if not objective.wants.teacher:
        raise ArgumentError(
            f"`objective` must learn from the teacher, got {objective}; add what learns from "
            "labels beside it: tl.HardLabels() + tl.Selective(tl.SoftTargets(4))"
        )
    if not callable(by):
        raise ArgumentError(
            f"`by` must be a function from a batch to groups, got {by!r}; for instance "
            "tl.objectives.by_domain or tl.objectives.by_class"
        )
