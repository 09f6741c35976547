"""What objectives share that stand around another one, such as `Selective`."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from tutelage.errors import ArgumentError
from tutelage.objectives._objective import Objective, Term, WeightedSum
from tutelage.schedules import Constant
from tutelage.signals import Batch, Signals


class Around(Objective):
    """An objective around another: what a subclass does not override is asked of the other.

    A subclass writes `forward`.

    Args:
        objective: The other; one, and no sum.

    Raises:
        ArgumentError: `objective` is none, or a sum.
    """

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        if not isinstance(objective, Objective) or isinstance(objective, WeightedSum):
            raise ArgumentError(
                f"`objective` must be one Objective, without a weight, got {objective!r}; write "
                f"0.9 * tl.{type(self).__name__}(tl.SoftTargets(4))"
            )
        self.objective = objective
        self.wants = objective.wants
        self.predicts_values = objective.predicts_values
        self.reads_mixtures = objective.reads_mixtures
        self.needs_validation = objective.needs_validation

    @property
    def built(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride] - computed
        """Whether the objective is."""
        return self.objective.built

    def build(self, student: Signals, teacher: Signals) -> None:
        """Build the objective."""
        self.objective.build(student, teacher)

    def prediction(self, output: Tensor) -> Tensor:
        """Return what the objective takes for the answer."""
        return self.objective.prediction(output)

    def counted(self, batch: Batch) -> Tensor | None:
        """Return which examples the objective counts."""
        return self.objective.counted(batch)

    def review(self, student: Signals, teacher: Signals, batch: Batch) -> dict[str, float]:
        """Return the objective's figures."""
        return self.objective.review(student, teacher, batch)

    def heed(self, figures: Mapping[str, float]) -> None:
        """Let the objective take note."""
        self.objective.heed(figures)

    def terms(self) -> tuple[Term, ...]:
        """Return itself, under the objective's name."""
        return (Term(self.objective.terms()[0].name, Constant(1.0), self),)

    def extra_repr(self) -> str:
        """Show the objective."""
        return repr(self.objective)
