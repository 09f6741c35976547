"""Learn the teacher's values."""

from torch import Tensor

from tutelage.losses import regression
from tutelage.losses._tensors import same_shape
from tutelage.objectives._huber import HuberOption
from tutelage.signals import OUTPUT, Batch, Signals, Wants


class OutputRegression(HuberOption):
    """Squared or Huber error to the teacher's output, averaged over all examples.

    Formula and source: `tutelage.losses.regression`.

    Args:
        huber_delta: δ > 0 of the Huber error, in the output's unit; None for the squared error.

    Shape:
        Student and teacher output `[batch, outputs]`.

    Raises:
        ArgumentError: `huber_delta` is not positive and finite.
    """

    wants = Wants(student=OUTPUT, teacher=OUTPUT)

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Tensor:
        """Return the errors, `[batch]`."""
        output, target = student.wanted_output(), teacher.wanted_output()
        same_shape(output, target, "outputs")
        return regression(output, target, self.huber_delta)
