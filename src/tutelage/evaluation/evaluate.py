"""Run models over data and evaluate them: the one loop behind validation, reports and studies."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from tutelage.aligned import AlignedTargets
from tutelage.coarse import CoarseLogits
from tutelage.data import Source, as_source, randomness
from tutelage.data.loader_source import shuffling_sampler
from tutelage.errors import ArgumentError, DataError
from tutelage.evaluation.segmentation import confusions
from tutelage.heads import HeadLogits
from tutelage.layers import evaluating
from tutelage.layers.language import generates, next_tokens, shift_labels_for
from tutelage.layers.student import observe_student
from tutelage.nested import joined, on_tensors, to_device
from tutelage.objectives import Objective, with_feedback
from tutelage.objectives._by_chunk import CHUNK_LOGITS_FROM, with_heads
from tutelage.objectives._valid import masked, valid_examples, values_of
from tutelage.positions import flatten_rows, labels_by_row
from tutelage.rows import Rows
from tutelage.signals import UNLABELLED, Batch, Signals
from tutelage.tasks import Outputs, Task, task_of
from tutelage.tasks.metrics import (
    Metric,
    evaluate_metric,
    keeps_whole,
    needs_logits,
    reads_confusion,
)
from tutelage.tasks.outputs import on_grid
from tutelage.tasks.token_scores import TokenScores, token_scores
from tutelage.teachers import Teacher, ask
from tutelage.wants import OUTPUT, Fields, Wants

_CPU = torch.device("cpu")
_FINAL = 1.0  # progress at which the objective has its final weights and temperatures
_TABLE = 2  # dimensions of [rows, classes]


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
        asked_as: The student of a teacher that is evaluated alone: batches are those that it is
            asked, such as with the labels of next tokens; None for the model itself.
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
    wants = Wants(student=replace(OUTPUT, head_from=None if objective is None else least))
    if objective is not None and scored:
        wants = with_heads(objective, least)
    if metrics and wants.student.loss:  # whose model returns an output that no term reads
        wants |= Wants(student=OUTPUT)
    if outputs or objective is None:
        wants |= Wants(student=OUTPUT, teacher=Fields(output=teacher is not None))
    if scores:
        own = replace(OUTPUT, head_from=least)
        wants = Wants(student=own, teacher=Fields() if teacher is None else own)
    feedback = with_feedback(objective) if objective is not None and scored else []
    losses = _Losses(objective if scored and not scores else None)
    device = _device(model) if device is None else device
    modules = [each for each in (model, objective) if isinstance(each, nn.Module)]
    module = _module(model) if asked_as is None else asked_as
    language = objective is not None and is_of_language(module, objective)
    kinds = () if objective is None else (objective.output_kind,)
    collected = _Collected(
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
    if outputs.student is None and outputs.predictions is None and outputs.scores is None:
        return {}
    outputs = outputs.read_by(objective)
    task = task_of(objective, outputs) if standard else None
    return _measure(task, outputs, metrics or {}, tolerant=False) | {
        f"{name}/{domain}": value
        for domain, own in outputs.by_domain().items()
        for name, value in _measure(task, own, metrics or {}, tolerant=True).items()
        if value == value  # noqa: PLR0124 - not NaN
    }


def _measure(
    task: Task | None, outputs: Outputs, metrics: Mapping[str, Metric], tolerant: bool
) -> dict[str, float]:
    """Return a task's metrics and the user's; `tolerant` leaves out what raises ValueError.

    Without labels, or without a labelled example, there are none of the user's.
    """
    found = {} if task is None else task.metrics(outputs)
    known, of_logits = outputs.labelled(), needs_logits(metrics)
    if known.labels is None or not len(known.labels):
        return found
    for name, metric in metrics.items():
        given = replace(known, scores=None).given if name in of_logits else known.given
        if given is None:
            continue
        # A metric may work in place.
        output, true = (on_tensors(each, Tensor.clone) for each in (given, known.labels))
        try:
            if known.confusion is not None and reads_confusion(metric):
                counts = known.confusion.sum(dim=0)
                found[name] = float(metric.of_counts(counts))  # pyright: ignore
            else:
                found[name] = evaluate_metric(name, metric, output, true, known.rows)
        except ArgumentError as error:
            # Such as an area under a curve for a domain with a single class.
            if not (tolerant and isinstance(error.__cause__, ValueError)):
                raise
    return found


def divergence(objective: Objective, outputs: Outputs) -> dict[str, float]:
    """Return `kl`, the mean KL divergence from the teacher; empty where there are no classes.

    Of binary labels it is the mean over all labels. Of scores of tokens there is `acceptance_rate`
    too (see `acceptance_rate`).

    Args:
        objective: Tells what outputs hold (`output_kind`).
        outputs: Of student and teacher.
    """
    outputs = outputs.read_by(objective)
    return task_of(objective, outputs).fidelity(outputs)


def learns_by_own_loss(objective: Objective) -> bool:
    """Tell whether only the student itself knows what its outputs and labels mean (`OwnLoss`)."""
    return objective.wants.student.loss is not None and not objective.wants.student.output


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


class _Kept(NamedTuple):
    """What is kept of a batch: both models' outputs, labels, scores of rows, counts of maps."""

    student: Signals
    target: Signals
    labels: Batch
    table: Tensor | None
    confusions: tuple[Tensor, Tensor | None] | None


