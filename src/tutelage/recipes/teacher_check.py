"""What a teacher says of some training examples: on which scale its outputs are, and how good."""

from __future__ import annotations

import logging
import math
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset

from tutelage._checks import integer
from tutelage.data import as_source, randomness
from tutelage.datasets import Splits
from tutelage.errors import DataError, TutelageError
from tutelage.teachers import as_teacher
from tutelage.wants import OUTPUT

_LOG = logging.getLogger(__name__)
_SOME, _BATCH = 256, 64
_CAUSES = (
    "are its classes and columns in the order of this data, categories and missing cells coded as "
    "in its training, and its values in the units of the labels (not their logarithm)?"
)


@dataclass(frozen=True)
class Sample:
    """Outputs of a model for some examples.

    Args:
        outputs: `[examples, outputs]`; empty without a model.
        labels: None without labels.
    """

    outputs: Tensor
    labels: Tensor | None


def sample_of(
    model: Any, data: Splits, device: torch.device, examples: int = _SOME
) -> Sample | None:
    """Return a model's outputs for evenly spaced examples of the labelled training data.

    None for a stream, and where outputs are not one row of numbers for an example, or the model
    refuses the examples, for which training raises a clearer error.

    Args:
        model: A module or a teacher, such as stored targets of the training data; None for labels
            alone.
        data: The data of a recipe.
        device: On which the model runs.
        examples: How many at most.
    """
    if not hasattr(data.train if data.labelled is None else data.labelled, "__len__"):
        return None
    some: Any = some_examples(data, examples)
    outputs: list[Tensor] = []
    labels: list[Any] = []
    index = iter(torch.tensor(some.indices).split(_BATCH))
    try:
        bound = None if model is None else as_teacher(model).for_data("train", data.train)
        ready = nullcontext() if bound is None else bound.ready(device)
        with ready, torch.no_grad(), randomness.preserved():
            for batch in as_source("train", some, _BATCH).epoch(0):
                labels.append(batch.labels)
                if bound is None:
                    continue
                output = bound.signals(replace(batch, index=next(index)).to(device), OUTPUT).output
                if not isinstance(output, Tensor) or output.ndim != 2:  # noqa: PLR2004 - a row
                    return None
                outputs.append(output.float().cpu())
    except TutelageError:
        return None
    known = bool(labels) and all(isinstance(each, Tensor) for each in labels)
    return Sample(
        torch.cat(outputs) if outputs else torch.empty(0, 0),
        torch.cat(labels) if known else None,
    )


def some_examples(data: Splits, examples: int) -> Dataset[Any]:
    """Return some of the labelled training examples, evenly spread, in order.

    Raises:
        DataError: The data has no length.
    """
    count = integer("examples", examples, 1, "a few hundred are enough")
    train = data.train if data.labelled is None else data.labelled
    if not hasattr(train, "__len__"):
        raise DataError(
            "`student` is made by looking at training examples, which need a length, got "
            f"{type(train).__name__}; name its layers: {{keep_layers: [0, 2, 5]}}"
        )
    length = len(train)
    count = min(count, length)
    return Subset(train, [number * length // count for number in range(count)])


def scale_of(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and deviation of each output, of the known values, to four digits.

    Rounded, they are the same on any machine, and so is the run that depends on them.
    """
    moments = []
    for column in values.double().reshape(len(values), -1).T:
        known = column[column.isfinite()]
        mean = known.mean().item() if len(known) else 0.0
        deviation = known.std(correction=0).item() if len(known) else 0.0
        if deviation <= 1e-9 * max(1.0, abs(mean)):  # a constant
            deviation = 1.0
        moments.append([float(f"{each:.4g}") for each in (mean, deviation)])
    means, deviations = zip(*moments, strict=True)
    return torch.tensor(means), torch.tensor(deviations)


def warn_of_poor_teacher(sample: Sample, kind: str | None) -> None:
    """Say in one line that a teacher is worse than a constant, which has few likely causes.

    Args:
        sample: Some of its outputs, with labels.
        kind: What the outputs are: classes or values; others are not compared.
    """
    outputs, labels = sample.outputs, sample.labels
    if kind == "values" and r2(sample) < 0:
        _LOG.warning(
            "the teacher's R² is %.2f on %d labelled training examples, worse than that of "
            "their mean, which is 0: %s",
            *(r2(sample), len(outputs), _CAUSES),
        )
    if kind != "classes" or labels is None or labels.ndim > 1 or labels.is_floating_point():
        return
    known = labels >= 0
    count = int(known.sum())
    if not count:
        return
    accuracy = (outputs.argmax(1) == labels)[known].float().mean().item()
    commonest = labels[known].bincount().max().item() / count
    # Twice the standard error: a good teacher of rare classes may be a little below.
    if accuracy < commonest - 2 * math.sqrt(commonest * (1 - commonest) / count):
        _LOG.warning(
            "the teacher is right on %.0f %% of %d labelled training examples, of which %.0f "
            "%% have the commonest class: %s",
            *(100 * accuracy, count, 100 * commonest, _CAUSES),
        )


def r2(sample: Sample) -> float:
    """Return the mean over outputs of R² on the known labels; NaN if there are none."""
    outputs, labels, found = sample.outputs.double(), sample.labels, []
    if labels is None or labels.numel() != outputs.numel():
        return math.nan
    for output, label in zip(outputs.T, labels.reshape(outputs.shape).double().T, strict=True):
        known = ~label.isnan()
        around_mean = (label[known] - label[known].mean()).square().sum()
        if known.sum() > 1 and around_mean > 0:
            found.append(1 - ((output - label)[known].square().sum() / around_mean).item())
    return sum(found) / len(found) if found else math.nan
