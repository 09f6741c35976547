"""How far a student's probabilities are from the teacher's."""

import math

from torch import Tensor

from tutelage._checks import positive
from tutelage.evaluation.binary import is_binary, mean_binary_kl
from tutelage.evaluation.evaluate import Outputs
from tutelage.objectives import Objective, soft_targets


def mean_kl(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> float:
    """Mean over the examples of KL(softmax(v/T) ‖ softmax(z/T)), in nats; computed in float64.

    Fidelity differs from accuracy: a student may be right where its teacher is wrong (Stanton et
    al. 2021, https://arxiv.org/abs/2106.05945).

    Args:
        student: Student logits z, `[examples, classes]`.
        teacher: Teacher logits v, `[examples, classes]`.
        temperature: T > 0; 1 compares the probabilities as they are.

    Raises:
        ArgumentError: `temperature` is not positive.
        ModelError: The shapes differ.

    >>> import torch
    >>> student, teacher = torch.tensor([[0.5, 0.5]]), torch.tensor([[0.75, 0.25]])
    >>> round(mean_kl(student.log(), teacher.log()), 4)  # 0.75 log 1.5 + 0.25 log 0.5
    0.1308
    """
    positive("temperature", temperature, "1 compares the probabilities as they are")
    divergence = soft_targets(student.double(), teacher.double(), temperature)
    return divergence.mean().item() / temperature**2


def divergence(objective: Objective, outputs: Outputs) -> dict[str, float]:
    """Return `kl`, the mean KL divergence from the teacher; empty where there are no classes.

    Of binary labels it is the mean over all labels. Of scores of tokens there is `acceptance_rate`
    too (see `acceptance_rate`).

    Args:
        objective: Tells what outputs hold (`output_kind`).
        outputs: Of student and teacher.
    """
    if outputs.scores is not None:
        return outputs.scores.fidelity()
    values = objective.output_kind == "values"
    if values or outputs.student is None or outputs.teacher is None:
        return {}
    student, teacher = map(objective.prediction, (outputs.student, outputs.teacher))
    binary = is_binary(objective, student, outputs.labels)
    columns = 1 if binary else 2  # the softmax of a single logit is 1
    tables = student.ndim == 2 and student.shape[1] >= columns  # noqa: PLR2004 - rows and columns
    if not (tables and student.shape == teacher.shape):
        return {}
    found = (mean_binary_kl if binary else mean_kl)(student, teacher)
    # Where the student alone rules out a class there is none.
    return {"kl": found} if math.isfinite(found) else {}
