"""The study of a recipe: arms against controls over seeds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from tutelage.errors import RecipeError
from tutelage.recipes.job import Job, names_map
from tutelage.recipes.model import ArmSection, ArmSpec, StudentSpec, SweepSpec
from tutelage.recipes.reading import Place
from tutelage.studies import Arm, ReportOptions, Study, Sweep, Training, study
from tutelage.teachers import Stored

_COMMON = ("batch_size", "optimizer", "scheduler", "engine", "steps")
"""Settings of a recipe's training that all arms of its study share."""
_OF_STUDY = ("metrics", "monitor", "epochs")


def training_of(job: Job, given: Any, section: str) -> Training:
    """Return how a section of a recipe trains: as `training` says, but for its own settings."""
    own = job.build.arguments(given, (section, "training"))
    common = {name: job.settings[name] for name in _COMMON if name in job.settings}
    with (
        job.build.named(section, "training"),
        job.build.at((section, "training"), TypeError, ValueError),
    ):
        return Training(**common | own)


def carry_out_study(job: Job) -> Study:
    """Carry out the study of a recipe, or resume that."""
    given: Any = job.model.study
    if given is None:
        raise job.missing("study", "such as {seeds: 5}")
    job.load()
    build, settings, data = job.build, job.settings, job.data
    if data.test is None:
        raise RecipeError(
            f"{job.document.where(('data',))}: `data` must have test data for a study, got none; "
            "add `test:`"
        )
    if job.model.student is None:
        raise job.missing("student", "the model to train")
    if given.arms is not None and job.model.on_policy is not None:
        raise RecipeError(
            f"{job.document.where(('on_policy',))}: `on_policy` applies only to the arm that a "
            "study has without `arms`, got some; give them data: train: file.py:function, which "
            "returns tl.OnPolicy"
        )
    training = training_of(job, given.training, "study")
    if given.epochs is not None and (given.training is None or given.training.steps is None):
        training = replace(training, steps=None)
    shared = {name: settings[name] for name in _OF_STUDY if name in settings}
    if training.steps is not None:
        shared.pop("epochs", None)
    teacher = job.teacher()
    job.learn_outputs_and_scale()
    with _layers_of(job, given, job.model.student, given.sweep, ("student",)):
        arms = _arms(job, given.arms, ("study", "arms"), given.sweep)
        if not arms:
            if not job.objectives:
                raise job.missing("objective", "or arms to the study")
            train = None if job.model.on_policy is None else job.train()
            transform = settings.get("transform")
            arms = {"distilled": Arm(**job.objectives, transform=transform, train=train)}
        controls = _arms(job, given.controls, ("study", "controls"), given.sweep)
        sweep = _sweep(job, given.sweep, ("study", "sweep"))
    job.check_classes("study", data)
    if job.model.label is not None:
        teacher = Stored(*job.stores("train", "val", "test").values())
    report = {"title": f"Study of {job.out.name}", "class_names": data.classes}
    report |= build.arguments(given.report, ("study", "report"))
    special = ("arms", "controls", "sweep", "report", "training")
    with build.named("study"):
        return study(
            teacher,
            build.student_maker(job.model.student, ("student",)),
            train=data.train,
            val=data.val,
            test=data.test,
            arms=arms,
            controls=controls,
            sweep=sweep,
            training=training,
            report=ReportOptions(**report),
            out=job.out / "study",
            groups=data.groups,
            **shared | job.made(build.arguments(given, ("study",), omit=special)),
        )


def _arms(
    job: Job, given: Mapping[str, ArmSpec] | None, place: Place, sweep: SweepSpec | None
) -> dict[str, Any] | None:
    if given is None:
        return None
    return {name: _arm(job, each, (*place, name), sweep) for name, each in given.items()}


def _arm(job: Job, given: ArmSpec, place: Place, sweep: SweepSpec | None) -> Any:
    if not isinstance(given.root, ArmSection):
        return job.build.objective(given.root, place)
    arm: Any = given.root
    own = arm.student is not None
    student, at = (arm.student, (*place, "student")) if own else (job.model.student, ("student",))
    with _layers_of(job, arm, student, arm.sweep or sweep, at):
        arguments = job.build.arguments(arm, place, omit=("sweep",))
        if arm.sweep is not None:
            arguments["sweep"] = _sweep(job, arm.sweep, (*place, "sweep"))
    with job.build.at(place, TypeError, ValueError):
        return Arm(**arguments)


@contextmanager
def _layers_of(
    job: Job, part: Any, student: StudentSpec | None, sweep: SweepSpec | None, place: Place
) -> Iterator[None]:
    """Let `layer_map: from_student` in a part be the map of a student.

    It is that of none where a sweep tries several. The student is made to know its map, which may
    copy much of the teacher.
    """
    usual = job.build.layer_map
    several = sweep is not None and "student" in _values_of(sweep).model_fields_set
    needed = not several and names_map(part)
    job.build.layer_map = job.build.map_of(student, place) if needed else None
    try:
        yield
    finally:
        job.build.layer_map = usual


def _sweep(job: Job, given: SweepSpec | None, place: Place) -> Any:
    if given is None:
        return None
    options: Any = given.root
    grid = _values_of(given)
    nested = grid is not options
    values = job.build.arguments(grid, (*place, "grid") if nested else place)
    others = job.build.arguments(options, place, omit=("grid",)) if nested else {}
    with job.build.at(place, TypeError, ValueError):
        return Sweep(values, **others)


def _values_of(sweep: SweepSpec) -> Any:
    options: Any = sweep.root
    return options.grid if "grid" in type(options).model_fields else options
