"""Run models over data and judge them: the one loop behind validation, reports and studies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, cast

import torch
from torch import Tensor, nn

from tutelage.coarse import CoarseLogits
from tutelage.data import Source, randomness
from tutelage.errors import ArgumentError, DataError
from tutelage.evaluation.metrics import (
    Metric,
    accuracy,
    agreement,
    check_class_ids,
    evaluate_metric,
    mse,
    r2,
)
from tutelage.layers import evaluating, observe
from tutelage.objectives import Objective, with_feedback
from tutelage.objectives._valid import valid_examples
from tutelage.signals import OUTPUT, Batch, Fields, Signals, Wants
from tutelage.teachers import Teacher, ask

STANDARD = ("loss", "accuracy", "agreement", "kl", "mse", "r2", "teacher_mse")
"""The names of the metrics that are computed without being asked for; `kl` is in reports."""

_FINAL = 1.0  # progress: the objective is judged at its final weights and temperatures


@dataclass(frozen=True)
class Outputs:
    """Model outputs over a data set, and what they are compared with; all on the CPU.

    Args:
        student: Outputs of the model that is judged, `[examples, …]`; None if nobody asked.
        teacher: The teacher's outputs; None without a teacher, or one that knows only some classes.
        labels: Of all examples; None where the data has none.
        domains: The domain of each example; None where the data does not tell.
        inputs: The inputs of the first batch, on the device, for instance to time models on.
    """

    student: Tensor | None
    teacher: Tensor | None = None
    labels: Tensor | None = None
    domains: Sequence[str] | None = None
    inputs: Any = None

    def __getitem__(self, rows: Sequence[int]) -> Outputs:
        """Return the outputs for some examples."""
        student, teacher, labels = (
            None if each is None else each[list(rows)]
            for each in (self.student, self.teacher, self.labels)
        )
        return Outputs(student, teacher, labels)

    def by_domain(self) -> dict[str, Outputs]:
        """Return the outputs of each domain; empty where the data does not tell domains."""
        rows: dict[str, list[int]] = {}
        for row, name in enumerate(self.domains or ()):
            rows.setdefault(name, []).append(row)
        return {name: self[own] for name, own in rows.items()}


@dataclass(frozen=True)
class Evaluation:
    """What came of running models over data.

    Args:
        metrics: By name, and by `name/domain` where the data tells domains.
        outputs: What the metrics were computed from.
    """

    metrics: dict[str, float]
    outputs: Outputs


def evaluate(
    model: nn.Module | Teacher,
    teacher: Teacher | None,
    objective: Objective | None,
    source: Source,
    *,
    metrics: Mapping[str, Metric] | None = None,
    device: torch.device | None = None,
    outputs: bool = False,
) -> Evaluation:
    """Run a model, and its teacher, over data and judge it.

    The objective is taken at its final weights and temperatures, so that epochs can be compared.
    Modes and random states are left as they were, and data that draws at random (a transform)
    draws alike in every call.

    Args:
        model: The model that is judged, in eval mode and without gradients.
        teacher: A teacher that answers for this data (see `Teacher.for_data`) and is ready on the
            device; None if there is none. Then there is no loss for an objective that needs one.
        objective: Gives the loss, tells class logits from values, and may have validation metrics
            of its own; None for outputs without metrics.
        source: The batches.
        metrics: The user's metrics by name; they see the labelled examples.
        device: Where the batches go; None for the model's own device. The model is not moved.
        outputs: Whether both models' outputs are wanted even where the objective reads none.

    Raises:
        ArgumentError: A metric fails.
        DataError: There is nothing to judge by, or labels are missing or do not fit.
        ModelError: A model refuses its inputs.
    """
    scored = objective is not None and (teacher is not None or not objective.wants.teacher)
    wants = objective.wants if objective is not None and scored else Wants(student=OUTPUT)
    if outputs or objective is None:
        wants |= Wants(student=OUTPUT, teacher=Fields(output=teacher is not None))
    losses = _Losses(objective if scored else None)
    seen: list[tuple[Signals, Signals, Batch]] = []
    inputs: Any = None
    device = _device(model) if device is None else device
    modules = [each for each in (model, objective) if isinstance(each, nn.Module)]
    with _judging(*modules):
        for raw in source.epoch(0):
            batch = raw.to(device, _FINAL)
            inputs = batch.inputs if inputs is None else inputs
            student = _ask(model, batch, wants.student, "student" if objective else "model")
            target = Signals() if teacher is None else ask(teacher, batch, wants.teacher)
            losses.add(student, target, batch)
            seen.append((_output(student), _output(target), replace(batch, inputs=None)))
    students, targets, batches = zip(*seen, strict=True)
    student, target = _joined_outputs(students), _joined_outputs(targets)
    batch = _joined_batches(batches)
    domains = cast("list[str] | None", batch.domain)
    found = Outputs(student.full_output(), target.full_output(), batch.labels, domains, inputs)
    if objective is None:
        return Evaluation({}, found)
    every = losses.metrics()
    for each in with_feedback(objective) if scored else ():
        every |= each.validation_metrics(student, target, batch)
    every |= measure(objective, found, metrics)
    if not every:
        raise DataError(
            "`val` must have labels that fit the output, or a teacher that answers for it, to "
            "judge the student by, got neither; label it too and give both, "
            "tl.teachers.Stored(store, val_store), or leave `val` out"
        )
    return Evaluation(every, found)


def measure(
    objective: Objective, outputs: Outputs, metrics: Mapping[str, Metric] | None = None
) -> dict[str, float]:
    """Return the metrics of outputs, by name, and by `name/domain` where domains are told.

    What the data cannot tell is left out; so are, for a domain, metrics that it is too small for.

    Args:
        objective: Tells class logits from values, and what of an output is the prediction.
        outputs: Of the model, its teacher if there is one, and the labels.
        metrics: The user's.

    Raises:
        ArgumentError: A metric fails.
        DataError: A label is no class of the model.
    """
    if outputs.student is None:
        return {}
    return _measure(objective, outputs, metrics or {}, tolerant=False) | {
        f"{name}/{domain}": value
        for domain, own in outputs.by_domain().items()
        for name, value in _measure(objective, own, metrics or {}, tolerant=True).items()
        if value == value  # noqa: PLR0124 - not NaN
    }


def check_metric_names(metrics: Mapping[str, Metric]) -> None:
    """Refuse metrics of a user's that are named as standard ones.

    Raises:
        ArgumentError: A name is taken.
    """
    taken = sorted(set(STANDARD) & set(metrics))
    if taken:
        raise ArgumentError(
            f"`metrics` must not be named as the standard metrics are, got {taken}; rename yours"
        )


def label_metrics(
    objective: Objective, prediction: Tensor, labels: Tensor | None
) -> dict[str, float]:
    """Return how well predictions fit the labels: `accuracy`, or for values `mse` and `r2`.

    Empty where there are no labels, or where they are not of the predictions' kind.

    Raises:
        DataError: A label is no class of the model.
    """
    if labels is None or not bool(Batch(prediction, labels).labelled().any()):
        return {}
    if objective.predicts_values:
        fits = labels.numel() == prediction.numel()
        return {"mse": mse(prediction, labels), "r2": r2(prediction, labels)} if fits else {}
    if labels.is_floating_point() or labels.ndim != 1:
        return {}
    check_class_ids(labels, prediction.shape[1])
    return {"accuracy": accuracy(prediction, labels)}


def _measure(
    objective: Objective, outputs: Outputs, metrics: Mapping[str, Metric], tolerant: bool
) -> dict[str, float]:
    """Return the standard metrics and the user's; `tolerant` leaves out what raises ValueError."""
    student = objective.prediction(cast("Tensor", outputs.student))
    found = label_metrics(objective, student, outputs.labels)
    if outputs.teacher is not None:
        teacher = objective.prediction(outputs.teacher)
        if teacher.shape == student.shape:
            values = objective.predicts_values
            name, compare = ("teacher_mse", mse) if values else ("agreement", agreement)
            found[name] = compare(student, teacher)
    if outputs.labels is None:
        return found
    known = Batch(student, outputs.labels).labelled()
    for name, metric in metrics.items() if bool(known.any()) else ():
        try:
            found[name] = evaluate_metric(name, metric, student[known], outputs.labels[known])
        except ArgumentError as error:
            # Such as an area under a curve where a domain has one class only.
            if not (tolerant and isinstance(error.__cause__, ValueError)):
                raise
    return found


