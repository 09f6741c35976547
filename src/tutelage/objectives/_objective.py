"""The base of all objectives, and the algebra that joins them."""

from __future__ import annotations

import copy
import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from inspect import Parameter, signature
from itertools import chain, count
from operator import or_
from types import FunctionType
from typing import Any, Literal, Protocol, cast, get_args, runtime_checkable

import torch
from torch import Tensor, nn

from tutelage.coarse import CoarseLogits
from tutelage.errors import ArgumentError
from tutelage.positions import flatten_rows, labels_by_row
from tutelage.schedules import Constant, Product, Schedule, weight_schedule
from tutelage.signals import Batch, Signals
from tutelage.wants import Wants

# Names in a run's logs that are not those of terms.
_RESERVED = {"epoch", "kind", "loss", "lr", "seconds", "step"}

OutputKind = Literal["classes", "binary", "values"]
"""What an output holds: class logits (softmax), a logit for each binary label (sigmoid), or values.

An embedding is of values.
"""


class Objective(nn.Module):
    """Base class for objectives, which return one loss per example.

    A subclass sets `wants` and implements `forward`. Weights and sums work for every objective:

    >>> from tutelage.objectives import HardLabels, SoftTargets
    >>> 0.1 * HardLabels() + 0.9 * SoftTargets(temperature=4)
    0.1 * HardLabels() + 0.9 * SoftTargets(temperature=4)

    Weights are not normalised; a weight may be a schedule. An objective that wants labels is
    averaged over the labelled examples, any other over all examples.

    Objectives on outputs, and their sums, can be called with tensors in a loop of your own. They
    return one value per example, 0 where a label is missing:

    >>> import torch
    >>> SoftTargets(2)(torch.zeros(1, 2), torch.tensor([[2.0, 0.0]]))
    tensor([0.4438])
    >>> HardLabels()(torch.zeros(2, 4), labels=torch.tensor([1, -100]))
    tensor([1.3863, 0.0000])
    """

    wants: Wants
    """Which outputs and features `forward` reads of each side, and whether it reads labels."""

    built: bool = True
    """Whether parts that depend on shapes, such as projectors, exist; set by `build`."""

    output_kind: OutputKind | None = "classes"
    """What the student's output holds: `"classes"`, `"binary"` or `"values"`, see `OutputKind`.

    Evaluation and reports read outputs accordingly. None where the objective does not depend on it.
    """

    reads_mixtures: bool = False
    """Whether `forward` reads both labels of mixed examples (`batch.mixture`); see `Mixup`."""

    relates_examples: bool = False
    """Whether `forward` compares examples, so that a batch of one has no loss."""

    rowwise: bool = False
    """Whether a row's value depends on its outputs and label alone, and on no parameters.

    Such an objective can be computed for some rows at a time, from `HeadLogits`.
    """

    in_parts: bool = False
    """Whether `row_parts` and `joined` compute it from `HeadLogits`.

    Its rows depend on each other, its parts do not.
    """

    weight_by_rows: bool = False
    """Whether examples weigh by the number of their rows; see `RowMean`."""

    def __init_subclass__(cls) -> None:
        """Refuse another `output_kind`, which would be read as class logits in silence."""
        super().__init_subclass__()
        kind = cls.__dict__.get("output_kind")
        if isinstance(kind, str) and kind not in get_args(OutputKind):
            raise ArgumentError(
                f"`output_kind` of {cls.__name__} must be one of {list(get_args(OutputKind))} or "
                f"None, got {kind!r}; choose what its output holds"
            )

    def build(self, student: Signals, teacher: Signals) -> None:
        """Create parts that depend on shapes, from one batch's signals, before training.

        Parameters that are created here are trained with the student but are not part of it.
        """

    @abstractmethod
    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Tensor:
        """Return `[batch]`: one value per example; any finite one for an unlabelled example."""

    def __call__(  # pyright: ignore[reportIncompatibleVariableOverride] - `Any` in nn.Module
        self,
        student: Signals | Tensor,
        teacher: Signals | Tensor | CoarseLogits | None = None,
        labels: Batch | Tensor | None = None,
        *,
        row_mask: Tensor | None = None,
        progress: float = 0.0,
    ) -> Tensor:
        """Return `[batch]`, of tensors, or of the signals of both sides and their batch.

        Args:
            student: The student's output, `[batch, …]`, or its signals.
            teacher: The teacher's, where the objective learns from one.
            labels: Labels, where it learns from them; with signals the batch.
            row_mask: Which positions of an output of tokens or pixels count, `[batch, …]` of bool;
                None for all, or those with labels. A value is the mean over an example's positions.
            progress: Fraction of training that is done, for schedules.

        Raises:
            ArgumentError: Tensors are given to an objective on layers, or one is missing.
        """
        if isinstance(student, Signals):
            return super().__call__(student, teacher, labels)
        batch = Batch(student, labels, progress=progress, row_mask=row_mask)
        targets = teacher if isinstance(teacher, Signals) else Signals(teacher)
        ours = flatten_rows(Signals(student), batch, "student")
        theirs = flatten_rows(targets, batch, "teacher")
        values = [
            term.objective._of_tensors(ours, theirs, batch) * term.weight(progress)  # noqa: SLF001
            for term in self.terms()
        ]
        return torch.stack(values).sum(dim=0)

    def _of_tensors(self, student: Signals, teacher: Signals, batch: Batch) -> Tensor:
        """Return the values of examples, `[batch]`, from outputs by row."""
        wants = self.wants
        if wants.student.features or wants.student.loss is not None:
            raise ArgumentError(
                f"{self} reads layers or a loss of the student, got tensors; use it in a "
                "tl.Distiller, or call its formula, such as tl.objectives.feature_match"
            )
        if wants.teacher and teacher.output is None:
            raise ArgumentError(f"{self} learns from a teacher, got none; pass its outputs second")
        if wants.labels and batch.labels is None:
            raise ArgumentError(
                f"{self} learns from labels, got none; call objective(student, teacher, labels), "
                "or objective(student, labels=labels)"
            )
        batch = labels_by_row(batch, student.rows)
        values = super().__call__(student, teacher, batch)
        if student.rows is None:
            return values
        return student.rows.mean(values, batch.labelled() if wants.labels else None)

    def row_parts(self, student: Signals, teacher: Signals) -> tuple[Objective, ...]:
        """Return the objectives, each `rowwise`, from whose values `joined` makes its own.

        One that is `rowwise` is its own only part.
        """
        return (self,)

    def joined(self, values: Sequence[Tensor], teacher: Signals, batch: Batch) -> Tensor:
        """Return `[rows]` from the values of each of the `row_parts`, `[rows]`.

        It must be linear in all of these but the first.
        """
        return values[0]

    def prediction(self, output: Tensor) -> Tensor:
        """Return the part of the student's output that is compared with labels: all of it."""
        return output

    def terms(self) -> tuple[Term, ...]:
        """Return the terms: the objective itself, with weight 1."""
        return (Term(term_name(type(self).__name__), Constant(1.0), self),)

    def __mul__(self, weight: float | Schedule) -> WeightedSum:
        """Weigh the objective by a number or a schedule of zero or more."""
        return WeightedSum([(weight, self)])

    __rmul__ = __mul__

    def __add__(self, other: Objective) -> WeightedSum:
        """Join two objectives into a weighted sum."""
        if not isinstance(other, Objective):
            return NotImplemented
        return WeightedSum([(1.0, self), (1.0, other)])

    def __radd__(self, other: object) -> Objective:
        """Let `sum` begin with its 0."""
        return self if other == 0 else NotImplemented

    def extra_repr(self) -> str:
        """Show the arguments of `__init__`, but no defaults that are off."""
        arguments = signature(type(self)).parameters.values()
        values = ((each, getattr(self, each.name, None)) for each in arguments)
        return ", ".join(filter(None, (_shown(each, value) for each, value in values)))

    def __repr__(self) -> str:
        text = f"{type(self).__name__}({self.extra_repr()})"
        return f"RowMean({text})" if self.weight_by_rows else text


