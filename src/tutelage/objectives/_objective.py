"""The base of all objectives, and the algebra that joins them."""

from __future__ import annotations

import math
import re
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from itertools import chain, count
from operator import or_
from typing import cast

import torch
from torch import Tensor, nn

from tutelage.errors import ArgumentError, DataError
from tutelage.losses._looks import may_look
from tutelage.schedules import Constant, Product, Schedule, weight_schedule
from tutelage.signals import UNLABELLED, Batch, Signals, Wants


class Objective(nn.Module):
    """What the student is asked for: one value per example, less is better.

    A subclass sets `wants` and writes `forward`; weights and sums come with it:

    >>> from tutelage.objectives import HardLabels, SoftTargets
    >>> 0.1 * HardLabels() + 0.9 * SoftTargets(temperature=4)
    0.1 * HardLabels() + 0.9 * SoftTargets(temperature=4)

    Weights are what they weigh and are not normalised; a weight may be a schedule.
    """

    wants: Wants
    """Which signals `forward` reads of each side, and whether it reads labels."""

    predicts_values: bool | None = False
    """Whether the student's output are values, or an embedding, rather than class logits.

    None where the objective says nothing of that.
    """

    reads_mixtures: bool = False
    """Whether `forward` knows examples that are made of two (`batch.mixture`); see `Mixup`."""

    def prediction(self, output: Tensor) -> Tensor:
        """Return what of the student's output is the answer, to be compared with labels: all."""
        return output

    built: bool = True
    """Whether what depends on the shapes of the signals, such as a projector, has been made."""

    def build(self, student: Signals, teacher: Signals) -> None:
        """Make what depends on the shapes of the signals; called before training, with some.

        Parameters that are made here are trained with the student and are no part of it.
        """

    @abstractmethod
    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Tensor:
        """Return `[batch]`, one value per example, 0 for an example that is not `counted`."""

    def counted(self, batch: Batch) -> Tensor | None:
        """Return which examples the average runs over, `[batch]` of bool; None for all.

        Objectives that read labels count the labelled examples, the others count every one.

        Raises:
            DataError: Labels are read, and they are mixed in a way that the objective cannot read.
        """
        if batch.mixture is not None and self.wants.labels and not self.reads_mixtures:
            raise DataError(
                f"{self} reads one label for each example, got examples made of two, each with two "
                "labels; learn their labels by HardLabels and the teacher by an objective without "
                "labels, such as SoftTargets, or use a transform that leaves labels as they are, "
                "such as Noise"
            )
        return batch.labelled() if self.wants.labels and not _all_labelled(batch) else None

    needs_validation: bool = False
    """Whether it goes by `review`, and so there must be validation data."""

    def review(self, student: Signals, teacher: Signals, batch: Batch) -> dict[str, float]:
        """Return figures of its own, by name, on the validation data as a whole.

        Args:
            student: Its output for all examples, on the CPU; no features.
            teacher: The same of the teacher.
            batch: All examples, with labels and domains and without inputs.
        """
        return {}

    def heed(self, figures: Mapping[str, float]) -> None:
        """Take note of an epoch's validation figures, its own among them."""

    def terms(self) -> tuple[Term, ...]:
        """Return the parts of the sum that this objective is: itself, with weight 1."""
        return (Term(_snake_case(type(self).__name__), Constant(1.0), self),)

    def __mul__(self, weight: float | Schedule) -> WeightedSum:
        """Weigh the objective by a number or a schedule of zero or more."""
        factor = weight_schedule(weight)
        return WeightedSum([(_times(factor, term.weight), term.objective) for term in self.terms()])

    __rmul__ = __mul__

    def __add__(self, other: Objective) -> WeightedSum:
        """Join two objectives into a weighted sum."""
        if not isinstance(other, Objective):
            return NotImplemented
        both = (*self.terms(), *other.terms())
        return WeightedSum([(term.weight, term.objective) for term in both])

    def __radd__(self, other: object) -> Objective:
        """Let `sum` begin with its 0."""
        return self if other == 0 else NotImplemented

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.extra_repr()})"


@dataclass(frozen=True, slots=True)
class Term:
    """One part of a weighted sum.

    Args:
        name: Under which it is logged, such as `soft_targets`.
        weight: By what it is multiplied, over training.
        objective: What it is.
    """

    name: str
    weight: Schedule
    objective: Objective


