"""Learn the teacher's values and how sure it is of them."""

from torch import Tensor

from tutelage.losses import gaussian_regression
from tutelage.objectives._objective import Objective
from tutelage.signals import OUTPUT, Batch, Signals, Wants


class GaussianRegression(Objective):
    """KL between the normal distributions that teacher and student predict.

    Formula: `tutelage.losses.gaussian_regression`.

    Shape:
        Student and teacher output `[batch, 2·outputs]`: means, then logarithms of variances.
    """

    wants = Wants(student=OUTPUT, teacher=OUTPUT)
    predicts_values = True

    def prediction(self, output: Tensor) -> Tensor:
        """Return the means, `[batch, outputs]`."""
        return output.chunk(2, dim=1)[0]

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Tensor:
        """Return the divergences, `[batch]`."""
        return gaussian_regression(student.wanted_output(), teacher.wanted_output())