@runtime_checkable
class ValidationFeedback(Protocol):
    """Further methods of an objective that adapts to validation results.

    A run with such an objective must have validation data. See `examples/selective.py`.
    """

    def validation_metrics(
        self, student: Signals, teacher: Signals, batch: Batch
    ) -> dict[str, float]:
        """Return the objective's own metrics on all validation data, by name.

        Outputs are of all examples, on the CPU, without features; the batch has no inputs.
        """
        ...

    def update(self, metrics: Mapping[str, float]) -> None:
        """Adapt to an epoch's validation metrics, which include the objective's own."""
        ...


@dataclass(frozen=True, slots=True)
class Term:
    """One term of a weighted sum, under its name in the logs, such as `soft_targets`."""

    name: str
    weight: Schedule
    objective: Objective

    @property
    def is_off(self) -> bool:
        """Whether the weight is 0 throughout: the term is logged, and need not train anything."""
        return isinstance(self.weight, Constant) and self.weight.value == 0


class WeightedSum(Objective):
    """Σ_k w_k · objective_k; made by `*` and `+`, and flat: a sum in a sum becomes its terms.

    Args:
        weighted: Pairs of weight (a number or a schedule, zero or more) and objective.

    Raises:
        ArgumentError: A weight is negative or not finite, there is no objective, or one reads class
            logits and another logits of binary labels.
    """

    def __init__(self, weighted: list[tuple[float | Schedule, Objective]]) -> None:
        super().__init__()
        if not weighted:
            raise ArgumentError("a weighted sum must have at least one objective, got none")
        flat = [
            (_times(weight_schedule(weight), term.weight), term.objective)
            for weight, objective in weighted
            for term in objective.terms()
        ]
        self.weights = tuple(weight for weight, _ in flat)
        self.objectives = nn.ModuleList(objective for _, objective in flat)
        _check_kinds(self.terms())

    @property
    def wants(self) -> Wants:  # pyright: ignore[reportIncompatibleVariableOverride] - computed
        """The union of the terms' `wants`."""
        return reduce(or_, (term.objective.wants for term in self.terms()))

    @property
    def output_kind(self) -> OutputKind | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """What the terms read: values only where none reads logits as such."""
        found = {term.objective.output_kind for term in self.terms()}
        kinds: tuple[OutputKind, ...] = ("classes", "binary", "values")
        return next((kind for kind in kinds if kind in found), None)

    @property
    def built(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride] - computed
        """Whether all terms are built."""
        return all(term.objective.built for term in self.terms())

    def build(self, student: Signals, teacher: Signals) -> None:
        """Build the terms that are not built."""
        for term in self.terms():
            if not term.objective.built:
                term.objective.build(student, teacher)

    def prediction(self, output: Tensor) -> Tensor:
        """Return the prediction as the first term reads it that reads the student's output."""
        objectives = [term.objective for term in self.terms()]
        reading = [each for each in objectives if each.wants.student.output]
        return (reading or objectives)[0].prediction(output)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile each term, with the arguments of `torch.compile`: they are called one by one."""
        for term in self.terms():
            term.objective.compile(*args, **kwargs)

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Tensor:
        """Return the weighted sum of the terms' values, `[batch]`."""
        values = [
            cast("Tensor", objective(student, teacher, batch)) * weight(batch.progress)
            for weight, objective in zip(self.weights, self.objectives, strict=True)
        ]
        return torch.stack(values).sum(dim=0)

    def terms(self) -> tuple[Term, ...]:
        """Return the terms; a repeated name gets a number: `soft_targets_2`."""
        objectives = [cast("Objective", each) for each in self.objectives]
        names = _unique([each.terms()[0].name for each in objectives])
        return tuple(map(Term, names, self.weights, objectives))

    def __repr__(self) -> str:
        return " + ".join(f"{term.weight} * {term.objective}" for term in self.terms())


