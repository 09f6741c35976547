"""Learn the teacher's logits up to their level and scale."""

from torch import Tensor

from tutelage.losses import logit_standardization
from tutelage.objectives._objective import Objective
from tutelage.schedules import Schedule, positive_schedule
from tutelage.signals import OUTPUT, Batch, Signals, Wants


class LogitStandardization(Objective):
    """Soft targets on logits of mean 0 and standard deviation 1 in each row.

    Formula and source: `tutelage.losses.logit_standardization`. The authors give it weight 9 beside
    0.1 for the labels. It leaves the scale of the student's logits open: recalibrate before its
    probabilities are used.

    Args:
        temperature: T > 0 in standard deviations, a number or a schedule over training.

    Shape:
        Student and teacher output `[batch, classes]`.

    Raises:
        ArgumentError: `temperature` is not positive and finite.
    """

    wants = Wants(student=OUTPUT, teacher=OUTPUT)

    def __init__(self, temperature: float | Schedule = 2.0) -> None:
        super().__init__()
        advice = "it counts in standard deviations of the logits; 2 is usual"
        self.temperature = positive_schedule("temperature", temperature, advice)

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Tensor:
        """Return the divergences, `[batch]`."""
        temperature = self.temperature(batch.progress)
        return logit_standardization(student.wanted_output(), teacher.wanted_output(), temperature)

    def extra_repr(self) -> str:
        """Show the temperature."""
        return f"temperature={self.temperature}"
