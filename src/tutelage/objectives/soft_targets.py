"""Learn the teacher's softened probabilities."""

from torch import Tensor

from tutelage.coarse import CoarseLogits
from tutelage.losses import coarse_soft_targets, soft_targets
from tutelage.objectives._objective import Objective
from tutelage.schedules import Schedule, positive_schedule
from tutelage.signals import OUTPUT, Batch, Signals, Wants


class SoftTargets(Objective):
    """T² · KL between the teacher's and the student's probabilities at temperature T.

    Formula and source: `tutelage.losses.soft_targets`; for a teacher that knows some of the classes
    (`CoarseLogits`) `tutelage.losses.coarse_soft_targets`.

    Args:
        temperature: T > 0, a number or a schedule over training. At 1 the student learns the
            teacher's probabilities as they are; the higher T, the more it heeds the small ones.

    Shape:
        Student output `[batch, classes]`; teacher output the same, or `CoarseLogits`.

    Raises:
        ArgumentError: `temperature` is not positive and finite.
    """

    wants = Wants(student=OUTPUT, teacher=OUTPUT)

    def __init__(self, temperature: float | Schedule = 4.0) -> None:
        super().__init__()
        advice = "1 takes the teacher's probabilities as they are, 2 to 20 softens them"
        self.temperature = positive_schedule("temperature", temperature, advice)

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Tensor:
        """Return the divergences, `[batch]`."""
        temperature = self.temperature(batch.progress)
        answer = teacher.wanted_answer()
        if isinstance(answer, CoarseLogits):
            return coarse_soft_targets(student.wanted_output(), answer, temperature)
        return soft_targets(student.wanted_output(), answer, temperature)

    def extra_repr(self) -> str:
        """Show the temperature."""
        return f"temperature={self.temperature}"
