"""What the demo does, in numbers."""

from __future__ import annotations

from dataclasses import dataclass

from tutelage._checks import integer
from tutelage.objectives import HardLabels, Objective, SoftTargets

LABELLED = 200  # training images whose label the students see
BATCH_SIZE = 50  # divides LABELLED and the number of training images
TEACHER_LEARNING_RATE = 0.003  # of AdamW, falling to 0 along a cosine, as that of the students

LEARNING_RATE, WEIGHT_DECAY = 0.01, 0.3
"""Of AdamW for the students: these and the full demo's steps are those at which the control, and
not the distilled students, did best on a held-out quarter of the training images (mean over 16
draws; twice the steps did not make it better)."""


@dataclass(frozen=True, kw_only=True)
class DemoSettings:
    """The numbers that differ between demos.

    Args:
        seeds: Repetitions, at least 2: each draws other labelled images and other first weights.
        temperature: Of the soft targets, above 0.
        quick: Whether this is a short look rather than the whole demo.
        steps: Optimiser steps of each student: whole passes over both of its training sets.
        teacher_epochs: Passes of the teacher over the training images.

    Raises:
        ArgumentError: A number is outside its range.
    """

    seeds: int = 5
    temperature: float = 4.0
    quick: bool = False
    steps: int = 600
    teacher_epochs: int = 20

    def __post_init__(self) -> None:
        integer("seeds", self.seeds, 2, "an interval needs a spread: 5 is a good number")
        integer("steps", self.steps, 1, "it counts optimiser steps")
        self.objective()

    def objective(self) -> Objective:
        """Return what the distilled students learn from."""
        return 0.1 * HardLabels() + 0.9 * SoftTargets(temperature=self.temperature)


def demo_settings(
    seeds: int | None = None, temperature: float = 4.0, quick: bool = False
) -> DemoSettings:
    """Return the settings of the full demo, or of a quick look at it; None is 5 seeds, or 2."""
    if not quick:
        return DemoSettings(seeds=5 if seeds is None else seeds, temperature=temperature)
    seeds = 2 if seeds is None else seeds
    return DemoSettings(
        seeds=seeds, temperature=temperature, quick=True, steps=240, teacher_epochs=8
    )
