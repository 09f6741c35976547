"""Run models over data and evaluate them: the one loop behind validation, reports and studies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, cast

import torch
from torch import Tensor, nn

from tutelage.aligned import AlignedTargets
from tutelage.coarse import CoarseLogits
from tutelage.data import Source, as_source, randomness
from tutelage.errors import ArgumentError, DataError
from tutelage.evaluation._outputs import Outputs
from tutelage.evaluation._predicted import Predicted, predicted
from tutelage.evaluation.metrics import Metric, user_metrics
from tutelage.evaluation.standard import (
    label_metrics,
    learns_by_own_loss,
    teacher_metrics,
)
from tutelage.heads import HeadLogits
from tutelage.layers import evaluating
from tutelage.layers.language import as_asked
from tutelage.layers.own_loss import observe_student
from tutelage.nested import joined, moved
from tutelage.objectives import Objective, with_feedback
from tutelage.objectives._by_chunk import CHUNK_LOGITS_FROM, with_heads
from tutelage.objectives._valid import masked, valid_examples, values_of
from tutelage.positions import by_row, labels_by_row
from tutelage.rows import Rows
from tutelage.signals import Batch, Signals
from tutelage.teachers import Teacher, ask
from tutelage.wants import OUTPUT, Fields, Wants

_CPU = torch.device("cpu")
_FINAL = 1.0  # progress at which the objective has its final weights and temperatures


@dataclass(frozen=True)
class Evaluation:
    """The result of running models over data.

    Args:
        metrics: By name, and by `name/domain` where the data has domains.
        outputs: What the metrics were computed from.
    """

    metrics: dict[str, float]
    outputs: Outputs


def evaluate(  # noqa: PLR0913 - what is run, on what, and how
    model: nn.Module | Teacher,
    teacher: Teacher | None,
    objective: Objective | None,
    source: Source,
    *,
    metrics: Mapping[str, Metric] | None = None,
    device: torch.device | None = None,
    outputs: bool = False,
    chunk_logits_from: int | None = CHUNK_LOGITS_FROM,
) -> Evaluation:
    """Run a model, and its teacher, over data and evaluate it.

    The objective has its final weights and temperatures, so that epochs can be compared. Modes and
    random states do not change, and random data (a transform) is the same in every call.

    Args:
        model: The model to evaluate, in eval mode and without gradients.
        teacher: A teacher with targets for this data (see `Teacher.for_data`), ready on the device;
            None for none, in which case an objective that needs one gives no loss.
        objective: Gives the loss, tells what outputs hold (`output_kind`), and may have validation
            metrics of its own; None for outputs without metrics.
        source: The batches.
        metrics: The user's metrics by name; they are given the labelled examples.
        device: The device of the batches; None for the model's own. The model is not moved.
        outputs: Whether to return both models' outputs even where the objective reads none.
        chunk_logits_from: As in `Distiller`. Of such logits the first class of each row is kept,
            as `CoarseLogits`. Metrics of the user's, and `outputs`, need them whole.

    Raises:
        ArgumentError: A metric fails.
        DataError: There are neither usable labels nor a teacher, or class ids are out of range.
        ModelError: A model refuses its inputs.
    """
    scored = objective is not None and (teacher is not None or not objective.wants.teacher)
    # A source of outputs has no loss of its own.
    scored &= isinstance(model, nn.Module) or not (objective and objective.wants.student.loss)
    least = None if metrics or outputs else chunk_logits_from
    wants = Wants(student=OUTPUT)
    if objective is not None and scored:
        wants = with_heads(objective, least)
    if metrics and wants.student.loss:  # whose model returns an output that no term reads
        wants |= Wants(student=OUTPUT)
    if outputs or objective is None:
        wants |= Wants(student=OUTPUT, teacher=Fields(output=teacher is not None))
    losses = _Losses(objective if scored else None)
    results: list[tuple[Signals, Signals, Batch]] = []
    by_head = False
    device = _device(model) if device is None else device
    modules = [each for each in (model, objective) if isinstance(each, nn.Module)]
    module = model if isinstance(model, nn.Module) else next(iter(model.modules()), None)
    with _evaluating(*modules):
        for raw in source.epoch(0):
            batch = raw.to(device, _FINAL)
            batch = as_asked(batch, module) if wants.student.output else batch
            student = run_model(model, batch, wants.student, "student" if objective else "model")
            target = Signals() if teacher is None else ask(teacher, batch, wants.teacher)
            losses.add(student, target, batch)
            labels = replace(labels_by_row(batch, student.rows), inputs=None)
            by_head = least is not None and isinstance(student.output, HeadLogits)
            results.append((*_kept(student, target, by_head), labels))
    students, targets, batches = zip(*results, strict=True)
    student, target = _joined_outputs(students), _joined_outputs(targets)
    batch = _joined_batches(batches)
    domains = cast("list[str] | None", batch.domain)
    few = _predicted(student, target) if by_head else None
    found = Outputs(
        None if few else student.full_output(),
        None if few else target.full_output(),
        batch.labels,
        domains,
        student.rows,
        student.predictions,
        few,
    )
    if objective is None:
        return Evaluation({}, found)
    values = losses.metrics()
    for each in with_feedback(objective) if scored else ():
        values |= each.validation_metrics(student, target, batch)
    values |= measure(objective, found, metrics, standard=not learns_by_own_loss(objective))
    if not values:
        raise DataError(
            "`val` must have labels that match the output, or a teacher with targets for it, to "
            "evaluate the student, got neither; label it too and give both, "
            "tl.teachers.Stored(store, val_store), or leave `val` out"
        )
    return Evaluation(values, found)


def predict(model: nn.Module, data: object, batch_size: int = 256) -> Any:
    """Return a model's outputs for a data set, `[examples, …]`, on the CPU.

    Of a detector, which returns one dict per example, it is the list of these.

    The model runs in eval mode without gradients. Its mode and the global random state do not
    change.

    Args:
        model: Any module.
        data: A data set, which is read in order, or a `DataLoader`.
        batch_size: Examples at a time, for a data set.

    Raises:
        DataError: The data is empty.
        ModelError: The model refuses the inputs.
    """
    source = as_source("data", data, batch_size, shuffle=False)
    outputs = evaluate(model, None, None, source).outputs
    return outputs.predictions if outputs.student is None else outputs.student


def measure(
    objective: Objective,
    outputs: Outputs,
    metrics: Mapping[str, Metric] | None = None,
    standard: bool = True,
) -> dict[str, float]:
    """Return the metrics of outputs, by name, and by `name/domain` where there are domains.

    Metrics that the data does not allow are left out, also where a single domain is too small.

    Args:
        objective: Tells what outputs hold (`output_kind`), and extracts predictions from them.
        outputs: Of the model and its teacher, with the labels.
        metrics: The user's.
        standard: Whether to compute others than these.

    Raises:
        ArgumentError: A metric fails.
        DataError: A class id is out of range.
    """
    if outputs.student is None and outputs.predictions is None and outputs.predicted is None:
        return {}
    reading = objective if standard else None
    return _measure(reading, outputs, metrics or {}, tolerant=False) | {
        f"{name}/{domain}": value
        for domain, own in outputs.by_domain().items()
        for name, value in _measure(reading, own, metrics or {}, tolerant=True).items()
        if value == value  # noqa: PLR0124 - not NaN
    }


def _measure(
    objective: Objective | None,
    outputs: Outputs,
    metrics: Mapping[str, Metric],
    tolerant: bool,
) -> dict[str, float]:
    """Return the user's metrics and, with an objective that reads the outputs, the standard ones.

    `tolerant` leaves out what raises ValueError.
    """
    found, student = dict[str, float](), outputs.student
    if outputs.predicted is not None:
        return {} if objective is None else outputs.predicted.metrics(outputs.labels)
    if student is None:
        return user_metrics(metrics, outputs.predictions, outputs.labels, tolerant)
    if objective is not None:
        student = objective.prediction(student)
        found = label_metrics(objective, student, outputs.labels)
    if objective is not None and outputs.teacher is not None:
        teacher = objective.prediction(outputs.teacher)
        if teacher.shape == student.shape:
            found |= teacher_metrics(objective, student, teacher, outputs.labels)
    known = replace(outputs, student=student).labelled()
    return found | user_metrics(metrics, known.student, known.labels, tolerant, known.rows)


class _Losses:
    """The objective over all examples: each term's mean over its valid ones."""

    def __init__(self, objective: Objective | None) -> None:
        self._terms = () if objective is None else objective.terms()
        if objective is not None and not objective.built:
            raise ArgumentError(
                f"the objective {objective} must have its projectors before it is evaluated, got "
                "none yet; call Distiller(student, teacher, objective).build(batch) first"
            )
        self._sums, self._counts = [0.0] * len(self._terms), [0.0] * len(self._terms)

    def add(self, student: Signals, teacher: Signals, batch: Batch) -> None:
        examples, masks = valid_examples(self._terms, batch)
        objectives = [term.objective for term in self._terms]
        each_of = values_of(objectives, student, teacher, batch, examples)
        for number, (found, mask) in enumerate(zip(each_of, masks, strict=True)):
            values = found if mask is None else masked(found, mask)
            self._sums[number] += values.double().sum().item()
            self._counts[number] += examples if mask is None else mask.sum().item()

    def metrics(self) -> dict[str, float]:
        """Return the weighted sum as `loss`, over the terms that have valid examples.

        A term without any, such as one on labels where the data has none, is left out: a mean of 0
        would look like a perfect one. There is no loss where no term with a weight is left.
        """
        rows = zip(self._terms, self._sums, self._counts, strict=True)
        means = [(term.weight(_FINAL), total / count) for term, total, count in rows if count]
        return {"loss": sum(w * mean for w, mean in means)} if any(w for w, _ in means) else {}