class _Losses:
    """The objective over all examples: each term's mean over those that it counts."""

    def __init__(self, objective: Objective | None) -> None:
        self._terms = () if objective is None else objective.terms()
        if objective is not None and not objective.built:
            raise ArgumentError(
                f"the objective {objective} must have its projectors before it can judge, got none "
                "yet; call Distiller(student, teacher, objective).build(batch) first"
            )
        self._sums, self._counts = [0.0] * len(self._terms), [0.0] * len(self._terms)

    def add(self, student: Signals, teacher: Signals, batch: Batch) -> None:
        examples, masks = valid_examples(self._terms, batch)
        for place, term in enumerate(self._terms):
            values = term.objective(student, teacher, batch)
            mask = masks[place]
            if mask is not None:
                values = values.where(mask, 0)
            self._sums[place] += values.double().sum().item()
            self._counts[place] += examples if mask is None else mask.sum().item()

    def metrics(self) -> dict[str, float]:
        """Return the weighted sum as `loss`, over the terms that have valid examples.

        A term without any, such as one on labels where the data has none, is left out: a mean of 0
        would look like a perfect one. There is no loss where no term with a weight is left.
        """
        rows = zip(self._terms, self._sums, self._counts, strict=True)
        means = [(term.weight(_FINAL), total / count) for term, total, count in rows if count]
        return {"loss": sum(w * mean for w, mean in means)} if any(w for w, _ in means) else {}


