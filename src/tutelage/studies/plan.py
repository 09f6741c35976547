"""What a study is to do, made from what a user gave."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from tutelage._checks import integer
from tutelage.data import OnPolicy, as_source, randomness
from tutelage.data.fixed_order import what_draws
from tutelage.errors import ArgumentError, DataError, ModelError
from tutelage.evaluation import Metric
from tutelage.objectives import Objective
from tutelage.studies.arm import Arm
from tutelage.studies.describe import readable, seeded
from tutelage.studies.example_keys import example_keys
from tutelage.tasks import Task
from tutelage.teachers import Teacher, as_teacher
from tutelage.training import Engine, Monitor
from tutelage.training.engine import as_engine
from tutelage.training.settings import MakeOptimizer, MakeScheduler

_BATCH, _FIRST_BATCHES = 32, 4
"""Of a stream that is read twice, to see whether its order is fixed."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """How all arms of a study are trained; an `Arm` may say otherwise.

    Args:
        steps: Optimizer steps, in place of the study's `epochs`.
        batch_size: Examples in a batch.
        optimizer: As for `distill`.
        scheduler: As for `distill`.
        engine: As for `distill`.
        keep_best: Whether training keeps the best epoch on `val` rather than the last.
        sweep_seeds: With how many of the seeds each setting of a sweep is tried.
        processes: How many processes train at the same time, on this machine. They divide PyTorch's
            threads; with as many threads each, the results are equal to the bit for any number.
            The work is pickled for the others (scripts, notebooks and lambdas are fine). On Windows
            there is one.

    Raises:
        ArgumentError: A number is below 1, or the engine is none.
    """

    steps: int | None = None
    batch_size: int = 64
    optimizer: MakeOptimizer | None = None
    scheduler: MakeScheduler | None = None
    engine: Engine | None = None
    keep_best: bool = True
    sweep_seeds: int = 1
    processes: int = 1

    def __post_init__(self) -> None:
        if self.steps is not None:
            integer("steps", self.steps, 1, "it counts the optimizer steps of each arm")
        integer("batch_size", self.batch_size, 1, "it counts the examples of a batch")
        integer("sweep_seeds", self.sweep_seeds, 1, "1 tries each setting once")
        integer("processes", self.processes, 1, "at most the number of CPU cores is useful")
        object.__setattr__(self, "engine", as_engine(self.engine))


@dataclass(frozen=True, kw_only=True)
class StudyPlan:
    """What a study is to do: the arguments of `study`, checked and converted.

    `task` is what the students' outputs hold, `arms` contains the controls, whose names are
    `controls`, and `folder` is where trials are kept.
    """

    teacher: Teacher | None
    make_student: Callable[[], nn.Module] | nn.Module
    task: Task
    train: object
    val: object | None
    test: object
    arms: Mapping[str, Arm]
    controls: tuple[str, ...]
    seeds: tuple[int, ...]
    epochs: int | None
    training: Training
    metrics: Mapping[str, Metric]
    monitor: Monitor | None
    margin: float | None
    groups: Sequence[Hashable] | None
    folder: Path

    def __post_init__(self) -> None:
        if (self.epochs is None) == (self.training.steps is None):
            raise ArgumentError(
                "a study must have either `epochs` or Training(steps=...), got "
                + ("neither" if self.epochs is None else "both")
                + "; steps are optimizer steps, the same for all arms"
            )
        if self.epochs is not None:
            integer("epochs", self.epochs, 1, "it counts the passes over `train`")
        if isinstance(self.train, OnPolicy):
            raise ArgumentError(
                "a study's `train` must be given texts, from which controls learn too, got "
                "tl.OnPolicy; give it to the arms that learn from it: tl.Arm(train=tl.OnPolicy(…))"
            )
        for name in ("val", "test"):
            _check_fixed_order(name, getattr(self, name))
        makers = (self.make_student, *(arm.student for arm in self.arms.values()))
        for make in {id(each): each for each in makers}.values():
            if callable(make) and not isinstance(make, nn.Module):
                check_fresh(make, self.seeds[0])
        for name, arm in self.arms.items():
            if self.needs_teacher(arm) and self.teacher_of(arm) is None:
                raise ArgumentError(
                    f"arm {name!r} learns from a teacher, got none; give the study or the arm a "
                    "teacher, or the arm an objective without one"
                )
        swept = [name for name, arm in self.arms.items() if arm.sweep]
        if swept and self.val is None:
            raise ArgumentError(
                f"a sweep must choose on validation data, got arms {swept} that sweep and no "
                "`val`; give some, and never the test data"
            )

    def first_student(self, arm: Arm, seed: int) -> nn.Module:
        """Return an arm's untrained student: for one seed always the same weights."""
        make = arm.student or self.make_student
        return deepcopy(make) if isinstance(make, nn.Module) else student_for(make, seed)

    def train_data(self, arm: Arm, seed: int) -> object:
        """Return an arm's training data for a seed."""
        return train_of(self.train if arm.train is None else arm.train, seed)

    @property
    def engine(self) -> Engine:
        """What all arms run on."""
        return as_engine(self.training.engine)

    @property
    def device(self) -> torch.device:
        """Where models are evaluated: on the engine's device."""
        return self.engine.torch_device()

    def reading(self, arm: Arm) -> Objective:
        """Return the arm's objective, which tells how its outputs are to be read."""
        return arm.asked[-1] if arm.asked else arm.reads or self.task.default_objective()

    def needs_teacher(self, arm: Arm) -> bool:
        """Tell whether an arm is known to learn from a teacher; of a function it is not."""
        return any(each.wants.teacher for each in arm.asked)

    def teacher_of(self, arm: Arm) -> Teacher | None:
        """Return whom an arm learns from."""
        return self.teacher if arm.teacher is None else as_teacher(arm.teacher)

    def settings(self, arm: Arm, seed: int, train: object) -> dict[str, Any]:
        """Return the keyword arguments of `distill` and `fit` for a trial."""
        common = self.training
        batch_size = arm.batch_size or common.batch_size
        optimizer = arm.optimizer or common.optimizer
        if arm.learning_rate is not None:
            optimizer = AtRate(optimizer or torch.optim.AdamW, arm.learning_rate)
        monitored = self.val is not None and common.keep_best
        return {
            "epochs": arm.epochs or self._epochs(arm, seed, train, batch_size),
            "batch_size": batch_size,
            "seed": seed,
            "optimizer": optimizer,
            "scheduler": arm.scheduler or common.scheduler,
            "engine": replace(arm.engine or self.engine, progress=False),
            "monitor": self.monitor if monitored else None,
            "metrics": self.metrics if monitored else None,
        } | ({} if arm.transform is None else {"transform": arm.transform})

    def _epochs(self, arm: Arm, seed: int, train: object, batch_size: int) -> int:
        """Return the passes over `train` that make the steps of all arms equal, to half a pass."""
        steps, engine = self.training.steps, arm.engine or self.engine
        if steps is None:
            ours = self.train_data(Arm(), seed) if seeded(self.train) else self.train
            alike = (batch_size, engine.accumulation) == (
                self.training.batch_size, self.engine.accumulation,
            )  # fmt: skip
            if train is ours and alike:
                return self.epochs or 1
            each = _steps(ours, self.training.batch_size, self.engine)
            steps = (self.epochs or 1) * each
        return max(1, round(steps / _steps(train, batch_size, engine)))


