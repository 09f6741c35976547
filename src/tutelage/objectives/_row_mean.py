"""The mean over rows in place of that over examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from tutelage.errors import ArgumentError
from tutelage.objectives._objective import Objective, Term, ValidationFeedback
from tutelage.signals import Batch, Signals


class RowMean(Objective):
    """Another objective, whose loss is the mean over all rows of a step, Σ_rows ℓ / number of rows.

    Without it, a row counts by 1/n of an example with n rows, so that long and short examples weigh
    the same. With it, every token (pixel, anchor) weighs the same: examples weigh by the number of
    their rows, for objectives on labels by those with a label. The mean is over a whole optimizer
    step, also where gradients are accumulated or the step is shared by several processes.

    A batch must tell which rows it has: by labels of positions, a `row_mask` or an attention mask.

    Args:
        objective: One on outputs, or a sum of such.

    Raises:
        ArgumentError: `objective` is none, compares layers, has a loss of the student's own, or
            compares the examples of a batch.

    >>> from tutelage.objectives import HardLabels, SoftTargets
    >>> RowMean(0.1 * HardLabels() + 0.9 * SoftTargets(2))
    RowMean(0.1 * HardLabels() + 0.9 * SoftTargets(temperature=2))
    """

    weight_by_rows = True

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        if not isinstance(objective, Objective):
            raise ArgumentError(
                f"`objective` must be an Objective, got {objective!r}; write "
                "tl.RowMean(tl.SoftTargets(4))"
            )
        for term in objective.terms():
            each = term.objective
            if isinstance(each, ValidationFeedback):
                raise ArgumentError(
                    f"`objective` must not adapt to validation results, got {each}; write it "
                    "around: tl.Selective(tl.RowMean(tl.SoftTargets(4)))"
                )
            if each.relates_examples or not each.wants.student.output:
                raise ArgumentError(
                    f"`objective` must have a value for each row of the output, got {each}; add "
                    "it outside: tl.RowMean(tl.SoftTargets(4)) + tl.FeatureMatch(...)"
                )
        self.objective = objective
        self.wants = objective.wants
        self.output_kind = objective.output_kind
        self.reads_mixtures = objective.reads_mixtures
        self.rowwise = objective.rowwise
        self.in_parts = objective.in_parts

    @property
    def built(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride] - computed
        """Whether the objective is built."""
        return self.objective.built

    def build(self, student: Signals, teacher: Signals) -> None:
        """Build the objective."""
        self.objective.build(student, teacher)

    def row_parts(self, student: Signals, teacher: Signals) -> tuple[Objective, ...]:
        """Return the objective's parts."""
        return self.objective.row_parts(student, teacher)

    def joined(self, values: Sequence[Tensor], teacher: Signals, batch: Batch) -> Tensor:
        """Return the objective's values from those of its parts."""
        return self.objective.joined(values, teacher, batch)

    def prediction(self, output: Tensor) -> Tensor:
        """Return the prediction as the objective reads it."""
        return self.objective.prediction(output)

    def terms(self) -> tuple[Term, ...]:
        """Return the objective's terms, each of them by row."""
        return tuple(
            replace(term, objective=self if term.objective is self.objective
                    else RowMean(term.objective))
            for term in self.objective.terms()
        )  # fmt: skip

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Tensor:
        """Return the objective's values, `[rows]`."""
        return self.objective(student, teacher, batch)

    def __repr__(self) -> str:
        return f"RowMean({self.objective})"
