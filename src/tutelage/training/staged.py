"""Stages trained one after another, each a run of its own in a folder of its own.

```
out/
├── run.json               the names of the stages, in order, and what they are to do
├── 1-hint/ 2-answer/ …    a run each, with log, checkpoints and student
└── student.safetensors    the student, once the last stage is finished
```
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from torch import nn

from tutelage.distiller import Distiller
from tutelage.teachers import AnyTeacher
from tutelage.training.checkpointer import save_student
from tutelage.training.folder import RunFolder
from tutelage.training.monitor import as_monitor
from tutelage.training.record import joined_history, joined_settings
from tutelage.training.run import Run
from tutelage.training.run_identity import objective_content
from tutelage.training.settings import Settings
from tutelage.training.stage import Stage, checked_stages, learning_only
from tutelage.training.train_run import own_copies, train_run

_SEEDS_APART = 1_000_003


def train_stages(
    sides: tuple[nn.Module, AnyTeacher | None],
    stages: Sequence[Stage],
    data: tuple[object, object | None],
    settings: Settings,
) -> Run:
    """Train a student stage by stage, or resume that, or find it done.

    Args:
        sides: Student and teacher.
        stages: What is learnt, in order.
        data: `train` and `val`.
        settings: What all stages share.

    Raises:
        ArgumentError: `stages` is empty or holds something else, or a path of a `trainable` names
            no part of the student.
    """
    student, named = sides[0], _named(checked_stages(stages))
    # Copied together, so that an objective of several stages is one and keeps its projectors.
    objectives = own_copies([stage.objective for stage in named.values()])
    for stage, objective in zip(named.values(), objectives, strict=True):
        with learning_only(student, stage.trainable):
            Distiller(*sides, objective)  # what the last one lacks is found before the first
    planned = {
        "epochs": sum(stage.epochs for stage in named.values()),
        "objective": "; then ".join(map(repr, objectives)),
        "seed": settings.seed,
    }
    as_given = [objective_content(each, []) for each in objectives]
    with ExitStack() as stack:
        folder = None
        if settings.out is not None:
            folder = RunFolder(settings.out, {"stages": list(named)} | planned)
            if _is_main():
                obstacle = "a stage begins where the one before it ends"
                stack.enter_context(folder.claimed(lambda: obstacle))
        runs: dict[str, Run] = {}
        for (name, stage), objective, content in zip(
            named.items(), objectives, as_given, strict=True
        ):
            own = _settings(settings, stage, name, len(runs))
            with learning_only(student, stage.trainable):
                runs[name] = train_run(sides, objective, data, own, content)
        if folder is not None and _is_main():
            save_student(student, folder.student)
    return _joined(runs, planned, settings)


def _named(stages: Sequence[Stage]) -> dict[str, Stage]:
    """Return the stages under names that can be folders: `1-hint`."""
    names = [re.sub(r"[^\w.-]+", "-", stage.name) or "stage" for stage in stages]
    return {f"{place + 1}-{name}": stages[place] for place, name in enumerate(names)}


def _settings(settings: Settings, stage: Stage, name: str, place: int) -> Settings:
    """Return a stage's own settings; without an output only the loss can judge it."""
    judged = stage.objective.wants.student.output
    return replace(
        settings,
        epochs=stage.epochs,
        seed=settings.seed + place * _SEEDS_APART,
        optimizer=stage.optimizer or settings.optimizer,
        scheduler=stage.scheduler or settings.scheduler,
        metrics=settings.metrics if judged else {},
        monitor=as_monitor(stage.monitor) or (settings.monitor if judged else None),
        out=None if settings.out is None else settings.out / name,
    )


def _is_main() -> bool:
    """Tell whether this process writes, before and between runs that know their processes."""
    return os.environ.get("RANK", "0") == "0"


def _joined(runs: dict[str, Run], planned: dict[str, Any], settings: Settings) -> Run:
    *earlier, last = runs.values()
    return replace(
        last,
        history=joined_history({name: run.history for name, run in runs.items()}),
        best_epoch=last.best_epoch + sum(len(run.history) for run in earlier),
        settings=joined_settings({name: run.settings for name, run in runs.items()}, planned),
        out=settings.out,
    )
