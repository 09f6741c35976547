"""Run models over data and evaluate them: the one loop behind validation, reports and studies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from tutelage.data import Source, as_source, randomness
from tutelage.data.loader_source import shuffling_sampler
from tutelage.errors import ArgumentError, DataError
from tutelage.evaluation.collected import Collected
from tutelage.evaluation.measure import learns_by_own_loss, measure
from tutelage.layers import evaluating
from tutelage.layers.language import generates, next_tokens, shift_labels_for
from tutelage.layers.student import observe_student
from tutelage.objectives import Objective, with_feedback
from tutelage.objectives._by_chunk import CHUNK_LOGITS_FROM, with_heads
from tutelage.objectives._valid import masked, valid_examples, values_of
from tutelage.positions import flatten_rows
from tutelage.signals import Batch, Signals
from tutelage.tasks import Outputs
from tutelage.tasks.metrics import Metric, keeps_whole, needs_logits
from tutelage.teachers import Teacher, ask
from tutelage.wants import OUTPUT, Fields, Wants

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
    scores: bool = False,
    whole: bool = False,
    asked_as: nn.Module | None = None,
    chunk_logits_from: int | None = CHUNK_LOGITS_FROM,
    autocast: Callable[..., AbstractContextManager[object]] = nullcontext,
    gather: Callable[[list[Any]], list[Any]] | None = None,
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
        scores: Whether to return `TokenScores` in place of both models' class logits, without a
            loss. Of language models they are made anyway, where an objective reads classes.
        whole: Whether to keep the outputs of all positions of large maps, as of images of millions
            of pixels, and not an even grid of them (see `Outputs`). They are kept anyway where a
            metric or an objective needs them.
        asked_as: Where `model` is a teacher that does not tell whether it is causal: a student of
            it, for which batches are made (labels of the next token). None to look at `model`.
        chunk_logits_from: As in `Distiller`. Of such logits `TokenScores` alone are kept. `outputs`
            needs them whole, and so do metrics of the user's that do not read scores.
        autocast: The context of each batch, such as Accelerate's `autocast`; outputs are kept as
            float32.
        gather: Where each process evaluates a part of every batch: from one entry for each batch of
            this process, (`Batch.replicas`, value), to the values of all processes, in the order of
            the data and each once.

    Raises:
        ArgumentError: A metric fails.
        DataError: There are neither usable labels nor a teacher, or class ids are out of range.
        ModelError: A model refuses its inputs.
    """
    scored = objective is not None and (teacher is not None or not objective.wants.teacher)
    # A source of outputs has no loss of its own.
    scored &= isinstance(model, nn.Module) or not (objective and objective.wants.student.loss)
    metrics = metrics or {}
    dense = outputs or bool(needs_logits(metrics))
    least = None if dense else chunk_logits_from
    chunked, both = replace(OUTPUT, head_from=least), Fields(output=teacher is not None)
    if scores:
        wants = Wants(student=chunked, teacher=Fields() if teacher is None else chunked)
    elif objective is None:
        wants = Wants(student=OUTPUT, teacher=both)
    else:
        wants = with_heads(objective, least) if scored else Wants(student=chunked)
        if outputs:
            wants |= Wants(student=OUTPUT, teacher=both)
        elif metrics and wants.student.loss:  # whose model returns an output that no term reads
            wants |= Wants(student=OUTPUT)
    feedback = with_feedback(objective) if objective is not None and scored else []
    losses = _Losses(objective if scored and not scores else None)
    device = _device(model) if device is None else device
    modules = [each for each in (model, objective) if isinstance(each, nn.Module)]
    module = _first_module(model) if asked_as is None else asked_as
    language = objective is not None and is_of_language(module, objective)
    kinds = () if objective is None else (objective.output_kind,)
    collected = Collected(
        logits=dense or bool(feedback) or (objective is None and not scores),
        scores=scores,
        language=language,
        whole=whole or bool(feedback) or keeps_whole(kinds, metrics),
    )
    # Not in inference mode: a student may keep tensors from here and use them in training.
    with randomness.preserved(), evaluating(*modules), torch.no_grad():
        randomness.seed_everything(0)
        replicas = []
        for raw in source.epoch(0):
            batch = raw.to(device, _FINAL)
            batch = _shift_labels(batch, model, module, wants.student.output)
            side = "student" if objective else "model"
            with autocast():
                student = run_model(model, batch, wants.student, side)
                target = Signals() if teacher is None else ask(teacher, batch, wants.teacher)
                losses.add(student, target, batch)
            collected.add(student, target, batch)
            replicas.append(batch.replicas)
    if gather is not None:
        own = zip(losses.batches, collected.batches, strict=True)
        every = gather(list(zip(replicas, own, strict=True)))
        losses.batches = [each[0] for each in every]
        collected.batches = [each[1] for each in every]
    found, student, target, batch = collected.joined()
    if objective is None:
        return Evaluation({}, found)
    values = losses.metrics()
    for each in feedback:
        values |= each.validation_metrics(student, target, batch)
    values |= measure(objective, found, metrics, standard=not learns_by_own_loss(objective))
    if not values:
        raise DataError(
            "`val` must have labels that match the output, or a teacher with targets for it, to "
            "evaluate the student, got neither; label it too and give both, "
            "tl.teachers.Stored(store, val_store), or leave `val` out"
        )
    return Evaluation(values, found)


