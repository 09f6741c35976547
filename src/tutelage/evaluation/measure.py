"""The metrics of what models returned for a data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from tutelage.errors import ArgumentError
from tutelage.nested import on_tensors
from tutelage.objectives import Objective
from tutelage.tasks import Outputs, Task, task_of
from tutelage.tasks.metrics import Metric, evaluate_metric, needs_logits, reads_confusion


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
