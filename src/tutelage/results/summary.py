"""From outputs to what a record tells of a model besides its metrics."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from statistics import fmean
from typing import Any, TypedDict

import torch
from torch import Tensor

from tutelage.evaluation import (
    Calibration,
    Outputs,
    Reliability,
    binary_calibration,
    binary_reliability,
    by_class,
    by_label,
    calibration,
    class_similarity,
    similarity_correlation,
)
from tutelage.evaluation.binary import is_binary
from tutelage.evaluation.calibration import BINS, binned, confidences, expected_error
from tutelage.evaluation.token_scores import unknown_labels
from tutelage.objectives import Objective
from tutelage.results.record import Curve, Residuals
from tutelage.results.samples import evenly
from tutelage.signals import UNLABELLED
from tutelage.teachers import Teacher

SIMILARITY_TEMPERATURE = 4.0
_MOST_CLASSES = 100
_MOST_OUTPUTS = 4
_MOST_POINTS = 2000
_FEWEST_CLASSES = 3  # of two there is no spread to correlate
_PACKAGES = ("tutelage", "torch", "accelerate", "numpy")

Matrix = tuple[tuple[float, ...], ...]


class Summary(TypedDict):
    """Fields of an `ArmRecord`; empty where the data does not tell."""

    similarity: Matrix
    by_class: dict[int, float]
    reliability: Reliability | None
    residuals: tuple[Residuals, ...]


NO_SUMMARY: Summary = {"similarity": (), "by_class": {}, "reliability": None, "residuals": ()}
"""That of outputs of which nothing is told."""


def summarize(objective: Objective, outputs: Sequence[Tensor], labels: Tensor | None) -> Summary:
    """Return what the outputs of one arm's models, one for each seed, tell."""
    predictions = [objective.prediction(each) for each in outputs]
    found = NO_SUMMARY.copy()
    if labels is None:
        return found
    if objective.output_kind == "values":
        found["residuals"] = _residuals(predictions[0], labels)
    elif _are_binary(objective, predictions, labels):
        several = labels.repeat(len(predictions), *[1] * (labels.ndim - 1))
        found["reliability"] = binary_reliability(torch.cat(predictions), several)
        if 1 < predictions[0].shape[1] <= _MOST_CLASSES:
            found["by_class"] = _means([by_label(each, labels) for each in predictions])
    elif _are_classes(objective, predictions, labels):
        confidence, correct = zip(*(confidences(each, labels) for each in predictions), strict=True)
        found["reliability"] = binned(torch.cat(confidence), torch.cat(correct), BINS)
        if predictions[0].shape[1] <= _MOST_CLASSES:
            seeds = [class_similarity(each, labels, SIMILARITY_TEMPERATURE) for each in predictions]
            matrix = torch.stack(seeds).mean(dim=0).nan_to_num().tolist()
            found["similarity"] = tuple(map(tuple, matrix))
            found["by_class"] = _means([by_class(each, labels) for each in predictions])
    return found


def _means(seeds: Sequence[Mapping[int, float]]) -> dict[int, float]:
    return {name: fmean(each[name] for each in seeds) for name in seeds[0]}


def calibrate(
    objective: Objective,
    output: Tensor,
    labels: Tensor | None,
    held_out: tuple[Tensor | None, Tensor | None] = (None, None),
) -> Calibration | None:
    """Return a classifier's calibration; None where there are no classes or no labels.

    `held_out` are output and labels to fit a temperature on, where there are any.
    """
    (val, known), prediction = held_out, objective.prediction(output)
    val = None if val is None else objective.prediction(val)
    for is_of, measured in ((_are_binary, binary_calibration), (_are_classes, calibration)):
        if labels is not None and is_of(objective, [prediction], labels):
            if val is None or known is None or not is_of(objective, [val], known):
                return measured(prediction, labels)
            return measured(prediction, labels, (val, known))
    return None


def summarize_tokens(outputs: Sequence[Outputs]) -> Summary:
    """Return what scores of tokens of one arm's models, one for each seed, tell."""
    pairs = [pair for pair in map(_confidences, outputs) if pair is not None]
    if not pairs:
        return NO_SUMMARY
    confidence, correct = (torch.cat(each) for each in zip(*pairs, strict=True))
    return {**NO_SUMMARY, "reliability": binned(confidence, correct, BINS)}


def calibrate_tokens(outputs: Outputs) -> Calibration | None:
    """Return a language model's calibration by token; None without finite scores of labels."""
    pair, scores, labels = _confidences(outputs), outputs.scores, outputs.labels
    if pair is None or scores is None:
        return None
    nll = scores.column("nll")[labels.long() != UNLABELLED].mean().item()
    return Calibration(nll, expected_error(binned(*pair, BINS)))


