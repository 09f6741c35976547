"""What a run declares: by which the same call finds it again, and whether it may become longer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from tutelage.data import OnPolicySource
from tutelage.errors import ArgumentError
from tutelage.identity import declared, declared_data, digest, model_identity
from tutelage.schedules import Constant, Schedule
from tutelage.training.setup import Setup

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def describe_run(setup: Setup, processes: int) -> dict[str, Any]:
    """Describe a run by its settings, for readers, without reading weights or data."""
    distiller, settings, engine = setup.distiller, setup.settings, setup.settings.engine
    student = distiller.student
    described = {
        "teacher": None if distiller.teacher is None else type(distiller.teacher).__name__,
        "student": type(student).__name__,
        "objective": repr(distiller.objective),
        "train": setup.train.description,
        "val": None if setup.val is None else setup.val.description,
        "epochs": settings.epochs,
        "seed": settings.seed,
        "optimizer": ", ".join(_as_call(setup.optimizer, each) for each in _groups(setup)),
        "scheduler": None
        if setup.scheduler is None
        else _as_call(setup.scheduler, _scalars(setup.scheduler)),
        "accumulation": engine.accumulation,
        "clip_norm": engine.clip_norm,
        "precision": engine.precision,
        "monitor": repr(settings.monitor),
        "processes": processes,
    }
    if settings.steps is not None:
        described["steps"] = settings.steps
    frozen = [name for name, each in student.named_parameters() if not each.requires_grad]
    if frozen:
        described["frozen"] = f"{len(frozen)} parameters {digest(*frozen)}"
    if settings.transform is not None:
        described["transform"] = repr(settings.transform)
    return {
        name: _ADDRESS.sub("", each) if isinstance(each, str) else each
        for name, each in described.items()
    }


def declare_run(setup: Setup, objective: Any, described: dict[str, Any]) -> dict[str, Any]:
    """Return all that must be equal for a call to resume a folder's run, as plain data.

    The student's first weights are not part of it, so that a script that does not seed them can
    be resumed. `objective` is what the objective declared before the run.
    """
    (train, val), teacher, settings = setup.data, setup.distiller.teacher, setup.settings
    own = (
        "epochs",
        "steps",
        "seed",
        "accumulation",
        "clip_norm",
        "precision",
        "processes",
        "frozen",
    )
    sizes = {name: described[name] for name in ("train", "val") if described[name]}
    found = {name: described[name] for name in own if name in described} | {
        "teacher": None if teacher is None else teacher.fingerprint(),
        "student": model_identity(setup.distiller.student, weights=False),
        "objective": objective,
        "train": {**sizes["train"], "content": declared_data(train)},
        "val": None if val is None else {**sizes["val"], "content": declared_data(val)},
        "optimizer": {"of": type(setup.optimizer).__name__, "groups": declared(_groups(setup))},
        "scheduler": None if setup.scheduler is None else declared(_state(setup.scheduler)),
        "monitor": declared(settings.monitor),
    }
    used = _reset_and_declare(setup)
    before, after = _LEFT.get(settings.out, ({}, {}))
    return found | {
        name: before[name] if name in before and each == after[name] else each
        for name, each in used.items()
    }


_KEPT_BY_TORCH = {
    "_get_lr_called_within_step",
    "_is_initial",
    "_last_lr",
    "_step_count",
    "base_lrs",
}
"""What each scheduler has in its state beside its settings; the rates are the optimizer's."""


def _state(scheduler: Any) -> dict[str, Any]:
    """Return a scheduler's class and its state before the first step, with those inside it."""
    state = scheduler.state_dict().items()
    found = {name: value for name, value in state if name not in _KEPT_BY_TORCH}
    found["of"] = type(scheduler).__name__
    if "lr_lambdas" in found:  # of which a state has no arguments of a partial
        pairs = zip(scheduler.lr_lambdas, found["lr_lambdas"], strict=True)
        found["lr_lambdas"] = [each if isinstance(each, partial) else own for each, own in pairs]
    if "_schedulers" in found:  # one after another, or at once
        found["_schedulers"] = [_state(each) for each in scheduler._schedulers]  # noqa: SLF001
    return found


def note_use(setup: Setup, run: dict[str, Any]) -> None:
    """Remember how a run leaves what may change by being used, as a transform that counts.

    The same call in this process then finds its run again, as one in another process does.
    """
    now = _reset_and_declare(setup)
    _LEFT[setup.settings.out] = {name: run[name] for name in now}, now


_LEFT: dict[Path | None, tuple[dict[str, Any], dict[str, Any]]] = {}


def _reset_and_declare(setup: Setup) -> dict[str, Any]:
    """Return what the transform and the metrics declare; these forget what they have counted."""
    for each in setup.settings.metrics.values():
        reset = getattr(each, "reset", None)
        if callable(reset):
            reset()
    metrics = {name: declared(each) for name, each in setup.settings.metrics.items()}
    return {"transform": declared(setup.settings.transform), "metrics": metrics}


def why_not_longer(setup: Setup | None) -> str:
    """Return what in a run depends on its number of epochs; an empty text for nothing.

    Without a setup it is for stages. Functions of the user's that read `batch.progress` are not
    looked into.
    """
    if setup is None:
        return "a stage begins where the one before it ends"
    if setup.scheduled:
        return f"the scheduler ({type(setup.scheduler).__name__}) goes over all steps"
    own = [setup.distiller.objective, setup.settings.transform]
    own += [setup.train.policy.share] if isinstance(setup.train, OnPolicySource) else []
    found = next((each for one in own for each in _schedules(one)), None)
    return "" if found is None else f"the schedule {found} goes over all epochs"


def _schedules(value: object, depth: int = 8) -> Iterator[Schedule]:
    """Yield the schedules in an objective or a transform that are not constant."""
    if isinstance(value, Schedule):
        if not isinstance(value, Constant):
            yield value
    elif depth and isinstance(value, (list, tuple, dict)):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _schedules(each, depth - 1)
    elif depth and hasattr(value, "__dict__") and not isinstance(value, (type, Tensor)):
        parts = list(value.children()) if isinstance(value, nn.Module) else []
        yield from _schedules([*vars(value).values(), *parts], depth - 1)


def check_progress(setup: Setup) -> None:
    """Refuse what changes over training where nobody can tell how far that is.

    With several epochs it changes from one to the next.
    """
    if setup.settings.epochs != 1 or setup.train.batches_per_epoch() is not None:
        return
    if moving := why_not_longer(setup):
        raise ArgumentError(
            f"`train` must have a length in a single epoch where {moving}, got data without one, "
            "so that it would stay at its first value; give the data __len__, several epochs, or "
            "a constant"
        )


def _as_call(owner: object, settings: dict[str, Any]) -> str:
    """Return an object with its settings as its call, without those that are not set."""
    known = (f"{k}={v}" for k, v in settings.items() if v is not None and v is not False)
    return f"{type(owner).__name__}({', '.join(known)})"


def _groups(setup: Setup) -> list[dict[str, Any]]:
    """Return the settings of the optimizer's groups, and the sizes of their parameters.

    With which kernels a step is computed is none of them.
    """
    return [
        {key: value for key, value in group.items() if key != "params"}
        | {key: None for key in ("foreach", "fused") if key in group}
        | {"parameters": sum(each.numel() for each in group["params"])}
        for group in setup.optimizer.param_groups
    ]


def _scalars(value: object) -> dict[str, Any]:
    """Return the attributes of an object that are numbers or texts."""
    return {
        key: each
        for key, each in sorted(vars(value).items())
        if isinstance(each, (int, float, str, bool)) and not key.startswith("_")
    }
