"""Cross-entropy with the labels."""

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage._checks import fraction
from tutelage.objectives._labels import check_label_range, check_label_shapes, in_range
from tutelage.objectives._output_objective import OutputObjective
from tutelage.objectives._tensors import at_least_float32
from tutelage.signals import UNLABELLED
from tutelage.wants import OUTPUT, Wants


def hard_labels(student: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy with the true class: −Σ_i y_i log softmax(z)_i, y one-hot or smoothed.

    With smoothing s over N classes, y is (1 − s) + s/N at the true class and s/N at the
    others (Szegedy et al. 2016, https://arxiv.org/abs/1512.00567).

    Args:
        student: Student logits z, `[batch, classes]`.
        labels: Class ids from 0 to classes − 1, `[batch]`, integers; −100 means no label.
        smoothing: s in [0, 1].

    Returns:
        `[batch]`, in nats; 0 where there is no label.

    Raises:
        DataError: The labels have the wrong dtype, shape or range (the range is checked on the
            CPU only).
        ModelError: The logits are not `[batch, classes]`.

    >>> import torch
    >>> hard_labels(torch.zeros(2, 4), torch.tensor([1, -100]))
    tensor([1.3863, 0.0000])
    """
    check_label_shapes(student, labels)
    labels = labels.long()
    if torch.compiler.is_compiling():  # compiled code raises no IndexError
        labels = in_range(labels, student.shape[1])
    try:
        return F.cross_entropy(
            at_least_float32(student),
            labels,
            ignore_index=UNLABELLED,
            reduction="none",
            label_smoothing=smoothing,
        )
    except IndexError:  # PyTorch checks the range on the CPU
        check_label_range(labels, student.shape[1])
        raise


class HardLabels(OutputObjective):
    """Cross-entropy with the true class, averaged over the labelled examples.

    Formula: `tutelage.objectives.hard_labels`. A mixed example (`Batch.mixture`) costs
    λ·CE(y) + (1 − λ)·CE(y'), where λ is its fraction and y' the partner's class; it is valid if
    both classes are known. Zhang, Cisse, Dauphin and Lopez-Paz 2018, "mixup: Beyond Empirical Risk
    Minimization", https://arxiv.org/abs/1710.09412.

    Args:
        smoothing: Fraction of the target spread evenly over all classes, in [0, 1].
    """

    wants = Wants(student=OUTPUT, labels=True)
    formula = staticmethod(hard_labels)
    reads_mixtures = True

    def __init__(self, smoothing: float = 0.0) -> None:
        super().__init__()
        self.smoothing = fraction("smoothing", smoothing, "0 leaves the labels as they are")
