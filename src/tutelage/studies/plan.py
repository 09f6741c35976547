"""What a study is to do, made from what a user gave."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import FunctionType
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, Subset

from tutelage._checks import integer
from tutelage.data import Indexed, OnPolicy, as_dataset, as_source, randomness
from tutelage.data.loader_source import used_rows
from tutelage.data.sets import evenly
from tutelage.errors import ArgumentError, DataError, ModelError, StoreError
from tutelage.evaluation import Metric, evaluate
from tutelage.objectives import Objective
from tutelage.studies.arm import Arm
from tutelage.studies.eval_data import EvalData, in_order, source_of
from tutelage.tasks import Outputs, Task
from tutelage.teachers import Live, Teacher, as_teacher
from tutelage.training import Engine, Monitor
from tutelage.training.engine import as_engine
from tutelage.training.settings import MakeOptimizer, MakeScheduler


@dataclass(frozen=True, kw_only=True)
class Training:
    """How all arms of a study are trained; an `Arm` may say otherwise.

    Args:
        steps: Optimizer steps, in place of the study's `epochs`.
        batch_size: Examples in a batch; evaluation reads no larger ones, and at most 256.
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
    `controls`, `whole` tells whether the outputs of all positions of large maps are kept, and not
    of an even grid, and `folder` is where trials are kept.
    """

    teacher: Teacher | None
    make_student: Callable[[], nn.Module] | nn.Module
    task: Task
    train: object
    val: EvalData | None
    test: EvalData
    arms: Mapping[str, Arm]
    controls: tuple[str, ...]
    seeds: tuple[int, ...]
    epochs: int | None
    training: Training
    metrics: Mapping[str, Metric]
    monitor: Monitor | None
    margin: float | None
    groups: Sequence[Hashable] | None
    whole: bool
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
        makers = (self.make_student, *(arm.student for arm in self.arms.values()))
        for make in {id(each): each for each in makers}.values():
            if not callable(make) or isinstance(make, nn.Module):
                continue
            first, second = (student_for(make, self.seeds[0]) for _ in range(2))
            ours = {id(each) for each in first.parameters()}
            if any(each.requires_grad and id(each) in ours for each in second.parameters()):
                raise ArgumentError(  # each trial would go on from the last
                    "`student` must make a new module each time, got one whose weights are those "
                    "of the last; give the module itself, of which each trial gets a copy, or "
                    "build it inside"
                )
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

    def reading(self, arm: Arm) -> Objective:
        """Return the arm's objective, which tells how its outputs are to be read."""
        return arm.objectives[-1] if arm.objectives else arm.reads or self.task.default_objective()

    def needs_teacher(self, arm: Arm) -> bool:
        """Tell whether an arm is known to learn from a teacher; of a function it is not."""
        return any(each.wants.teacher for each in arm.objectives)

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
        if arm.stages:
            epochs = sum(stage.epochs for stage in arm.stages)
        else:
            epochs = arm.epochs or self._epochs(arm, seed, train, batch_size)
        return {
            "epochs": epochs,
            "batch_size": batch_size,
            "seed": seed,
            "optimizer": optimizer,
            "scheduler": arm.scheduler or common.scheduler,
            "engine": replace(arm.engine or self.engine, progress=False),
            "monitor": self.monitor if monitored else None,
            "metrics": self.metrics if monitored else None,
        } | ({} if arm.transform is None else {"transform": arm.transform})

    def outputs(
        self,
        model: Teacher,
        name: str,
        data: object,
        teacher: Teacher | None = None,
        whole: bool = False,
    ) -> Outputs:
        """Return the outputs of a model, and of its teacher if there is one, on data.

        Of language models these are `TokenScores`, and a teacher is asked as one of the students.
        """
        device, tokens = self.engine.torch_device(), self.task.keeps_scores
        asked_as = model.module
        if tokens and asked_as is None:
            asked_as = student_for(self.make_student, self.seeds[0])
        with model.ready(device), nullcontext() if teacher is None else teacher.ready(device):
            return evaluate(
                model,
                teacher,
                None,
                source_of(name, data, self.training.batch_size, self.task),
                device=device,
                scores=tokens,
                whole=whole or self.whole,
                asked_as=asked_as if tokens else None,
                chunk_logits_from=self.engine.chunk_logits_from,
            ).outputs

    def outputs_on_sample(
        self, student: nn.Module, name: str, data: object, most: int, whole: bool = False
    ) -> tuple[Outputs, object] | None:
        """Return the outputs of a student and the study's teacher on some examples, and these.

        The examples are evenly spread. None of a stream, and where the teacher has no targets for
        the data.
        """
        loader = data if isinstance(data, DataLoader) else None
        examples: Any = as_dataset("train", data) if loader is None else loader.dataset
        if isinstance(examples, IterableDataset) or not hasattr(examples, "__len__"):
            return None
        used = used_rows(data, len(examples))
        rows = used[evenly(len(used), most).numpy()].tolist()
        if loader is None:
            sample = Subset(Indexed(examples), rows)  # stored targets are found by the index
        else:
            sample = in_order(loader, Subset(examples, rows))
        try:
            teacher = None if self.teacher is None else self.teacher.for_data(name, data)
        except StoreError:  # of other data than this arm's
            return None
        return self.outputs(Live(student), name, sample, teacher, whole), sample

    def _epochs(self, arm: Arm, seed: int, train: object, batch_size: int) -> int:
        """Return the passes over `train` that make the steps of all arms equal, to half a pass."""
        steps, engine = self.training.steps, arm.engine or self.engine
        if steps is None:
            common = self.training.batch_size, self.engine.accumulation
            own = arm.train is not None and arm.train is not self.train
            if not own and (batch_size, engine.accumulation) == common:
                return self.epochs or 1
            each = _steps(self.train_data(Arm(), seed), self.training.batch_size, self.engine)
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


def train_of(data: object, seed: int) -> object:
    """Return training data for a seed: what a function makes of it, else the data itself."""
    make = seeded(data)
    if make is None:
        return data
    with randomness.preserved():
        randomness.seed_everything(seed)
        return make(seed)


def seeded(data: object) -> Callable[[int], object] | None:
    """Return `data` if it is a function from a seed to data, else None."""
    known = hasattr(data, "__getitem__") or hasattr(data, "__iter__")
    return data if callable(data) and not known else None  # pyright: ignore[reportReturnType]


def readable(value: object) -> str:
    """Return a setting as text.

    >>> readable(partial(torch.optim.SGD, lr=0.1)), readable(None), readable(0.5)
    ('SGD(lr=0.1)', 'none', '0.5')
    """
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, partial):
        named = (f"{key}={readable(each)}" for key, each in value.keywords.items())
        return f"{readable(value.func)}({', '.join([*map(readable, value.args), *named])})"
    if isinstance(value, (type, FunctionType)):
        return value.__qualname__.rsplit(".", 1)[-1]
    if isinstance(value, (tuple, list)):
        return ", ".join(map(readable, value))
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def readable_setting(setting: Mapping[str, Any]) -> str:
    """Return swept values as text: `learning rate 0.1, epochs 3`."""
    return ", ".join(f"{name.replace('_', ' ')} {readable(each)}" for name, each in setting.items())


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
