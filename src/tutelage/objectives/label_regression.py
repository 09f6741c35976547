"""Learn the true values."""

from torch import Tensor

from tutelage.losses.regression import regression_to_labels
from tutelage.objectives._huber import HuberOption
from tutelage.objectives._objective import labels_of
from tutelage.signals import OUTPUT, Batch, Signals, Wants


class LabelRegression(HuberOption):
    """Squared or Huber error to the true values, averaged over the labelled examples.

    Formula and source: `tutelage.losses.regression`.

    Args:
        huber_delta: δ > 0 of the Huber error, in the label's unit; None for the squared error.

    Shape:
        Student output `[batch, outputs]`; labels the same or `[batch]`, NaN for unknown.

    Raises:
        ArgumentError: `huber_delta` is not positive and finite.
    """

    wants = Wants(student=OUTPUT, labels=True)

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Tensor:
        """Return the errors, `[batch]`."""
        return regression_to_labels(student.wanted_output(), labels_of(batch), self.huber_delta)
