"""Stages: several trainings of a student, one after another, each a run in a folder of its own.

```
out/
├── run.json               the names of the stages, in order, and what they are to do
├── 1-hint/ 2-output/ …    a run each, with log, checkpoints and student
└── student.safetensors    the student, once the last stage is finished
```
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace

from torch import nn

from tutelage._checks import integer
from tutelage.distiller import Distiller
from tutelage.errors import ArgumentError
from tutelage.identity import declared
from tutelage.layers.paths import LayerPath, submodule
from tutelage.objectives import FeatureMatch, Objective
from tutelage.objectives._layers import checked_map
from tutelage.teachers import AnyTeacher, as_teacher
from tutelage.training.checkpointer import save_student
from tutelage.training.declaration import why_not_longer
from tutelage.training.folder import RunFolder
from tutelage.training.monitor import Monitor, as_monitor
from tutelage.training.notices import warn_returned
from tutelage.training.parts import freezing
from tutelage.training.record import joined_history, joined_settings
from tutelage.training.run import Run, own_copies, train_run
from tutelage.training.settings import MakeOptimizer, MakeScheduler, Settings

_SEEDS_APART = 1_000_003


@dataclass(frozen=True)
class Stage:
    """One of several successive trainings; each starts from the weights of the one before.

    Args:
        objective: The loss. An objective that is in several stages keeps its projectors from one
            to the next.
        epochs: Passes over the training data, at least 1.
        trainable: Paths of the parts of the student that are trained, such as
            `["layer3", "head"]`; the others are frozen and in eval mode. None for all.
        name: For folders and logs.
        optimizer: None for that of the run; each stage has a new one.
        scheduler: None for that of the run; it goes over the steps of the stage.
        monitor: Metric for model selection within the stage; None for that of the run, or for the
            loss where the objective does not use the student's output.

    Raises:
        ArgumentError: A value is outside its range.
    """

    objective: Objective
    epochs: int
    trainable: Sequence[str] | None = None
    name: str = ""
    optimizer: MakeOptimizer | None = None
    scheduler: MakeScheduler | None = None
    monitor: Monitor | str | None = None

    def __post_init__(self) -> None:
        integer("epochs", self.epochs, 1, "it counts the stage's passes over `train`")
        if isinstance(self.trainable, str):
            raise ArgumentError(
                "`trainable` must be a list of paths of the student's parts, got "
                f"{self.trainable!r}; write [{self.trainable!r}], or None for all"
            )


def checked_stages(stages: object) -> list[Stage]:
    """Return stages as a list."""
    found = list(stages) if isinstance(stages, Sequence) and not isinstance(stages, str) else []
    if not found or not all(isinstance(each, Stage) for each in found):
        raise ArgumentError(
            f"`stages` must be a list of tl.Stage, at least one, got {stages!r}; for instance "
            "[tl.Stage(tl.FeatureMatch({'layer2': 'layer4'}), epochs=5), ...]"
        )
    return found


def blockwise(
    layer_map: Mapping[str, str],
    epochs: int = 1,
    *,
    freeze: bool = True,
    objective: Callable[[dict[str, str]], Objective] = FeatureMatch,
    optimizer: MakeOptimizer | None = None,
    scheduler: MakeScheduler | None = None,
) -> list[Stage]:
    """Return stages that train one block after another, from the input on.

    Args:
        layer_map: Which block of the student learns from which of the teacher, in the order in
            which the student runs them.
        epochs: Of each stage.
        freeze: Whether a block is frozen once it is trained. The first stage trains everything
            before the first block too.
        objective: Callable: a layer map of one pair → its objective.
        optimizer: As in `Stage`.
        scheduler: As in `Stage`.

    Raises:
        ArgumentError: The map is empty, or names no layers.

    >>> [stage.trainable for stage in blockwise({"0": "1", "1": "3"})]
    [None, ['1']]
    """
    stages = []
    for ours, theirs in checked_map(layer_map).items():
        trainable = [LayerPath.parse(ours).path] if freeze and stages else None
        own = objective({ours: theirs})
        stages.append(Stage(own, epochs, trainable, ours, optimizer, scheduler))
    return stages


def train_stages(
    models: tuple[nn.Module, AnyTeacher | None],
    stages: Sequence[Stage],
    data: tuple[object, object | None],
    settings: Settings,
) -> Run:
    """Train a student stage by stage, or resume that, or find it done."""
    student, named = models[0], {}
    for place, stage in enumerate(checked_stages(stages), 1):  # under names that can be folders
        name = re.sub(r"[^\w.-]+", "-", stage.name) or "stage"
        named[f"{place}-{name}"] = stage
    teacher = None if models[1] is None else as_teacher(models[1])
    # Copied together, so that an objective of several stages is one and keeps its projectors.
    objectives = own_copies([stage.objective for stage in named.values()], student, teacher)
    for stage, objective in zip(named.values(), objectives, strict=True):
        with _learning_only(student, stage.trainable):
            Distiller(
                student, teacher, objective
            )  # what the last one lacks is found before the first
    planned = {
        "epochs": sum(stage.epochs for stage in named.values()),
        "objective": "; then ".join(map(repr, objectives)),
        "seed": settings.seed,
    }
    as_given = [declared(each, trained=False) for each in objectives]
    runs: dict[str, Run] = {}
    with ExitStack() as stack:
        folder = None
        # This process writes, before and between runs that know their processes.
        if settings.out is not None and os.environ.get("RANK", "0") == "0":
            run = {"stages": list(named)} | planned
            folder = RunFolder(settings.out, run, run, settings.fresh)
            stack.enter_context(folder.claimed(lambda: why_not_longer(None)))
            if folder.student.exists():
                warn_returned(settings.out / [*named][-1] / "last.pt")
        left = [
            (objective, _settings(settings, stage, name, place))
            for place, ((name, stage), objective) in enumerate(
                zip(named.items(), objectives, strict=True)
            )
        ]
        for (name, stage), content in zip(named.items(), as_given, strict=True):
            (objective, own), *left = left
            with _learning_only(student, stage.trainable):
                both = student, teacher
                runs[name] = train_run(both, objective, data, own, content, left)
        if folder is not None:
            save_student(student, folder.student)
    *earlier, last = runs.values()
    return replace(
        last,
        history=joined_history({name: run.history for name, run in runs.items()}),
        best_epoch=last.best_epoch + sum(len(run.history) for run in earlier),
        settings=joined_settings({name: run.settings for name, run in runs.items()}, planned),
        out=settings.out,
    )


def _settings(settings: Settings, stage: Stage, name: str, place: int) -> Settings:
    """Return a stage's own settings; without an output only the loss can judge it."""
    terms = [term for term in stage.objective.terms() if not term.is_off]
    own = any(term.objective.wants.student.loss for term in terms)
    judged = own or stage.objective.wants.student.output
    return replace(
        settings,
        epochs=stage.epochs,
        seed=settings.seed + place * _SEEDS_APART,
        optimizer=stage.optimizer or settings.optimizer,
        scheduler=stage.scheduler or settings.scheduler,
        metrics=settings.metrics if judged else {},
        monitor=as_monitor(stage.monitor, settings.metrics)
        or (settings.monitor if judged else None),
        out=None if settings.out is None else settings.out / name,
    )


def _learning_only(student: nn.Module, paths: Sequence[str] | None) -> AbstractContextManager[None]:
    """Freeze all but some parts of a student; None freezes nothing."""
    if paths is None:
        return freezing([])
    parts = [submodule(student, path, "student") for path in paths]
    learning = {id(each) for part in parts for each in part.parameters()}
    return freezing(each for each in student.parameters() if id(each) not in learning)
