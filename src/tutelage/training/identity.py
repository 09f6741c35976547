"""What makes a run this run: what must be equal for a call to go on with a folder's run."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from tutelage.data import Transform
from tutelage.training.plan import Plan


def identity(plan: Plan, processes: int) -> dict[str, Any]:
    """Describe a run by what decides its result, as far as that can be seen.

    Not seen are the content of data sets that are not tensors, the bodies of functions and the
    student's first weights: whoever does not seed them may go on with those of the first call.
    """
    teacher, val = plan.distiller.teacher, plan.val
    contents = {
        "teacher": None if teacher is None else teacher.fingerprint(),
        "train_content": plan.train.fingerprint(),
        "val_content": None if val is None else val.fingerprint(),
    }
    return description(plan, processes) | contents


def description(plan: Plan, processes: int) -> dict[str, Any]:
    """Describe a run by its settings alone, without reading weights or data."""
    distiller, settings = plan.distiller, plan.settings
    return (
        {
            "teacher": None if distiller.teacher is None else type(distiller.teacher).__name__,
            "student": _architecture(distiller.student),
            "objective": repr(distiller.objective),
            "train": plan.train.description,
            "val": None if plan.val is None else plan.val.description,
            "epochs": settings.epochs,
            "seed": settings.seed,
            "optimizer": _optimizer(plan.optimizer),
            "scheduler": None if plan.scheduler is None else _scheduler(plan.scheduler),
            "accumulation": settings.engine.accumulation,
            "clip_norm": settings.engine.clip_norm,
            "precision": settings.engine.precision,
            "monitor": repr(settings.monitor),
            "processes": processes,
        }
        | _frozen(distiller.student)
        | _transform(settings.transform)
    )


def _architecture(module: nn.Module) -> str:
    state = module.state_dict().items()
    shapes = [(name, list(each.shape)) for name, each in state if isinstance(each, Tensor)]
    return f"{type(module).__name__} {_digest(shapes)}"


def _frozen(student: nn.Module) -> dict[str, str]:
    """Describe what of the student does not learn, if there is anything."""
    names = [name for name, each in student.named_parameters() if not each.requires_grad]
    return {"frozen": f"{len(names)} parameters {_digest(names)}"} if names else {}


def _transform(transform: Transform | None) -> dict[str, str]:
    """Describe what is done to the batches, if anything, without where it lies in memory."""
    text = re.sub(r" at 0x[0-9a-f]+", "", repr(transform))
    return {} if transform is None else {"transform": text}


def _digest(value: object) -> str:
    return hashlib.blake2b(repr(value).encode(), digest_size=8).hexdigest()


def _optimizer(optimizer: Optimizer) -> str:
    groups = [
        {key: value for key, value in group.items() if key != "params"}
        | {"parameters": sum(each.numel() for each in group["params"])}
        for group in optimizer.param_groups
    ]
    return f"{type(optimizer).__name__} {groups}"


def _scheduler(scheduler: LRScheduler) -> str:
    plain = (int, float, str, bool)
    settings = {
        key: value
        for key, value in sorted(vars(scheduler).items())
        if isinstance(value, plain) and not key.startswith("_")
    }
    return f"{type(scheduler).__name__} {settings}"