@contextmanager
def _evaluating(*modules: nn.Module) -> Iterator[None]:
    """Run modules in eval mode, without gradients, under a fixed seed."""
    # Not in inference mode: a student may keep tensors from here and use them in training.
    with randomness.preserved(), evaluating(*modules), torch.no_grad():
        randomness.seed_everything(0)
        yield


def run_model(model: nn.Module | Teacher, batch: Batch, wanted: Fields, side: str) -> Signals:
    """Return what is required of a model or a teacher for a batch; `side` names it in errors."""
    if isinstance(model, Teacher):
        return ask(model, batch, wanted, predictions=True)
    return by_row(observe_student(model, batch, wanted, side), batch, side)


def _kept(student: Signals, target: Signals, few: bool) -> tuple[Signals, Signals]:
    """Return the outputs of student and teacher alone, on the CPU: features may be large.

    `few` keeps only predicted classes.
    """
    found = []
    for each in (student, target):
        output = None if isinstance(each.output, AlignedTargets) else each.output
        if few and output is not None:
            output = None if isinstance(output, CoarseLogits) else predicted(output)
        elif isinstance(output, HeadLogits):
            output = output.as_computed().logits()
        kept = Signals(output, rows=each.rows, predictions=each.predictions)
        found.append(kept.to(_CPU))
    return found[0], found[1]


