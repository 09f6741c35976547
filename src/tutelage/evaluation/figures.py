"""The usual figures of a student on labelled or unlabelled data, as its task has them."""

from __future__ import annotations

from torch import Tensor

from tutelage.evaluation.metrics import accuracy, agreement, mse, r2
from tutelage.objectives import Objective


def usual_figures(
    objective: Objective, student: Tensor, teacher: Tensor | None, labels: Tensor | None
) -> dict[str, float]:
    """Return what can be said of outputs without being asked.

    Args:
        objective: What the student was asked for; it tells values from classes.
        student: Its outputs, `[examples, n]`.
        teacher: The teacher's, if it was asked.
        labels: Class ids `[examples]`, or values of the outputs' shape, if there are any.

    Returns:
        For classes `accuracy` and `agreement` (with the teacher); for values `mse`, `r2` and
        `teacher_mse` (the distance from the teacher). What the data do not tell is left out.
    """
    student = objective.prediction(student)
    figures = label_figures(objective, student, labels)
    if teacher is None:
        return figures
    teacher = objective.prediction(teacher)
    if teacher.shape == student.shape:
        name, compare = (
            ("teacher_mse", mse) if objective.predicts_values else ("agreement", agreement)
        )
        figures[name] = compare(student, teacher)
    return figures


def label_figures(
    objective: Objective, prediction: Tensor, labels: Tensor | None
) -> dict[str, float]:
    """Return how well predictions fit the labels, if these are of the predictions' kind."""
    if labels is None:
        return {}
    if objective.predicts_values:
        fits = labels.numel() == prediction.numel()
        return {"mse": mse(prediction, labels), "r2": r2(prediction, labels)} if fits else {}
    classes = not labels.is_floating_point() and labels.ndim == 1
    return {"accuracy": accuracy(prediction, labels)} if classes else {}
