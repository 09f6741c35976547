"""Distillation only in groups of examples in which the teacher is better."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from tutelage.coarse import CoarseLogits
from tutelage.errors import ArgumentError, DataError, ModelError
from tutelage.nested import describe
from tutelage.objectives._binary_labels import known_labels
from tutelage.objectives._labels import labels_of
from tutelage.objectives._objective import Objective, Term, WeightedSum
from tutelage.objectives._row_mean import RowMean
from tutelage.schedules import Constant
from tutelage.signals import UNLABELLED, Batch, Signals
from tutelage.wants import OUTPUT, Wants

Grouping = Callable[[Batch], Sequence[str | None]]
"""From a batch to the name of each example's group; None for no group."""
_LEAD = "lead/"


def by_domain(batch: Batch) -> list[str | None]:
    """Return each example's domain.

    Raises:
        DataError: The batch has no domains.

    >>> by_domain(Batch(torch.zeros(2, 3), domain=["photo", "sketch"]))
    ['photo', 'sketch']
    """
    if batch.domain is None:
        raise DataError(
            "groups by domain need each example's domain, got a batch without; build the data with "
            "tl.data.domains({name: data set}), or yield (inputs, labels, domain)"
        )
    names = batch.domain.tolist() if isinstance(batch.domain, Tensor) else batch.domain
    return [str(name) for name in names]


def by_class(batch: Batch) -> list[str | None]:
    """Return each example's class, `"class 3"`; None where it has no label.

    A mixed example (`Batch.mixture`) belongs to the class of the larger fraction.

    Raises:
        DataError: The batch has no labels, or they are no class ids.

    >>> by_class(Batch(torch.zeros(2, 3), torch.tensor([3, -100])))
    ['class 3', None]
    """
    labels = labels_of(batch)
    if labels.is_floating_point() or labels.ndim != 1:
        raise DataError(
            f"groups by class need class ids [batch], got {labels.dtype} {list(labels.shape)}; for "
            "values group by domain, or by your own function"
        )
    if batch.mixture is not None:
        labels = torch.where(batch.mixture.fraction >= 0.5, labels, batch.mixture.labels)  # noqa: PLR2004
    return [None if each == UNLABELLED else f"class {each}" for each in labels.tolist()]


