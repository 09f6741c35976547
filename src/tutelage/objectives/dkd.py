"""Learn how sure the teacher is of the true class, and how it shares the rest."""

from torch import Tensor

from tutelage._checks import not_negative
from tutelage.losses import dkd
from tutelage.objectives._objective import Objective, labels_of
from tutelage.schedules import Schedule, positive_schedule
from tutelage.signals import OUTPUT, Batch, Signals, Wants


class DKD(Objective):
    """Soft targets in two parts with weights of their own: the true class, and the others.

    Formula and source: `tutelage.losses.dkd`. Averaged over the labelled examples.

    The authors let its weight rise over the first 20 epochs, which keeps a large β from
    disturbing a fresh student. Write that as a schedule, here for 20 of 240 epochs:

    >>> from tutelage.objectives import HardLabels
    >>> from tutelage.schedules import Linear
    >>> warm_up = Linear(0, 1, until=20 / 240)
    >>> HardLabels() + warm_up * DKD()
    1 * HardLabels() + Linear(0, 1, 0, 0.0833333) * DKD(alpha=1, beta=8, temperature=4)

    Args:
        alpha: α ≥ 0, the weight of the true class against the rest.
        beta: β ≥ 0, the weight of the other classes among themselves.
        temperature: T > 0, a number or a schedule over training.

    Shape:
        Student and teacher output `[batch, classes]`, two classes or more; labels `[batch]`,
        integers, −100 for none.

    Raises:
        ArgumentError: A weight is negative or not finite, or `temperature` is not positive.
    """

    wants = Wants(student=OUTPUT, teacher=OUTPUT, labels=True)

    def __init__(
        self, alpha: float = 1.0, beta: float = 8.0, temperature: float | Schedule = 4.0
    ) -> None:
        super().__init__()
        self.alpha = not_negative("alpha", alpha, "it weighs the true class; 1 is usual")
        self.beta = not_negative("beta", beta, "it weighs the other classes; 1 to 8 is usual")
        advice = "1 takes the probabilities as they are, 2 to 20 softens them"
        self.temperature = positive_schedule("temperature", temperature, advice)

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Tensor:
        """Return the weighted divergences, `[batch]`."""
        return dkd(
            student.wanted_output(),
            teacher.wanted_output(),
            labels_of(batch),
            self.alpha,
            self.beta,
            self.temperature(batch.progress),
        )

    def extra_repr(self) -> str:
        """Show the weights and the temperature."""
        return f"alpha={self.alpha:g}, beta={self.beta:g}, temperature={self.temperature}"
