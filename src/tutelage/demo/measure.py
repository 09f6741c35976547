"""What the demo measures of trained models."""

from __future__ import annotations

import torch
from scipy.stats import binomtest
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from tutelage.demo.results import History, Size
from tutelage.evaluation import Interval, latencies, measure_cost, predict
from tutelage.training import Run

BATCH_SIZES = (1, 256)


def outputs(model: nn.Module, images: Tensor) -> Tensor:
    """Return a model's logits for images, `[images, classes]`."""
    return predict(model, TensorDataset(images))


def share_interval(share: float, number: int) -> Interval:
    """Return a share of so many examples with its 95 % interval over examples (Wilson's).

    >>> interval = share_interval(0.9, 100)
    >>> round(interval.low, 3), round(interval.high, 3)
    (0.826, 0.945)
    """
    found = binomtest(round(share * number), number).proportion_ci(0.95, method="wilson")
    return Interval(share, float(found.low), float(found.high))


def sizes(teacher: nn.Module, student: nn.Module, images: Tensor, seconds: float) -> list[Size]:
    """Return what teacher and student take, timed in turns on the same images.

    Args:
        teacher: The teacher.
        student: The student.
        images: As many as the largest batch.
        seconds: Time for each model and batch size.
    """
    models = {"teacher": teacher, "student": student}
    measured = latencies(models, images, BATCH_SIZES, seconds=seconds, rounds=20)
    result = []
    for name, model in models.items():
        cost = measure_cost(model)
        result.append(Size(cost.parameters, cost.file_bytes, tuple(measured[name])))
    return result


def mean_soft_targets(logits: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Return the mean of softmax(z/T) over the examples of each class, `[classes, classes]`.

    >>> mean_soft_targets(torch.zeros(2, 2), torch.tensor([0, 1]), 4.0)
    tensor([[0.5000, 0.5000],
            [0.5000, 0.5000]])
    """
    soft = (logits / temperature).softmax(dim=1)
    return torch.stack([soft[labels == each].mean(dim=0) for each in range(logits.shape[1])])


def history(run: Run) -> History:
    """Return a run's mean losses by part of its objective."""
    parts = [name for name in run.history[0] if name.startswith("train/") and name != "train/loss"]
    return History(
        tuple(record["step"] for record in run.history),
        {
            name.removeprefix("train/"): tuple(record[name] for record in run.history)
            for name in parts
        },
    )
