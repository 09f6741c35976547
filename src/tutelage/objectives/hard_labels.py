"""Learn the true classes."""

from torch import Tensor

from tutelage._checks import fraction
from tutelage.losses import hard_labels
from tutelage.objectives._objective import Objective, labels_of
from tutelage.signals import OUTPUT, Batch, Signals, Wants


class HardLabels(Objective):
    """Cross-entropy with the true class, averaged over the labelled examples.

    Formula and source: `tutelage.losses.hard_labels`. An example made of two (`Batch.mixture`)
    costs λ·CE(y) + (1 − λ)·CE(y'), λ being its own share and y' the partner's class (Zhang et al.
    2018, https://arxiv.org/abs/1710.09412); it counts where both classes are known.

    Args:
        smoothing: Share of the target spread evenly over all classes, in [0, 1].

    Shape:
        Student output `[batch, classes]`; labels `[batch]`, integers, −100 for none.

    Raises:
        ArgumentError: `smoothing` is outside [0, 1].
    """

    wants = Wants(student=OUTPUT, labels=True)
    reads_mixtures = True

    def __init__(self, smoothing: float = 0.0) -> None:
        super().__init__()
        self.smoothing = fraction("smoothing", smoothing, "0 leaves the labels as they are")

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Tensor:
        """Return the cross-entropies, `[batch]`."""
        logits = student.wanted_output()
        own = hard_labels(logits, labels_of(batch), self.smoothing)
        if batch.mixture is None:
            return own
        share = batch.mixture.fraction.to(own.dtype)
        partner = hard_labels(logits, batch.mixture.labels, self.smoothing)
        return (share * own + (1 - share) * partner).where(batch.labelled(), 0)

    def extra_repr(self) -> str:
        """Show the smoothing where there is any."""
        return f"smoothing={self.smoothing:g}" if self.smoothing else ""
