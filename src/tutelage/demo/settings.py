"""What the demo does, in numbers."""

from __future__ import annotations

from dataclasses import dataclass

from tutelage._checks import integer
from tutelage.objectives import HardLabels, Objective, SoftTargets

_FULL_SEEDS, _QUICK_SEEDS = 5, 2


@dataclass(frozen=True, kw_only=True)
class DemoSettings:
    """The numbers behind a demo.

    Steps, learning rate and weight decay are those at which the control, and not the distilled
    students, did best on a held-out quarter of the training images (mean over 16 draws; twice the
    steps did not make it better).

    Args:
        seeds: Repetitions, at least 2: each draws other labelled images and other first weights.
        temperature: Of the soft targets, above 0.
        quick: Whether this is a short look rather than the whole demo.
        steps: Optimiser steps of each student: whole passes over both of its training sets.
        teacher_epochs: Passes of the teacher over the training images.
        batch_size: Images in a step; it divides `labelled` and the number of training images.
        labelled: Training images whose label the students see.
        learning_rate: Of AdamW for the students, falling to 0 along a cosine.
        weight_decay: Of the same.
        teacher_learning_rate: Of AdamW for the teacher, along the same curve.
        hard_weight: What the labels weigh for the distilled students.
        soft_weight: What the teacher's soft targets weigh.

    Raises:
        ArgumentError: A number is outside its range.
    """

    seeds: int = _FULL_SEEDS
    temperature: float = 4.0
    quick: bool = False
    steps: int = 600
    teacher_epochs: int = 20
    batch_size: int = 50
    labelled: int = 200
    learning_rate: float = 0.01
    weight_decay: float = 0.3
    teacher_learning_rate: float = 0.003
    hard_weight: float = 0.1
    soft_weight: float = 0.9

    def __post_init__(self) -> None:
        integer("seeds", self.seeds, 2, "an interval needs a spread: 5 is a good number")
        integer("steps", self.steps, 1, "it counts optimiser steps")
        self.objective()

    def objective(self) -> Objective:
        """Return what the distilled students learn from."""
        soft = SoftTargets(temperature=self.temperature)
        return self.hard_weight * HardLabels() + self.soft_weight * soft


def demo_settings(
    seeds: int | None = None, temperature: float = 4.0, quick: bool = False
) -> DemoSettings:
    """Return the settings of the full demo, or of a quick look at it.

    Args:
        seeds: None for 5, and 2 in the quick one.
        temperature: Of the soft targets.
        quick: Fewer seeds and steps.
    """
    if not quick:
        return DemoSettings(seeds=_FULL_SEEDS if seeds is None else seeds, temperature=temperature)
    return DemoSettings(
        seeds=_QUICK_SEEDS if seeds is None else seeds,
        temperature=temperature,
        quick=True,
        steps=240,
        teacher_epochs=8,
    )
