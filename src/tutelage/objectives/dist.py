"""Learn how the teacher ranks classes and examples, whatever the scale."""

from torch import Tensor

from tutelage._checks import not_negative
from tutelage.losses import dist
from tutelage.objectives._objective import Objective
from tutelage.schedules import Schedule, positive_schedule
from tutelage.signals import OUTPUT, Batch, Signals, Wants


class DIST(Objective):
    """1 − Pearson's correlation of probabilities, along the classes and along the batch.

    Formula and source: `tutelage.losses.dist`. The second part depends on the batch
    as a whole (on each process, its own examples) and is the same for all its examples; a small
    batch tells little.

    Args:
        beta: β ≥ 0, the weight of the rows (relations between classes).
        gamma: γ ≥ 0, the weight of the columns (relations within a class).
        temperature: T > 0, a number or a schedule over training. For CIFAR the authors take T = 4
            and β = γ = 2.

    Shape:
        Student and teacher output `[batch, classes]`.

    Raises:
        ArgumentError: A weight is negative or not finite, or `temperature` is not positive.
    """

    wants = Wants(student=OUTPUT, teacher=OUTPUT)

    def __init__(
        self, beta: float = 1.0, gamma: float = 1.0, temperature: float | Schedule = 1.0
    ) -> None:
        super().__init__()
        self.beta = not_negative("beta", beta, "it weighs the relations between classes")
        self.gamma = not_negative("gamma", gamma, "it weighs the relations within a class")
        advice = "1 takes the probabilities as they are, higher values soften them"
        self.temperature = positive_schedule("temperature", temperature, advice)

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Tensor:
        """Return what is lacking in correlation, `[batch]`."""
        return dist(
            student.wanted_output(),
            teacher.wanted_output(),
            self.beta,
            self.gamma,
            self.temperature(batch.progress),
        )

    def extra_repr(self) -> str:
        """Show the weights and the temperature."""
        return f"beta={self.beta:g}, gamma={self.gamma:g}, temperature={self.temperature}"