def student_for(make: Callable[[], nn.Module] | nn.Module, seed: int) -> nn.Module:
    """Return the student that a function makes for a seed, or the module that is given."""
    if isinstance(make, nn.Module):
        return make
    with randomness.preserved():
        randomness.seed_everything(seed)
        student = make()
    if not isinstance(student, nn.Module):
        raise ModelError(
            "what makes a student must return a torch.nn.Module, got "
            f"{type(student).__name__}; give a function without arguments that builds one"
        )
    return student


def check_fresh(make: Callable[[], nn.Module], seed: int) -> None:
    """Refuse a function whose students share weights: each trial would go on from the last."""
    first, second = student_for(make, seed), student_for(make, seed)
    ours = {id(each) for each in first.parameters()}
    if any(each.requires_grad and id(each) in ours for each in second.parameters()):
        raise ArgumentError(
            "`student` must make a new module each time, got one whose weights are those of the "
            "last; give the module itself, of which each trial gets a copy, or build it inside"
        )


def train_of(data: object, seed: int) -> object:
    """Return training data for a seed: what a function makes of it, else the data itself."""
    make = seeded(data)
    if make is None:
        return data
    with randomness.preserved():
        randomness.seed_everything(seed)
        return make(seed)


@dataclass(frozen=True)
class AtRate:
    """An optimizer with another learning rate than it comes with."""

    make: MakeOptimizer
    learning_rate: float

    def __repr__(self) -> str:
        return f"{readable(self.make)} at {self.learning_rate:g}"

    def __call__(self, parameters: Any) -> torch.optim.Optimizer:
        """Make it; every group of parameters gets the rate."""
        optimizer = self.make(parameters)
        for group in optimizer.param_groups:
            group["lr"] = self.learning_rate
        return optimizer


def _steps(train: object, batch_size: int, engine: Engine) -> int:
    """Return the optimizer steps of an epoch."""
    number = as_source("train", train, batch_size).batches_per_epoch()
    if number is None:
        raise DataError(
            "`train` must have a length where arms are to take the same number of steps, got one "
            "without; give it __len__, or give every arm its own `epochs`"
        )
    return -(-number // engine.accumulation)


def _check_fixed_order(name: str, data: object) -> None:
    """Refuse data that may come in another order for each model."""
    found = what_draws(data) if isinstance(data, DataLoader) else None
    if found is not None:
        raise DataError(
            f"`{name}` must come in the same order for every model, got a DataLoader with {found}; "
            "make it with shuffle=False, of a Subset for a part"
        )
    dataset = data.dataset if isinstance(data, DataLoader) else data
    if isinstance(dataset, IterableDataset) and _first_keys(name, data) != _first_keys(name, data):
        raise DataError(
            f"`{name}` must come with the same examples in the same order for every model, got "
            f"{type(dataset).__name__}, whose first examples differ when they are read again; do "
            "not shuffle it, and let each pass begin anew"
        )


def _first_keys(name: str, data: object) -> list[bytes]:
    """Return hashes of the first examples of a stream, as in every evaluation under one seed."""
    with randomness.preserved():
        randomness.seed_everything(0)
        batches = islice(as_source(name, data, _BATCH).epoch(0), _FIRST_BATCHES)
        return list(chain.from_iterable(map(example_keys, batches)))
