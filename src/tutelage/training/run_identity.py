"""The identity of a run: what must be equal for a call to resume a folder's run."""

from __future__ import annotations

import re
import weakref
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from types import FunctionType
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from tutelage.data import OnPolicySource
from tutelage.data.data_fingerprint import SAMPLED
from tutelage.errors import ArgumentError
from tutelage.identity import digest, identity, names_of
from tutelage.objectives import Objective
from tutelage.schedules import Constant, Schedule
from tutelage.training.run_setup import Setup

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_NOT_OF_OPTIMIZER = {"state", "param_groups", "defaults", "step"}  # or changed by a scheduler


def describe_run(setup: Setup, processes: int) -> dict[str, Any]:
    """Describe a run by its settings, without reading weights or data."""
    distiller, settings, engine = setup.distiller, setup.settings, setup.settings.engine
    student, state = distiller.student, distiller.student.state_dict()
    shapes = [(name, list(each.shape)) for name, each in state.items() if isinstance(each, Tensor)]
    groups = [
        {key: value for key, value in group.items() if key != "params"}
        | {"parameters": sum(each.numel() for each in group["params"])}
        for group in setup.optimizer.param_groups
    ]
    described = {
        "teacher": None if distiller.teacher is None else type(distiller.teacher).__name__,
        "student": f"{type(student).__name__} {digest(repr(shapes))}",
        "objective": repr(distiller.objective),
        "train": setup.train.description,
        "val": None if setup.val is None else setup.val.description,
        "epochs": settings.epochs,
        "seed": settings.seed,
        "optimizer": f"{type(setup.optimizer).__name__} {groups}",
        "scheduler": None if setup.scheduler is None else _scheduler(setup.scheduler),
        "accumulation": engine.accumulation,
        "clip_norm": engine.clip_norm,
        "precision": engine.precision,
        "monitor": repr(settings.monitor),
        "processes": processes,
    }
    frozen = [name for name, each in student.named_parameters() if not each.requires_grad]
    if frozen:
        described["frozen"] = f"{len(frozen)} parameters {digest(*frozen)}"
    if settings.transform is not None:
        described["transform"] = repr(settings.transform)
    return {
        name: _ADDRESS.sub("", each) if isinstance(each, str) else each
        for name, each in described.items()
    }


def content_of_run(setup: Setup, objective: str, unread: list[str]) -> dict[str, str]:
    """Describe a run by all that its settings do not show: attributes, code, weights, data.

    The student's first weights are not part of it, so that a script that does not seed them can
    be resumed. What an earlier run of this process changed by using it, such as a transform that
    counts, is described as that run found it: in another process it is new and has that
    description again. `unread` receives what could not be read.
    """
    teacher, known = setup.distiller.teacher, _known(setup)
    found = {
        "teacher": None if teacher is None else teacher.fingerprint(),
        "train_content": setup.train.fingerprint(),
        "val_content": None if setup.val is None else setup.val.fingerprint(),
        "objective_content": objective,
        "optimizer_content": _content(_parts_of(setup.optimizer), "the optimizer", known, unread),
        "scheduler_content": _content(setup.scheduler, "the scheduler", known, unread),
    }
    for name, (value, now) in _in_use(setup, unread).items():
        used, first, left = _USED.get(id(value), (None, "", ""))
        found[f"{name}_content"] = first if used and used() is value and left == now else now
    for name, source in (("train", setup.train), ("val", setup.val)):
        content = found[f"{name}_content"]
        if source is not None and content in (None, "not seen"):
            unread.append(f"the content of `{name}`")
        elif source is not None and content.endswith(SAMPLED):
            unread.append(f"every example of `{name}`")
    return {name: each for name, each in found.items() if each is not None}


def note_use(setup: Setup, described: Mapping[str, Any]) -> None:
    """Remember how a run leaves what may change by being used."""
    for name, (value, now) in _in_use(setup, []).items():
        with suppress(TypeError):  # what cannot be referred to weakly is not remembered
            used = weakref.ref(value, partial(_USED.pop, id(value)))  # the reference: a default
            _USED[id(value)] = used, described[f"{name}_content"], now