class RowMean(WeightedSum):
    """An objective on outputs whose loss is the mean over all rows of a step, Σ_rows ℓ / rows.

    Without it, a row counts by 1/n of an example with n rows, so that long and short examples weigh
    the same. With it, every token (pixel, anchor) weighs the same: examples weigh by the number of
    their rows, for objectives on labels by those with a label. The mean is over a whole optimizer
    step, also where gradients are accumulated or the step is shared by several processes.

    A batch must tell which rows it has: by labels of positions, a `row_mask` or an attention mask.

    Args:
        objective: One on outputs, or a sum of such.

    Raises:
        ArgumentError: `objective` compares layers, has a loss of the student's own, or compares
            the examples of a batch.

    >>> from tutelage.objectives import HardLabels, SoftTargets
    >>> RowMean(0.1 * HardLabels() + 0.9 * SoftTargets(2))
    0.1 * RowMean(HardLabels()) + 0.9 * RowMean(SoftTargets(temperature=2))
    """

    def __init__(self, objective: Objective) -> None:
        weighted = []
        for term in objective.terms():
            if term.objective.relates_examples or not term.objective.wants.student.output:
                raise ArgumentError(
                    f"`objective` must have a value for each row of the output, got "
                    f"{term.objective}; add it outside: tl.RowMean(tl.SoftTargets(4)) + "
                    "tl.FeatureMatch(...)"
                )
            each = copy.copy(term.objective)  # with the same parameters
            each.weight_by_rows = True
            if term.objective._compiled_call_impl:  # noqa: SLF001 - a copy leaves it out
                each.compile()
            weighted.append((term.weight, each))
        super().__init__(weighted)
        self._of_one = not isinstance(objective, WeightedSum)

    def __repr__(self) -> str:
        return repr(self.terms()[0].objective) if self._of_one else super().__repr__()


