"""An arm of a study: one experimental condition."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from torch import nn

from tutelage._checks import finite_number, integer, positive
from tutelage.data import Transform
from tutelage.errors import ArgumentError
from tutelage.exporting import Precision, check_precision
from tutelage.objectives import Objective
from tutelage.studies.sweep import as_sweep
from tutelage.teachers import AnyTeacher, Teacher
from tutelage.training import Engine, Run, Stage
from tutelage.training.settings import MakeOptimizer, MakeScheduler
from tutelage.training.stages import checked_stages


@dataclass(frozen=True)
class Trial:
    """The argument of an arm that is a function: one seed, and what all arms share.

    Args:
        seed: Of this repetition.
        student: A fresh student, with the first weights that all arms of this seed begin with.
        teacher: The study's teacher, if it has one.
        train: The training data of this seed.
        val: The validation data; None where the study gives none to training.
        out: A folder for this trial alone; give it to `distill` as `out` and nothing is lost.
        settings: The study's `epochs`, `batch_size`, `optimizer`, `scheduler`, `seed`, `engine`,
            `monitor` and `metrics`, as keyword arguments of `distill` and `fit`; the last two need
            `val` too.
        swept: The values of this trial, where the arm sweeps over some.
    """

    seed: int
    student: nn.Module
    teacher: nn.Module | Teacher | None
    train: object
    val: object | None
    out: Path
    settings: Mapping[str, Any]
    swept: Mapping[str, Any] = field(default_factory=dict)


TrainStudent = Callable[[Trial], nn.Module | Run]
"""A function that trains a student in its own way and returns it, or its run."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One experimental condition. None inherits the study's setting.

    Args:
        objective: The loss; None, without a function, to learn from labels.
        stages: Several trainings one after another, in place of an objective. They have their own
            epochs, so you have to make the steps of the arms equal.
        run: A function of a `Trial`, in place of an objective, that returns a trained model or the
            `Run` that trained it; then the report knows its steps.
        reads: With a function: an objective that says what its students' outputs mean, such as
            `BinaryLabels()`; None to read them as those of the other arms, or by the labels.
        student: A function that makes another student than the study's.
        teacher: Another teacher.
        train: Other training data, or a function from a seed to such.
        epochs: In place of those that make the steps of all arms equal.
        batch_size: Examples in a batch.
        optimizer: Callable: parameters → optimizer.
        learning_rate: Replaces the rate that the optimizer begins with.
        scheduler: From the optimizer and the number of steps to a scheduler.
        engine: Precision, clipping and the like.
        transform: Changes the training batches, such as `tl.data.Mixup()`; None for none.
        sweep: For names of the arguments above, values to try, as a dict or a `Sweep`; the
            combination that does best on validation data is the arm's. A function (`run`) may have
            names of its own.
        of: The name of another arm, whose students these are in another `precision`; nothing is
            trained, and nothing above is given.
        precision: As which file of ONNX Runtime the trained students are evaluated: `"float32"` or
            `"int8"`, see `export`; None for evaluation in PyTorch.
        against: The control that it is compared with, where controls have different students or
            data; None for all of them.
        series: Arms of one series are drawn as one line, over `at`.
        at: Where on that line: a fraction of labels, a temperature, a width.
        note: For readers: what the student learns from.

    Raises:
        ArgumentError: There is more than one of objective, stages and function, `reads` is beside
            an objective, stages are none or beside epochs, there is one of `series` and `at`, or
            the sweep names no argument.
    """

    objective: Objective | None = None
    stages: Sequence[Stage] | None = None
    run: TrainStudent | None = None
    reads: Objective | None = None
    student: Callable[[], nn.Module] | None = None
    teacher: AnyTeacher | None = None
    train: object | None = None
    epochs: int | None = None
    batch_size: int | None = None
    optimizer: MakeOptimizer | None = None
    learning_rate: float | None = None
    scheduler: MakeScheduler | None = None
    engine: Engine | None = None
    transform: Transform | None = None
    sweep: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    of: str | None = None
    precision: Precision | None = None
    against: str | None = None
    series: str = ""
    at: float | None = None
    note: str = ""

    def __post_init__(self) -> None:
        given = [name for name in ("objective", "stages", "run") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ArgumentError(
                f"an arm must have an objective, stages or a function, got {' and '.join(given)}; "
                "let the function, or the stages, use the objective"
            )
        if self.reads is not None and (self.run is None or not isinstance(self.reads, Objective)):
            raise ArgumentError(
                "`reads` must be an objective, and is for an arm that is a function (`run`), got "
                f"{self.reads!r}; other arms are read by their own objective"
            )
        if self.precision is not None:
            check_precision(self.precision)
        if self.stages is not None:
            checked_stages(self.stages)
            if self.epochs is not None or "epochs" in self.sweep:
                raise ArgumentError(
                    "an arm's stages have epochs of their own, got `epochs` beside them; leave "
                    "that out, or sweep over `stages`"
                )
        if (self.series != "") != (self.at is not None):
            raise ArgumentError(
                "an arm is drawn over `at` on the line of its `series`, got "
                f"series={self.series!r} and at={self.at!r}; give both or neither"
            )
        checks = {
            "epochs": _count,
            "batch_size": _count,
            "learning_rate": positive,
            "at": finite_number,
        }
        for name, check in checks.items():
            if getattr(self, name) is not None:  # as plain numbers: checkpoints hold no NumPy ones
                value = check(name, getattr(self, name), "None is as the study has it")
                object.__setattr__(self, name, value)
        self._check_sweep()

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """The objectives of the arm, in order; empty for a function, and for the usual one."""
        if self.stages:
            return tuple(stage.objective for stage in self.stages)
        return () if self.objective is None else (self.objective,)

    @property
    def readings(self) -> tuple[Objective, ...]:
        """The objectives that tell how outputs are read, those swept over included."""
        stages = [each[-1].objective for each in self.sweep.get("stages", ())]
        swept = [*self.sweep.get("objective", ()), *stages]
        return (*self.objectives[-1:], *swept, *([] if self.reads is None else [self.reads]))

    def _check_sweep(self) -> None:
        for name, values in as_sweep(self.sweep).items():
            if name not in _SWEPT and self.run is None:
                raise ArgumentError(
                    f"`sweep` must name arguments of Arm, got {name!r}; choose among "
                    f"{sorted(_SWEPT)}, for instance objective=[SoftTargets(2), SoftTargets(4)]"
                )
            if isinstance(values, str) or not isinstance(values, Sequence) or not values:
                raise ArgumentError(
                    f"`sweep` must give a list of values for {name!r}, got {values!r}; write "
                    f"{{{name!r}: [one, other]}}"
                )

    def at_setting(self, setting: Mapping[str, Any]) -> Arm:
        """Return the arm with these values in place of its sweep."""
        known = {name: value for name, value in setting.items() if name in _SWEPT}
        return replace(self, sweep={}, **known)


def _count(name: str, value: object, advice: str) -> int:
    return integer(name, value, 1, advice)


_NOT_SWEPT = {"sweep", "against", "series", "at", "note", "run", "reads", "of", "precision"}
_SWEPT = {each.name for each in fields(Arm)} - _NOT_SWEPT
_TRAINED = [*sorted(_SWEPT), "run", "reads"]


def with_trainings(arms: Mapping[str, Arm]) -> dict[str, Arm]:
    """Return arms, those `of` others with the training of these.

    Raises:
        ArgumentError: There is no such arm, it takes those of another itself, or something that
            concerns training is given too.
    """
    found = dict(arms)
    for name, arm in arms.items():
        if arm.of is None:
            continue
        base = arms.get(arm.of)
        if base is None or base.of is not None or arm.precision is None:
            trained = [each for each, other in arms.items() if other.of is None]
            raise ArgumentError(
                f"arm {name!r} must take the students `of` one of the arms {trained}, in a "
                f"`precision`, got of={arm.of!r}, precision={arm.precision!r}; name both"
            )
        given = [each for each in _TRAINED if getattr(arm, each) is not None]
        given += ["sweep"] if arm.sweep else []
        if given:
            raise ArgumentError(
                f"arm {name!r} takes the students of {arm.of!r}, which are trained as that says, "
                f"got {given} for itself; set them there"
            )
        kept = {each.name: getattr(arm, each.name) for each in fields(Arm)}
        kept = {key: each for key, each in kept.items() if key not in (*_TRAINED, "sweep")}
        found[name] = replace(base, **kept)
    return found


def readings(arms: Iterable[Arm]) -> list[Objective]:
    """Return the objectives of arms that tell how outputs are read."""
    return [each for arm in arms for each in arm.readings]


def as_arm(name: str, arm: object) -> Arm:
    """Return an arm for what a user gives: an arm, an objective, or a function of a `Trial`.

    Raises:
        ArgumentError: It is none of these.
    """
    if isinstance(arm, Arm):
        return arm
    if isinstance(arm, Objective):
        return Arm(objective=arm)
    if callable(arm) and not isinstance(arm, (nn.Module, type)):
        return Arm(run=arm)  # pyright: ignore[reportArgumentType] - what it returns is checked
    raise ArgumentError(
        f"arm {name!r} must be an objective, an Arm, or a function from a Trial to a trained "
        f"module, got {type(arm).__name__}; wrap what is special in an Arm"
    )
