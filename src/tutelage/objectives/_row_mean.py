"""The mean over rows in place of that over examples."""

from __future__ import annotations

import copy

from tutelage.errors import ArgumentError
from tutelage.objectives._objective import Objective, WeightedSum


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
        ArgumentError: `objective` is none, compares layers, has a loss of the student's own, or
            compares the examples of a batch.

    >>> from tutelage.objectives import HardLabels, SoftTargets
    >>> RowMean(0.1 * HardLabels() + 0.9 * SoftTargets(2))
    0.1 * RowMean(HardLabels()) + 0.9 * RowMean(SoftTargets(temperature=2))
    """

    def __init__(self, objective: Objective) -> None:
        if not isinstance(objective, Objective):
            raise ArgumentError(
                f"`objective` must be an Objective, got {objective!r}; write "
                "tl.RowMean(tl.SoftTargets(4))"
            )
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
            weighted.append((term.weight, each))
        super().__init__(weighted)
        self._of_one = not isinstance(objective, WeightedSum)

    def __repr__(self) -> str:
        return repr(self.terms()[0].objective) if self._of_one else super().__repr__()
