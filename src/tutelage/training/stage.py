"""A stage of a run: an objective, its epochs, and which parts of the student are trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from torch import nn

from tutelage._checks import integer
from tutelage.errors import ArgumentError
from tutelage.layers.paths import LayerPath, submodule
from tutelage.objectives import FeatureMatch, Objective
from tutelage.objectives._layers import checked_map
from tutelage.training.monitor import Monitor, as_monitor
from tutelage.training.settings import MakeOptimizer, MakeScheduler


@dataclass(frozen=True)
class Stage:
    """One of several trainings that follow each other; each begins where the former ended.

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
        if not isinstance(self.objective, Objective):
            raise ArgumentError(
                f"a stage must have an Objective, got {self.objective!r}; for instance "
                "tl.Stage(tl.SoftTargets(4), epochs=20)"
            )
        integer("epochs", self.epochs, 1, "it counts the stage's passes over `train`")
        if not isinstance(self.name, str):
            raise ArgumentError(f"`name` must be a string, got {self.name!r}; write name='hint'")
        as_monitor(self.monitor)
        if self.trainable is not None and (isinstance(self.trainable, str) or not self.trainable):
            raise ArgumentError(
                "`trainable` must be a list of paths of the student's parts, got "
                f"{self.trainable!r}; write ['layer3'], or None for all"
            )


def checked_stages(stages: object) -> list[Stage]:
    """Return stages as a list.

    Raises:
        ArgumentError: There are none, or something else.
    """
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
        ArgumentError: The map is empty, or names no layers, or `objective` is no function.

    >>> [stage.trainable for stage in blockwise({"0": "1", "1": "3"})]
    [None, ['1']]
    """
    if isinstance(objective, Objective):
        raise ArgumentError(
            "`objective` must be a function from one pair of the map to an objective, got "
            f"{objective!r}; for instance tl.FeatureMatch itself, not tl.FeatureMatch({{...}})"
        )
    stages = []
    for ours, theirs in checked_map(layer_map).items():
        trainable = [LayerPath.parse(ours).path] if freeze and stages else None
        asked = objective({ours: theirs})
        stages.append(Stage(asked, epochs, trainable, ours, optimizer, scheduler))
    return stages


@contextmanager
def learning_only(student: nn.Module, paths: Sequence[str] | None) -> Iterator[None]:
    """Freeze all but some parts of a student; afterwards each parameter is as it was.

    Raises:
        ArgumentError: A path names no part of the student.
    """
    if paths is None:
        yield
        return
    learning = {
        id(each) for path in paths for each in submodule(student, path, "student").parameters()
    }
    frozen = [
        each for each in student.parameters() if each.requires_grad and id(each) not in learning
    ]
    for each in frozen:
        each.requires_grad_(False)
    try:
        yield
    finally:
        for each in frozen:
            each.requires_grad_(True)