def with_feedback(objective: Objective) -> list[ValidationFeedback]:
    """Return the terms that adapt to validation results."""
    terms = (term.objective for term in objective.terms())
    return [each for each in terms if isinstance(each, ValidationFeedback)]


def _check_kinds(terms: tuple[Term, ...]) -> None:
    """Refuse a softmax and sigmoids over the same logits."""
    by_kind = {term.objective.output_kind: term.objective for term in terms}
    if "classes" in by_kind and "binary" in by_kind:
        raise ArgumentError(
            "terms of a sum must read the output alike, got class logits in "
            f"{by_kind['classes']} and logits of binary labels in {by_kind['binary']}; for binary "
            "labels use BinaryLabels and BinaryTargets, and in an objective of your own that fits "
            'both set `output_kind` to "binary" or None'
        )


def _times(first: Schedule, second: Schedule) -> Schedule:
    """Multiply two weights; the product of constants is a constant."""
    for one, other in ((first, second), (second, first)):
        if isinstance(one, Constant) and (one.value == 1.0 or isinstance(other, Constant)):
            return other if one.value == 1.0 else Constant(one.value * other(0.0))
    return Product(first, second)


def _shown(argument: Parameter, value: object) -> str:
    """Return an argument as text; empty if it is off, or has no short text, such as a module."""
    name = argument.name
    if isinstance(value, (dict, Objective)):
        return repr(value)
    if isinstance(value, FunctionType):
        return f"{name}={value.__name__}"
    if not isinstance(value, (str, int, float, tuple, Schedule)):  # arrays compare by element
        return ""
    if value == argument.default and (not value or isinstance(value, bool)):
        return ""
    return f"{name}={f'{value:g}' if isinstance(value, float) else repr(value)}"


def term_name(class_name: str) -> str:
    """Return a class's name in snake case, acronyms unsplit, other than the logs' own names.

    >>> [term_name(each) for each in ("HardLabels", "DKD", "VkD", "MiniLMv2", "Loss")]
    ['hard_labels', 'dkd', 'vkd', 'minilmv2', 'loss_term']
    """
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z][a-z])", "_", class_name).lower()
    return f"{name}_term" if name in _RESERVED else name


def _unique(names: list[str]) -> list[str]:
    """Number the repeated names; a sum within a sum may have numbered some already."""
    unique: list[str] = []
    for name in names:
        numbered = chain([name], (f"{name}_{number}" for number in count(2)))
        unique.append(next(each for each in numbered if each not in unique))
    return unique