def _predicted(student: Signals, target: Signals) -> Predicted:
    return Predicted(cast("Tensor", student.output), target.full_output())


def _joined_outputs(parts: Sequence[Signals]) -> Signals:
    """Concatenate the outputs of all batches; without an output if one has none."""
    predictions = [part.predictions for part in parts if part.predictions is not None]
    if len(predictions) == len(parts):
        return Signals(predictions=list(chain.from_iterable(predictions)))
    outputs = [part.wanted_targets() for part in parts if part.output is not None]
    dense = [each for each in outputs if isinstance(each, Tensor)]
    if len(outputs) < len(parts) or not parts:
        return Signals()
    several = [part.rows for part in parts if part.rows is not None]
    rows = Rows.joined(several) if several else None
    if len(dense) == len(parts):
        return Signals(torch.cat(dense), rows=rows)
    coarse = [CoarseLogits.of(each) if isinstance(each, Tensor) else each for each in outputs]
    return Signals(CoarseLogits.joined(coarse), rows=rows)


def _joined_batches(parts: Sequence[Batch]) -> Batch:
    """Return labels and domains of all examples, where all have them, as a batch without inputs."""
    labels = [moved(part.labels, _CPU) for part in parts if part.labels is not None]
    domains = [
        part.domain.tolist() if isinstance(part.domain, Tensor) else part.domain
        for part in parts
        if part.domain is not None
    ]
    names = list(map(str, chain.from_iterable(domains)))
    rows = [part.rows for part in parts if part.rows is not None]
    return Batch(
        None,
        joined(labels) if len(labels) == len(parts) else None,
        domain=names if len(domains) == len(parts) else None,
        rows=Rows.joined(rows) if rows else None,
    )


def _device(model: nn.Module | Teacher) -> torch.device:
    modules = (model,) if isinstance(model, nn.Module) else model.modules()
    tensors = chain.from_iterable(chain(each.parameters(), each.buffers()) for each in modules)
    first = next(tensors, None)
    return torch.device("cpu") if first is None else first.device