class _Collected:
    """The outputs of all batches on the CPU, or of language models scores of their rows.

    Args:
        logits: Whether logits are kept also where there are scores.
        scores: Whether to make scores of any logits, not of language models alone.
        language: Whether the model is one of language.
        whole: Whether all positions of maps are kept.
    """

    def __init__(self, *, logits: bool, scores: bool, language: bool, whole: bool) -> None:
        self._logits, self._any, self._language = logits, scores, language
        self._whole = whole
        self.batches: list[_Kept] = []

    def add(self, student: Signals, target: Signals, batch: Batch) -> None:
        """Keep a batch."""
        labels = replace(labels_by_row(batch, student.rows), inputs=None)
        confusions = None
        if not self._whole and _are_classes(student, labels):
            confusions = _confusions(student, target, labels)
            student, target, labels = _thinned(student, target, labels)
        wanted = self._any or (self._language and student.rows is not None)
        wanted |= isinstance(student.output, HeadLogits) and not self._logits
        scored, table = wanted and _has_scores(student.output), None
        if scored:
            output, theirs = cast("Tensor", student.output), target.output
            if isinstance(theirs, AlignedTargets):  # probabilities of other tokens
                theirs = None
            table = token_scores(output, theirs, labels.labels).table
        kept = self._logits or not scored
        ours, theirs = _on_cpu(student, kept), _on_cpu(target, kept)
        self.batches.append(_Kept(ours, theirs, labels, table, confusions))

    def joined(self) -> tuple[Outputs, Signals, Signals, Batch]:
        """Return the outputs of all batches; of both models as signals; and the labels."""
        if not self.batches:
            raise DataError(
                "data that a model is evaluated on must yield at least one batch in each pass, got "
                "none; fill it, and let a stream begin anew in each pass"
            )
        students, targets, batches, tables, confusions = zip(*self.batches, strict=True)
        student, target = _joined_outputs(students), _joined_outputs(targets)
        batch = _joined_batches(batches)
        scored = None not in tables
        found = Outputs(
            student.dense_or_none,
            target.dense_or_none,
            batch.labels,
            cast("list[str] | None", batch.domain),
            _joined_rows(students) if scored else student.rows,
            student.predictions,
            TokenScores(torch.cat(tables)) if scored else None,
            self._language or self._any,
        )
        if found.student is not None and None not in confusions:
            ours, theirs = zip(*confusions, strict=True)
            theirs = None if None in theirs or found.teacher is None else torch.cat(theirs)
            found = replace(found, confusion=torch.cat(ours), teacher_confusion=theirs)
        return found, student, target, batch


def _has_scores(output: object) -> bool:
    """Tell whether an output has class logits by row, or probabilities of some classes."""
    if isinstance(output, CoarseLogits):
        return output.sampled_at is None
    return isinstance(output, (Tensor, HeadLogits)) and output.ndim == _TABLE


def _are_classes(signals: Signals, batch: Batch) -> bool:
    """Tell whether outputs are logits of maps `[rows, classes]`, and labels, if any, class ids.

    Of more classes than positions the counts of true and predicted classes are larger than logits.
    """
    output, rows, labels = signals.output, signals.rows, batch.labels
    if not isinstance(output, Tensor) or output.ndim != _TABLE or output.shape[1] == 1:
        return False
    if rows is None or len(rows.positions) < 2:  # noqa: PLR2004 - a text has one dimension
        return False
    if output.shape[1] > math.prod(rows.positions):
        return False
    return labels is None or (
        isinstance(labels, Tensor)
        and labels.shape == output.shape[:1]
        and not labels.is_floating_point()
    )