class Selective(Objective):
    """Another objective, with weight 0 for groups in which the student is better than its teacher.

    After each epoch both sides are compared on the validation data, group by group: by accuracy if
    labels are class ids or binary, else by mean squared error. A group is closed while the student
    is better, and open otherwise. Groups that are not in the validation data stay open. Closing a
    group does not raise the weight of others. The metric `val/lead/GROUP` is the student's
    advantage. In `val/loss` a closed group's loss is 0, so monitor another metric.

    The idea is the expert selection of Xiang, Ding and Han 2020, "Learning From Multiple Experts:
    Self-paced Knowledge Distillation for Long-tailed Classification",
    https://arxiv.org/abs/2001.01536, whose weights fall slowly.

    Args:
        objective: One that learns from the teacher, such as `SoftTargets(4)`; not a sum.
        by: From a batch to its examples' groups: `by_domain`, `by_class`, or your own function.

    Raises:
        ArgumentError: `objective` is not an objective, is a sum or a `Selective`, is on spans of
            text, or does not use the teacher; or `by` is not callable.

    >>> from tutelage.objectives import HardLabels, SoftTargets
    >>> HardLabels() + 0.9 * Selective(SoftTargets(4))
    1 * HardLabels() + 0.9 * Selective(SoftTargets(temperature=4), by=by_domain)
    """

    def __init__(self, objective: Objective, by: Grouping = by_domain) -> None:
        super().__init__()
        inner = objective
        while isinstance(inner, RowMean):
            inner = inner.objective
        if not isinstance(inner, Objective) or isinstance(inner, (WeightedSum, Selective)):
            raise ArgumentError(
                f"`objective` must be one Objective, without a weight, got {objective!r}; write "
                "0.9 * tl.Selective(tl.SoftTargets(4))"
            )
        if not objective.wants.teacher:
            raise ArgumentError(
                f"`objective` must learn from the teacher, got {objective}; add an objective on "
                "labels beside it: tl.HardLabels() + tl.Selective(tl.SoftTargets(4))"
            )
        if objective.in_parts:
            raise ArgumentError(
                f"`objective` must be about outputs that can be compared with labels, got "
                f"{objective}, of a teacher with another tokenizer; leave out Selective"
            )
        if not callable(by):
            raise ArgumentError(
                f"`by` must be a function from a batch to groups, got {by!r}; for instance "
                "tl.objectives.by_domain or tl.objectives.by_class"
            )
        self.objective, self.by = objective, by
        self.wants = objective.wants | Wants(student=OUTPUT, teacher=OUTPUT)
        self.output_kind = objective.output_kind
        self.reads_mixtures = objective.reads_mixtures
        self.relates_examples = objective.relates_examples
        self.weight_by_rows = objective.weight_by_rows
        self.closed: frozenset[str] = frozenset()

    @property
    def built(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride] - computed
        """Whether the objective is built."""
        return self.objective.built

    def build(self, student: Signals, teacher: Signals) -> None:
        """Build the objective."""
        self.objective.build(student, teacher)

    def prediction(self, output: Tensor) -> Tensor:
        """Return the prediction as the objective reads it."""
        return self.objective.prediction(output)

    def terms(self) -> tuple[Term, ...]:
        """Return itself, under the objective's name."""
        return (Term(self.objective.terms()[0].name, Constant(1.0), self),)

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Tensor:
        """Return the objective's values, `[batch]`; 0 for examples of closed groups."""
        values = self.objective(student, teacher, batch)
        if not self.closed:
            return values
        groups = self._groups(batch, len(values))
        open_ = torch.tensor([group not in self.closed for group in groups], device=values.device)
        return values.where(open_, 0)

    def validation_metrics(
        self, student: Signals, teacher: Signals, batch: Batch
    ) -> dict[str, float]:
        """Return the student's advantage in each group, as `lead/GROUP`."""
        ours = self._scores(student.logits, batch)
        lead = ours - self._scores(teacher.targets, batch)
        rows: dict[str, list[int]] = {}
        known = batch.labelled().tolist()
        for row, group in enumerate(self._groups(batch, len(lead))):
            if group is not None and known[row]:
                rows.setdefault(group, []).append(row)
        return {f"{_LEAD}{group}": lead[own].mean().item() for group, own in rows.items()}

    def update(self, metrics: Mapping[str, float]) -> None:
        """Close the groups in which the student is better, and open the others."""
        self.closed = frozenset(
            name.removeprefix(_LEAD)
            for name, lead in metrics.items()
            if name.startswith(_LEAD) and lead > 0
        )

    def get_extra_state(self) -> dict[str, Any]:
        """Return which groups are closed, for checkpoints."""
        return {"closed": sorted(self.closed)}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore which groups are closed."""
        self.closed = frozenset(state["closed"])

    def _groups(self, batch: Batch, examples: int) -> Sequence[str | None]:
        """Return the group of each example, or of each row."""
        found = self.by(batch)
        listed = isinstance(found, (list, tuple))
        if listed and batch.rows is not None and len(found) == len(batch.rows.mask) != examples:
            found = [found[each] for each in batch.rows.examples.tolist()]
        if not listed or len(found) != examples:
            raise DataError(
                f"`by` must return a list of one group for each of {examples} examples, got "
                f"{describe(found)}; None is for an example of no group"
            )
        return found

    def _scores(self, output: Tensor | CoarseLogits, batch: Batch) -> Tensor:
        """Return each prediction's score, `[batch]` in float64; higher is better."""
        labels = labels_of(batch)
        if isinstance(output, Tensor):
            output = self.prediction(output)
        if self.output_kind == "binary":
            if isinstance(output, CoarseLogits):
                raise ModelError(
                    "Selective compares the predictions of every label, got CoarseLogits from the "
                    "teacher; give a teacher with a logit for each label"
                )
            target, known = known_labels(output, labels)
            right = (output > 0) == (target > 0.5)  # noqa: PLR2004 - a soft label
            return right.double().where(known, torch.nan).nanmean(dim=1)
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
    """Return each example's most probable class; −1 for the "other" class."""
    if isinstance(output, Tensor):
        return output.argmax(dim=1)
    logits = torch.cat([output.logits, output.other.unsqueeze(1)], dim=1)
    ids = torch.cat([output.ids, torch.full_like(output.ids[:, :1], -1)], dim=1)
    return ids.gather(1, logits.argmax(dim=1, keepdim=True)).squeeze(1)