def is_of_language(model: object, objective: Objective) -> bool:
    """Tell whether a model is one of language whose logits, and no embedding, are evaluated."""
    return objective.output_kind in (None, "classes") and generates(model)


def predict(model: nn.Module, data: object, batch_size: int = 256) -> Any:
    """Return a model's outputs for a data set, `[examples, …]`, on the CPU.

    Of a model with several answers an example (tokens, pixels) they are `[rows, …]`: those of all
    examples one after another, without positions that are padding or void or that only lack a label
    in a labelled example. Of a detector, which returns one dict per example, it is the list of
    these.

    The model runs in eval mode without gradients. Its mode and the global random state do not
    change.

    Args:
        model: Any module.
        data: A data set, which is read in order, or a `DataLoader` of a fixed order.
        batch_size: Examples at a time, for a data set.

    Raises:
        DataError: The data is empty, or a loader shuffles it.
        ModelError: The model refuses the inputs.
    """
    sampler = shuffling_sampler(data) if isinstance(data, DataLoader) else None
    if sampler is not None:
        raise DataError(
            "`data` must come in an order that is known, or nobody could tell whose outputs these "
            f"are, got a DataLoader with {sampler}; make it with shuffle=False"
        )
    source = as_source("data", data, batch_size)
    outputs = evaluate(model, None, None, source, whole=True).outputs
    return outputs.predictions if outputs.student is None else outputs.student


class _Losses:
    """The objective over all examples: each term's mean over its valid ones."""

    def __init__(self, objective: Objective | None) -> None:
        self._terms = () if objective is None else objective.terms()
        if objective is not None and not objective.built:
            raise ArgumentError(
                f"the objective {objective} must have its projectors before it is evaluated, got "
                "none yet; call Distiller(student, teacher, objective).build(batch) first"
            )
        self.batches: list[dict[int, tuple[float, float]]] = []
        """Of each batch, each term's sum over its valid examples, and their number."""

    def add(self, student: Signals, teacher: Signals, batch: Batch) -> None:
        known = [
            number
            for number, term in enumerate(self._terms)
            if batch.labels is not None or not term.objective.wants.labels
        ]
        terms = [self._terms[number] for number in known]
        examples, masks = valid_examples(terms, batch)
        objectives = [term.objective for term in terms]
        each_of = values_of(objectives, student, teacher, batch, examples)
        sums = dict[int, tuple[float, float]]()
        for number, found, mask in zip(known, each_of, masks, strict=True):
            values = found if mask is None else masked(found, mask)
            count = examples if mask is None else mask.sum().item()
            sums[number] = values.double().sum().item(), float(count)
        self.batches.append(sums)

    def metrics(self) -> dict[str, float]:
        """Return the weighted sum as `loss`, over the terms that have valid examples.

        A term without any, such as one on labels where the data has none, is left out: a mean of 0
        would look like a perfect one. There is no loss where no term with a weight is left.
        """
        means = []
        for number, term in enumerate(self._terms):
            sums = [each[number] for each in self.batches if number in each]
            count = sum(each[1] for each in sums)
            if count:
                means.append((term.weight(_FINAL), sum(each[0] for each in sums) / count))
        return {"loss": sum(w * mean for w, mean in means)} if any(w for w, _ in means) else {}


def run_model(model: nn.Module | Teacher, batch: Batch, wanted: Fields, side: str) -> Signals:
    """Return what is required of a model or a teacher for a batch; `side` names it in errors."""
    if isinstance(model, Teacher):
        return ask(model, batch, wanted, predictions=True)
    return flatten_rows(observe_student(model, batch, wanted, side), batch, side)


def _first_module(model: nn.Module | Teacher) -> nn.Module | None:
    return model if isinstance(model, nn.Module) else next(iter(model.modules()), None)


def _shift_labels(
    batch: Batch, model: nn.Module | Teacher, module: nn.Module | None, output: bool
) -> Batch:
    """Return a batch as language models are asked; without a module a teacher may tell."""
    if module is None and isinstance(model, Teacher) and model.is_causal:
        return next_tokens(batch) if output else batch
    return shift_labels_for(batch, module, output)


def _device(model: nn.Module | Teacher) -> torch.device:
    modules = (model,) if isinstance(model, nn.Module) else model.modules()
    tensors = chain.from_iterable(chain(each.parameters(), each.buffers()) for each in modules)
    first = next(tensors, None)
    return torch.device("cpu") if first is None else first.device