def _confusions(
    student: Signals, target: Signals, batch: Batch
) -> tuple[Tensor, Tensor | None] | None:
    """Return what student and teacher predict at all positions; None without labels."""
    rows, output = cast("Rows", student.rows), cast("Tensor", student.output)
    if batch.labels is None:
        return None
    theirs = target.output if isinstance(target.output, Tensor) else None
    alike = theirs is not None and theirs.shape == output.shape
    ours = _confusion(output, batch.labels, rows)
    return ours, _confusion(cast("Tensor", theirs), batch.labels, rows) if alike else None


def _confusion(output: Tensor, labels: Tensor, rows: Rows) -> Tensor:
    """Return how many rows of each example have a true and a predicted class; NaN of NaN."""
    ids, of_rows = labels.to(output.device).long(), rows.examples
    found = confusions(output.argmax(dim=1), ids, of_rows, len(rows.counts), output.shape[1])
    broken = of_rows[(ids != UNLABELLED) & output.isnan().any(dim=1)].unique().cpu()
    return found.double().index_fill(0, broken, torch.nan)


def _thinned(student: Signals, target: Signals, batch: Batch) -> tuple[Signals, Signals, Batch]:
    """Return an even grid of the positions of large maps."""
    kept, which = on_grid(cast("Rows", student.rows))
    if which is None:
        return student, target, batch
    kept = Rows.counted(kept.counts)  # whose mask is as small
    student = replace(student, output=cast("Tensor", student.output)[which], rows=kept)
    if target.output is not None and target.rows is not None:
        found = target.targets
        found = found[which] if isinstance(found, Tensor) else found.changed(lambda v: v[which])
        target = replace(target, output=found, rows=kept)
    labels = None if batch.labels is None else batch.labels[which.to(batch.labels.device)]
    return student, target, replace(batch, labels=labels, rows=kept, row_mask=None)


def _on_cpu(signals: Signals, output: bool) -> Signals:
    """Return what is kept of a model's signals, on the CPU, perhaps with its output in float32.

    Features are not: they may be large.
    """
    own = signals.output if output else None
    if isinstance(own, AlignedTargets):
        own = None
    if isinstance(own, HeadLogits):
        own = own.as_computed().logits()
    if isinstance(own, Tensor) and own.dtype in (torch.bfloat16, torch.float16):
        own = own.float()  # as autocast computes them; metrics in them would be coarse
    return Signals(own, rows=signals.rows, predictions=signals.predictions).to(_CPU)


def _joined_outputs(parts: Sequence[Signals]) -> Signals:
    """Concatenate the outputs of all batches; without an output if one has none."""
    predictions = [part.predictions for part in parts if part.predictions is not None]
    if len(predictions) == len(parts):
        return Signals(predictions=list(chain.from_iterable(predictions)))
    outputs = [part.targets for part in parts if part.output is not None]
    dense = [each for each in outputs if isinstance(each, Tensor)]
    if len(outputs) < len(parts):
        return Signals()
    rows = _joined_rows(parts)
    if len(dense) == len(parts):
        if all(each.ndim == _TABLE for each in dense):
            # Of candidates: their number may vary, and the further ones are impossible.
            most = max(each.shape[1] for each in dense)
            dense = [F.pad(each, (0, most - each.shape[1]), value=-torch.inf) for each in dense]
        return Signals(torch.cat(dense), rows=rows)
    coarse = [CoarseLogits.of(each) if isinstance(each, Tensor) else each for each in outputs]
    return Signals(CoarseLogits.joined(coarse), rows=rows)


def _joined_batches(parts: Sequence[Batch]) -> Batch:
    """Return labels and domains of all examples, where all have them, as a batch without inputs."""
    labels = [to_device(part.labels, _CPU) for part in parts if part.labels is not None]
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


def _joined_rows(parts: Sequence[Signals]) -> Rows | None:
    several = [part.rows for part in parts if part.rows is not None]
    return Rows.joined(several) if several else None


def run_model(model: nn.Module | Teacher, batch: Batch, wanted: Fields, side: str) -> Signals:
    """Return what is required of a model or a teacher for a batch; `side` names it in errors."""
    if isinstance(model, Teacher):
        return ask(model, batch, wanted, predictions=True)
    return flatten_rows(observe_student(model, batch, wanted, side), batch, side)


def _module(model: nn.Module | Teacher) -> nn.Module | None:
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
