"""Class similarities: the probabilities of wrong classes, compared between two models.

A label only names the class 1; a teacher's probabilities also show that this 1 resembles a 7 more
than a 4. This is what a student can learn beyond the labels ("dark knowledge").
"""

import torch
from torch import Tensor

from tutelage._checks import positive
from tutelage.errors import ArgumentError
from tutelage.evaluation._labelled import labelled

_LEAST_ENTRIES = 2


def class_similarity(output: Tensor, labels: Tensor, temperature: float = 1.0) -> Tensor:
    """Return S with S_{kj} the mean of softmax(z/T)_j over the examples of true class k.

    Source: Hinton, Vinyals and Dean 2015, https://arxiv.org/abs/1503.02531.

    Args:
        output: Logits z, `[examples, classes]`, finite.
        labels: Class ids, `[examples]`; −100 is left out.
        temperature: T > 0. Higher values emphasize the small probabilities.

    Returns:
        `[classes, classes]` of float64: each row sums to 1; the row of a class without examples is
        NaN.

    Raises:
        TutelageError: As `negative_log_likelihood`, or `temperature` is not positive.

    >>> class_similarity(torch.tensor([[0.75, 0.25], [0.25, 0.75]]).log(), torch.tensor([0, 0]))
    tensor([[0.5000, 0.5000],
            [   nan,    nan]], dtype=torch.float64)
    """
    positive("temperature", temperature, "4 emphasizes the small probabilities")
    logits, ids = labelled(output, labels)
    soft = (logits / temperature).softmax(dim=1)
    classes = soft.shape[1]
    total = soft.new_zeros(classes, classes).index_add_(0, ids, soft)
    return total / ids.bincount(minlength=classes)[:, None]


def similarity_correlation(student: Tensor, teacher: Tensor) -> float:
    """Pearson's r of the off-diagonal entries of two similarity matrices, in [−1, 1].

    The diagonal is left out: it only contains the confidence in the true class.

    Args:
        student: The student's `class_similarity`, `[classes, classes]`; NaN is left out.
        teacher: The teacher's, for the same examples and temperature.

    Returns:
        r; NaN if all entries of one matrix are equal, where r is not defined.

    Raises:
        ArgumentError: The two are not square and of one shape, or fewer than two entries are left.

    >>> teacher = torch.tensor([[0.7, 0.2, 0.1], [0.3, 0.6, 0.1], [0.1, 0.1, 0.8]])
    >>> round(similarity_correlation(teacher**2, teacher), 3)
    0.993
    """
    if student.shape != teacher.shape or student.shape != (len(student), len(student)):
        raise ArgumentError(
            "`student` and `teacher` must both be [classes, classes], got "
            f"{list(student.shape)} and {list(teacher.shape)}; give the class_similarity of each"
        )
    diagonal = torch.eye(len(student), dtype=torch.bool, device=student.device)
    known = ~(student.isnan() | teacher.isnan() | diagonal)
    if known.sum() < _LEAST_ENTRIES:
        raise ArgumentError(
            f"at least {_LEAST_ENTRIES} off-diagonal entries must be known in both, got "
            f"{int(known.sum())}; give examples of more classes"
        )
    entries = torch.stack([student[known], teacher[known]]).double()
    if (entries == entries[:, :1]).all(dim=1).any():
        return torch.nan
    return torch.corrcoef(entries)[0, 1].item()
