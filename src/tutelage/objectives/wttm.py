"""Learn the teacher's probabilities flattened by a power."""

from torch import Tensor

from tutelage._checks import fraction, positive
from tutelage.losses import wttm
from tutelage.objectives._objective import Objective
from tutelage.signals import OUTPUT, Batch, Signals, Wants


class WTTM(Objective):
    """KL from the teacher's p^γ, renormalised, to the student as it is; unsure examples weigh more.

    Formula and source: `tutelage.losses.wttm`. The authors give it a weight of 4 to
    45 beside 1 for the labels, and choose γ and weight for each pair of models.

    Args:
        gamma: γ in (0, 1], the power of the teacher's probabilities, usually 0.1 to 0.2; it acts
            as the teacher's temperature 1/γ. At 1 the student learns them as they are.

    Shape:
        Student and teacher output `[batch, classes]`.

    Raises:
        ArgumentError: `gamma` is outside (0, 1].
    """

    wants = Wants(student=OUTPUT, teacher=OUTPUT)

    def __init__(self, gamma: float = 0.1) -> None:
        super().__init__()
        advice = "0.1 to 0.2 is usual, 1 takes the teacher's probabilities as they are"
        self.gamma = fraction("gamma", positive("gamma", gamma, advice), advice)

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Tensor:
        """Return the weighted divergences, `[batch]`."""
        return wttm(student.wanted_output(), teacher.wanted_output(), self.gamma)

    def extra_repr(self) -> str:
        """Show the power."""
        return f"gamma={self.gamma:g}"
