"""Learn from a teacher of another kind: the true class enhanced, the others faded."""

from torch import Tensor

from tutelage._checks import finite_number
from tutelage.errors import ArgumentError
from tutelage.losses import ofa
from tutelage.objectives._objective import Objective, labels_of
from tutelage.signals import OUTPUT, Batch, Signals, Wants


class OFA(Objective):
    """Soft cross-entropy with the true class enhanced where the teacher is sure of it.

    Formula and source: `tutelage.losses.ofa`, here on the models' outputs.
    Averaged over the labelled examples.

    Args:
        epsilon: ε ≥ 1, how strongly the true class is enhanced, usually 1 to 1.5. At 1 this is
            the plain cross-entropy with the teacher's probabilities.

    Shape:
        Student and teacher output `[batch, classes]`; labels `[batch]`, integers, −100 for none.

    Raises:
        ArgumentError: `epsilon` is below 1 or not finite.
    """

    wants = Wants(student=OUTPUT, teacher=OUTPUT, labels=True)

    def __init__(self, epsilon: float = 1.5) -> None:
        super().__init__()
        advice = "1 is the plain cross-entropy with the teacher, higher values enhance the labels"
        self.epsilon = finite_number("epsilon", epsilon, advice)
        if self.epsilon < 1:
            raise ArgumentError(f"`epsilon` must be at least 1, got {self.epsilon}; {advice}")

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Tensor:
        """Return the cross-entropies, `[batch]`."""
        return ofa(student.wanted_output(), teacher.wanted_output(), labels_of(batch), self.epsilon)

    def extra_repr(self) -> str:
        """Show the exponent."""
        return f"epsilon={self.epsilon:g}"
