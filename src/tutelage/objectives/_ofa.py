"""One-for-all distillation (OFA)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage._checks import finite_number
from tutelage.errors import ArgumentError
from tutelage.objectives._formula import OutputObjective
from tutelage.objectives._hard_labels import columns_of
from tutelage.objectives._tensors import at_least_float32, same_classes


def ofa(student: Tensor, teacher: Tensor, labels: Tensor, epsilon: float = 1.5) -> Tensor:
    """−Σ_i ((p_i + 1[i=y])^ε − 1[i=y]) log q_i, the probabilities at temperature 1.

    For teacher and student of different architectures, such as a transformer and a convolutional
    network, whose small probabilities have less in common: with ε > 1 the weight of the true class
    is higher than p_y, up to 2^ε − 1, and that of the others lower than p_i. At ε = 1 this is the
    cross-entropy −Σ p_i log q_i. The minimum is at q = the target divided by its sum, which for
    ε > 1 is not the teacher's p. This is the form of the authors' code.

    Args:
        student: Student logits z, `[batch, classes]`.
        teacher: Teacher logits v, `[batch, classes]`.
        labels: Class ids from 0 to classes − 1, `[batch]`, integers; −100 means no label.
        epsilon: ε ≥ 1, how strongly the true class is enhanced.

    Returns:
        `[batch]`, in nats, zero or more; 0 where there is no label.

    >>> import torch
    >>> even, label = torch.zeros(1, 2), torch.tensor([0])
    >>> ofa(even, even, label, epsilon=2.0)  # (1.5² − 1 + 0.5²) · log 2
    tensor([1.0397])
    """
    same_classes(student, teacher)
    columns, known = columns_of(student, labels)
    log_q = F.log_softmax(at_least_float32(student), dim=1)
    log_p = F.log_softmax(at_least_float32(teacher), dim=1)
    # (1 + p)^ε − 1, exact for small p.
    true = (log_p.gather(1, columns).exp().log1p() * epsilon).expm1()
    target = (log_p * epsilon).exp().scatter(1, columns, true)
    # A class that the teacher rules out counts for nothing, also where log q is −∞.
    terms = (target * log_q).masked_fill(target == 0, 0)
    return torch.where(known, -terms.sum(dim=1), 0.0)


class OFA(OutputObjective):
    """One-for-all distillation: soft cross-entropy that enhances the true class.

    Hao, Guo, Han, Tang, Hu, Wang and Xu 2023, "One-for-All: Bridge the Gap Between Heterogeneous
    Architectures in Knowledge Distillation", https://arxiv.org/abs/2310.19444. Formula:
    `tutelage.objectives.ofa`, here on the models' outputs, averaged over the labelled examples.

    Args:
        epsilon: ε ≥ 1, how strongly the true class is enhanced, usually 1 to 1.5. At 1 this is
            the plain cross-entropy with the teacher's probabilities.
    """

    formula = staticmethod(ofa)

    def __init__(self, epsilon: float = 1.5) -> None:
        super().__init__()
        advice = "1 is the plain cross-entropy with the teacher, higher values enhance the labels"
        self.epsilon = finite_number("epsilon", epsilon, advice)
        if self.epsilon < 1:
            raise ArgumentError(f"`epsilon` must be at least 1, got {self.epsilon}; {advice}")
