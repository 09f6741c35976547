"""Learn the true values until the teacher is beaten."""

from torch import Tensor

from tutelage._checks import not_negative
from tutelage.losses import bounded_regression
from tutelage.objectives._objective import Objective, labels_of
from tutelage.signals import OUTPUT, Batch, Signals, Wants


class BoundedRegression(Objective):
    """Squared error to the labels, counted only where the student does not beat the teacher.

    Formula and source: `tutelage.losses.bounded_regression`.

    Args:
        margin: By how much the student's squared error must lie below the teacher's before it
            stops counting; zero or more, in the label's unit squared.

    Shape:
        Student and teacher output `[batch, outputs]`; labels the same or `[batch]`, NaN for
        unknown.

    Raises:
        ArgumentError: `margin` is negative or not finite.
    """

    wants = Wants(student=OUTPUT, teacher=OUTPUT, labels=True)
    predicts_values = True

    def __init__(self, margin: float = 0.0) -> None:
        super().__init__()
        advice = "0 stops where the student is as good as the teacher"
        self.margin = not_negative("margin", margin, advice)

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Tensor:
        """Return the errors, `[batch]`."""
        return bounded_regression(
            student.wanted_output(), teacher.wanted_output(), labels_of(batch), self.margin
        )

    def extra_repr(self) -> str:
        """Show the margin."""
        return f"margin={self.margin:g}"
