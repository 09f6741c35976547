"""Learn the true class as far as the teacher has it, and the others among themselves."""

from torch import Tensor

from tutelage._checks import not_negative
from tutelage.losses import nkd
from tutelage.objectives._objective import Objective, labels_of
from tutelage.schedules import Schedule, positive_schedule
from tutelage.signals import OUTPUT, Batch, Signals, Wants


class NKD(Objective):
    """Cross-entropy with the true class weighed by the teacher's p_y, and with the other classes.

    Formula and source: `tutelage.losses.nkd`. Averaged over the labelled examples.

    Args:
        gamma: γ ≥ 0, the weight of the other classes.
        temperature: T > 0 of the other classes, a number or a schedule over training.

    Shape:
        Student and teacher output `[batch, classes]`, two classes or more; labels `[batch]`,
        integers, −100 for none.

    Raises:
        ArgumentError: `gamma` is negative or not finite, or `temperature` is not positive.
    """

    wants = Wants(student=OUTPUT, teacher=OUTPUT, labels=True)

    def __init__(self, gamma: float = 1.5, temperature: float | Schedule = 1.0) -> None:
        super().__init__()
        self.gamma = not_negative("gamma", gamma, "it weighs the other classes; 1.5 is usual")
        advice = "1 takes the probabilities as they are, higher values soften them"
        self.temperature = positive_schedule("temperature", temperature, advice)

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Tensor:
        """Return the cross-entropies, `[batch]`."""
        return nkd(
            student.wanted_output(),
            teacher.wanted_output(),
            labels_of(batch),
            self.gamma,
            self.temperature(batch.progress),
        )

    def extra_repr(self) -> str:
        """Show the weight and the temperature."""
        return f"gamma={self.gamma:g}, temperature={self.temperature}"