@contextmanager
def _judging(*modules: nn.Module) -> Iterator[None]:
    """Run modules in eval mode and without gradients, with random states of their own."""
    # No inference mode: a student may keep tensors that it makes here for its training.
    with randomness.preserved(), evaluating(*modules), torch.no_grad():
        randomness.seed_everything(0)
        yield


def _ask(model: nn.Module | Teacher, batch: Batch, wanted: Fields, side: str) -> Signals:
    if isinstance(model, Teacher):
        return ask(model, batch, wanted)
    return observe(model, batch.inputs, wanted, side)


def _output(signals: Signals) -> Signals:
    """Return the output alone, on the CPU: features may be large."""
    return Signals(signals.output).to(torch.device("cpu"))


def _joined_outputs(parts: Sequence[Signals]) -> Signals:
    """Return the outputs of all batches; None where one has none."""
    outputs = [part.output for part in parts if part.output is not None]
    dense = [each for each in outputs if isinstance(each, Tensor)]
    if len(outputs) < len(parts) or not parts:
        return Signals()
    if len(dense) == len(parts):
        return Signals(torch.cat(dense))
    coarse = [CoarseLogits.of(each) if isinstance(each, Tensor) else each for each in outputs]
    return Signals(CoarseLogits.joined(coarse))


def _joined_batches(parts: Sequence[Batch]) -> Batch:
    """Return all examples as one batch without inputs: labels and domains, where all have them."""
    labels = [part.labels.cpu() for part in parts if part.labels is not None]
    domains = [
        part.domain.tolist() if isinstance(part.domain, Tensor) else part.domain
        for part in parts
        if part.domain is not None
    ]
    names = list(map(str, chain.from_iterable(domains)))
    return Batch(
        None,
        torch.cat(labels) if len(labels) == len(parts) else None,
        domain=names if len(domains) == len(parts) else None,
    )


def _device(model: nn.Module | Teacher) -> torch.device:
    modules = (model,) if isinstance(model, nn.Module) else model.modules()
    tensors = chain.from_iterable(chain(each.parameters(), each.buffers()) for each in modules)
    first = next(tensors, None)
    return torch.device("cpu") if first is None else first.device
