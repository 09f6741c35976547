"""Whether validation will give the monitored metric, found before the first step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from accelerate import Accelerator
from torch import Tensor

from tutelage.data import Source, randomness
from tutelage.evaluation import evaluate
from tutelage.layers.language import generates
from tutelage.objectives import Objective
from tutelage.signals import Batch
from tutelage.tasks import with_companions
from tutelage.training.engine import PLAIN
from tutelage.training.folder import RunFolder
from tutelage.training.monitor import Monitor, no_such_metric
from tutelage.training.run_setup import Setup
from tutelage.training.settings import Settings


def check_monitors(
    setup: Setup,
    later: Sequence[tuple[Objective, Settings]],
    folder: RunFolder | None,
    accelerator: Accelerator,
) -> None:
    """Refuse a monitored metric that one batch of the validation data does not give.

    It is the first batch with a label, since some may have none. Which domains there are, a batch
    does not tell. A run with a checkpoint in its folder was checked before, and a model that is not
    whole in each process cannot run yet. `later` are the objectives and settings of later stages.

    Raises:
        ArgumentError: The metric will not be there.
        TutelageError: The validation data or a model fails, as it would after the first epoch.
    """
    every = [(setup.distiller.objective, setup.settings), *later]
    every = [pair for pair in every if pair[1].monitor is not None and pair[0].built]
    resumed = folder is not None and folder.last.exists()
    if setup.val is None or resumed or not every or accelerator.distributed_type not in PLAIN:
        return
    batch = _labelled_batch(setup.val)
    if batch is not None:  # validation says so
        for objective, settings in every:
            objective.to(accelerator.device)  # a later one may have parameters of its own
            _check(setup, objective, settings, batch, accelerator.device)


def _check(
    setup: Setup, objective: Objective, settings: Settings, batch: Batch, device: torch.device
) -> None:
    student, monitor = setup.distiller.student, cast("Monitor", settings.monitor)
    name, _, domain = monitor.name.partition("/")
    own = set(settings.metrics) if _has_label(batch) or generates(student) else set[str]()
    if name in own and (not domain or batch.domain is not None):
        return
    found = evaluate(
        student,
        setup.val_teacher if objective.wants.teacher else None,
        objective,
        _One(batch),
        device=device,
        chunk_logits_from=settings.engine.chunk_logits_from,
    ).metrics
    plain = {each.partition("/")[0] for each in found}
    if len(batch) == 1:
        plain.add("loss")  # that of objectives that compare examples
    known = with_companions(plain, objective) | own
    parted = batch.domain is not None or any(each.startswith(f"{name}/") for each in found)
    if name not in known or (domain and not parted):
        raise no_such_metric(monitor.name, known)


def _labelled_batch(val: Source) -> Batch | None:
    """Return the first batch with a label, else the first; None if there is none."""
    state, first = val.state(), None
    with randomness.preserved():
        for batch in val.epoch(0):
            first = batch if first is None else first
            if batch.labels is None or _has_label(batch):
                first = batch
                break
    val.load(state)
    return first


def _has_label(batch: Batch) -> bool:
    if isinstance(batch.labels, Tensor):
        return bool(batch.labelled().any())
    return batch.labels is not None


class _One(Source):
    """A source of one batch."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    def __len__(self) -> int:
        return 1

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batch."""
        yield self.batch

    def fingerprint(self) -> str | None:
        """Return None: it is a part of other data."""
        return None

    @property
    def description(self) -> dict[str, Any]:
        """Nothing, for the same reason."""
        return {}