class WeightedSum(Objective):
    """Σ_k w_k · objective_k; made by `*` and `+`, and flat: a sum in a sum becomes its terms.

    Args:
        weighted: Pairs of weight (a number or a schedule, zero or more) and objective.

    Raises:
        ArgumentError: A weight is negative or not finite, or there is no objective.
    """

    def __init__(self, weighted: list[tuple[float | Schedule, Objective]]) -> None:
        super().__init__()
        if not weighted:
            raise ArgumentError("a weighted sum must have at least one objective, got none")
        self.weights = tuple(weight_schedule(weight) for weight, _ in weighted)
        self.objectives = nn.ModuleList(objective for _, objective in weighted)

    @property
    def wants(self) -> Wants:  # pyright: ignore[reportIncompatibleVariableOverride] - computed
        """What any of the terms wants."""
        return reduce(or_, (term.objective.wants for term in self.terms()))

    @property
    def predicts_values(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether a term says so and none takes the output for class logits."""
        said = {term.objective.predicts_values for term in self.terms()}
        return True in said and False not in said

    @property
    def reads_mixtures(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether all of the terms that read labels do."""
        reading = [term.objective for term in self.terms() if term.objective.wants.labels]
        return all(objective.reads_mixtures for objective in reading)

    @property
    def built(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride] - computed
        """Whether all of the terms are."""
        return all(term.objective.built for term in self.terms())

    def build(self, student: Signals, teacher: Signals) -> None:
        """Build the terms that are not."""
        for term in self.terms():
            if not term.objective.built:
                term.objective.build(student, teacher)

    def prediction(self, output: Tensor) -> Tensor:
        """Return what the first term takes for the answer."""
        return self.terms()[0].objective.prediction(output)

    @property
    def needs_validation(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether one of the terms does."""
        return any(term.objective.needs_validation for term in self.terms())

    def review(self, student: Signals, teacher: Signals, batch: Batch) -> dict[str, float]:
        """Return the figures of all terms."""
        figures = [term.objective.review(student, teacher, batch) for term in self.terms()]
        return {name: value for each in figures for name, value in each.items()}

    def heed(self, figures: Mapping[str, float]) -> None:
        """Let all terms take note."""
        for term in self.terms():
            term.objective.heed(figures)

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Tensor:
        """Return the weighted sum of the terms' values, `[batch]`."""
        values = (
            term.objective(student, teacher, batch) * term.weight(batch.progress)
            for term in self.terms()
        )
        return torch.stack(list(values)).sum(dim=0)

    def terms(self) -> tuple[Term, ...]:
        """Return the terms; a name that comes up again gets a number: `soft_targets_2`."""
        leaves = [
            Term(inner.name, _times(weight, inner.weight), inner.objective)
            for weight, objective in zip(self.weights, self.objectives, strict=True)
            for inner in cast("Objective", objective).terms()
        ]
        return tuple(
            Term(name, leaf.weight, leaf.objective)
            for name, leaf in zip(_unique([leaf.name for leaf in leaves]), leaves, strict=True)
        )

    def __repr__(self) -> str:
        return " + ".join(f"{term.weight} * {term.objective}" for term in self.terms())


def labels_of(batch: Batch) -> Tensor:
    """Return the labels of a batch.

    Raises:
        DataError: It has none.
    """
    if batch.labels is None:
        raise DataError(
            "an objective that learns from labels got a batch without any; yield (inputs, labels) "
            "from the data set, mark single unlabelled examples by -100 (NaN for values), or use "
            "an objective without labels, such as SoftTargets"
        )
    if not isinstance(batch.labels, Tensor):
        raise DataError(
            f"labels must be a tensor, got {type(batch.labels).__name__}; "
            "let the collate function make one"
        )
    return batch.labels


def _all_labelled(batch: Batch) -> bool:
    """Tell whether all examples carry a label, where one may look."""
    labels = labels_of(batch)
    if batch.mixture is not None or not may_look(labels) or not labels.numel():
        return False
    least = labels.amin().item()  # NaN where any is NaN
    return not math.isnan(least) if labels.is_floating_point() else least > UNLABELLED


def _times(first: Schedule, second: Schedule) -> Schedule:
    """Multiply two weights, plainly where both are constant."""
    for one, other in ((first, second), (second, first)):
        if isinstance(one, Constant) and (one.value == 1.0 or isinstance(other, Constant)):
            return other if one.value == 1.0 else Constant(one.value * other(0.0))
    return Product(first, second)


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z][a-z])", "_", name).lower()


def _unique(names: list[str]) -> list[str]:
    """Number the names that came up before; a sum within a sum may have numbered some already."""
    unique: list[str] = []
    for name in names:
        numbered = chain([name], (f"{name}_{number}" for number in count(2)))
        unique.append(next(each for each in numbered if each not in unique))
    return unique