_USED: dict[int, tuple[Any, str, str]] = {}
"""By `id`: a weak reference, and the text that the last run found and the one that it left."""


def _in_use(setup: Setup, unread: list[str]) -> dict[str, tuple[Any, str]]:
    """Return by name what may change by being used, and how it is now."""
    settings, known, student = setup.settings, _known(setup), setup.distiller.student
    found: dict[str, tuple[Any, str]] = {}
    found["student"] = (student, identity(student, tensors="none", unread=unread))
    named = {f"metric {name}": each for name, each in settings.metrics.items()}
    for name, each in (named | {"transform": settings.transform}).items():
        reset = getattr(each, "reset", None)
        if name in named and callable(reset):
            reset()  # what it has counted is not what it is
        found[name] = each, _content(each, f"`{name}`", known, unread)
    return found


def _content(value: object, name: str, known: Mapping[int, str], unread: list[str]) -> str:
    missing: list[str] = []
    found = identity(value, known=known, unread=missing)
    unread.extend(f"{each} in {name}" for each in missing)
    return found


def objective_content(objective: Objective, unread: list[str]) -> str:
    """Return a text that changes with an objective's attributes, buffers and code.

    Of its own trained parameters only the shapes count, as for the student.
    """
    return identity(objective, tensors="fixed", unread=unread)


def why_not_longer(setup: Setup | None) -> str:
    """Return what in a run depends on its number of epochs; an empty text for nothing.

    Without a setup it is for stages.
    """
    if setup is None:
        return "a stage begins where the one before it ends"
    if setup.scheduler is not None:
        return f"the scheduler ({type(setup.scheduler).__name__}) goes over all steps"
    found: list[str] = []

    def visit(value: object) -> None:
        if isinstance(value, Schedule) and not isinstance(value, Constant):
            found.append(f"the schedule {value} goes over all epochs")
        elif isinstance(value, FunctionType) and "progress" in names_of(value.__code__):
            found.append(f"the function {value.__qualname__} reads the progress of training")

    own = [setup.distiller.objective, setup.settings.transform]
    own += [setup.train.policy.share] if isinstance(setup.train, OnPolicySource) else []
    identity(own, tensors="none", visit=visit)
    return found[0] if found else ""


def check_progress(setup: Setup) -> None:
    """Refuse what changes over training where nobody can tell how far that is.

    With several epochs it changes from one to the next.
    """
    if setup.settings.epochs > 1 or setup.train.batches_per_epoch() is not None:
        return
    if moving := why_not_longer(setup):
        raise ArgumentError(
            f"`train` must have a length in a single epoch where {moving}, got data without one, "
            "so that it would stay at its first value; give the data __len__, several epochs, or "
            "a constant"
        )


def _known(setup: Setup) -> dict[int, str]:
    """Return names for objects that are described separately, since functions may refer to them."""
    student, teacher = setup.distiller.student, setup.distiller.teacher
    named = [(each, f"student.{name}") for name, each in setup.distiller.named_parameters()]
    named += [(each, f"student.{name}") for name, each in student.named_modules()]
    named += [(each, f"student.{name}") for name, each in student.named_buffers()]
    named += [(each, "teacher") for each in (teacher.modules() if teacher else ())]
    named += [(setup.optimizer, "optimizer"), *zip(setup.data, ("train", "val"), strict=True)]
    return {id(each): name for each, name in named if each is not None}


def _parts_of(optimizer: Optimizer) -> list[Any]:
    """Return what decides an optimizer's steps: its class, groups, attributes and hooks."""
    attributes = vars(optimizer)
    own = {
        name: each
        for name, each in attributes.items()
        if name not in _NOT_OF_OPTIMIZER and not name.startswith("_")
    }
    hooks = ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks")
    called = [list(attributes.get(name, {}).values()) for name in hooks]
    return [type(optimizer), optimizer.param_groups, own, called]


def _scheduler(scheduler: object) -> str:
    settings = {
        key: value
        for key, value in sorted(vars(scheduler).items())
        if isinstance(value, (int, float, str, bool)) and not key.startswith("_")
    }
    return f"{type(scheduler).__name__} {settings}"