def unmeasured_scores(teacher: Teacher, outputs: Outputs | None) -> str:
    """Return why a teacher's own scores of tokens are not known, in words; "" if they are."""
    if outputs is None or outputs.scores is None:
        return "it has samples of its tokens, and no probabilities"
    return "" if teacher.modules() else unknown_labels(outputs.scores, outputs.labels)


def _confidences(outputs: Outputs) -> tuple[Tensor, Tensor] | None:
    """Return the largest probability, and 1 where that class is right, of labelled tokens."""
    scores, labels = outputs.scores, outputs.labels
    if scores is None or not isinstance(labels, Tensor):
        return None
    known = labels.long() != UNLABELLED
    confidence, correct = scores.column("confidence")[known], scores.right(labels)[known]
    known_scores = len(correct) and bool((confidence + correct).isfinite().all())
    return (confidence, correct) if known_scores else None


def resemblance(ours: Matrix, theirs: Matrix) -> float | None:
    """Return the correlation of two models' class similarities; None where there is none."""
    if len(ours) != len(theirs) or len(ours) < _FEWEST_CLASSES:
        return None
    both = (torch.tensor(each) for each in (ours, theirs))
    # A class without examples has zeros, where others add up to 1.
    known = (each.masked_fill(each.sum(dim=1, keepdim=True) == 0, math.nan) for each in both)
    value = similarity_correlation(*known)
    return value if math.isfinite(value) else None


def curves(history: Sequence[Mapping[str, Any]]) -> dict[str, Curve]:
    """Return the metrics of each epoch over steps, without those that are not finite."""
    names = dict.fromkeys(name for epoch in history for name in epoch)
    found = {}
    for name in names:
        rows = [
            (epoch["step"], epoch[name])
            for epoch in history
            if isinstance(epoch.get(name), (int, float)) and math.isfinite(epoch[name])
        ]
        if rows and (name == "lr" or name.startswith(("train/", "val/"))):
            steps, values = zip(*rows, strict=True)
            found[name] = Curve(steps, values)
    return found


def finite(metrics: Mapping[str, float | None]) -> dict[str, float]:
    """Return the metrics that are finite."""
    return {
        name: value for name, value in metrics.items() if value is not None and math.isfinite(value)
    }


def versions() -> dict[str, str]:
    """Return what this was made with."""
    return {name: version(name) for name in _PACKAGES} | {
        "python": platform.python_version(),
        "system": f"{platform.system()} on {platform.machine()}",
        "threads": str(torch.get_num_threads()),
    }


def _are_classes(objective: Objective, predictions: Sequence[Tensor], labels: Tensor) -> bool:
    """Tell whether labels are classes that all predictions have finite logits for."""
    if objective.output_kind == "values" or labels.is_floating_point():
        return False
    known = labels.ndim == 1 and bool((labels.long() != UNLABELLED).any())
    several = all(each.ndim == 2 and each.shape[1] > 1 for each in predictions)  # noqa: PLR2004
    # A class that is ruled out by an infinite logit leaves no probabilities to speak of.
    finite_logits = all(bool(each.isfinite().all()) for each in predictions)
    return known and several and finite_logits and int(labels.max()) < predictions[0].shape[1]


def _are_binary(objective: Objective, predictions: Sequence[Tensor], labels: Tensor) -> bool:
    """Tell whether labels are binary, 0 or 1, and all predictions have finite logits for them."""
    if not all(is_binary(objective, each, labels) for each in predictions):
        return False
    known = labels[~labels.isnan() & (labels != UNLABELLED)]
    answers = len(known) > 0 and bool(((known == 0) | (known == 1)).all())
    return answers and all(bool(each.isfinite().all()) for each in predictions)


def _residuals(prediction: Tensor, labels: Tensor) -> tuple[Residuals, ...]:
    """Return true and predicted values of each output, or of a sample where there are many."""
    if labels.numel() != prediction.numel():
        return ()
    predicted = prediction.reshape(len(prediction), -1).double()
    true = labels.reshape(predicted.shape).double()
    if predicted.shape[1] > _MOST_OUTPUTS:
        return ()
    return tuple(_sampled(*column) for column in zip(true.T, predicted.T, strict=True))


def _sampled(true: Tensor, predicted: Tensor) -> Residuals:
    known = (true - predicted).isfinite().nonzero().ravel()
    known = known[evenly(len(known), _MOST_POINTS)]
    return Residuals(tuple(true[known].tolist()), tuple(predicted[known].tolist()))
