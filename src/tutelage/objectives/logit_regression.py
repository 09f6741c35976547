"""Learn the teacher's logits themselves."""

from torch import Tensor

from tutelage.losses import logit_regression
from tutelage.objectives._objective import Objective
from tutelage.signals import OUTPUT, Batch, Signals, Wants


class LogitRegression(Objective):
    """½‖c(z) − c(v)‖²/N: soft targets in the limit of infinite temperature.

    Formula and source: `tutelage.losses.logit_regression`.

    Args:
        center: Whether c subtracts each row's mean, which probabilities do not depend on.

    Shape:
        Student and teacher output `[batch, classes]`.
    """

    wants = Wants(student=OUTPUT, teacher=OUTPUT)

    def __init__(self, center: bool = True) -> None:
        super().__init__()
        self.center = center

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Tensor:
        """Return the squared distances, `[batch]`."""
        return logit_regression(student.wanted_output(), teacher.wanted_output(), self.center)

    def extra_repr(self) -> str:
        """Show the centring where it is off."""
        return "" if self.center else "center=False"
