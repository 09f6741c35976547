"""The study of a recipe: arms against controls over seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, cast

from tutelage.errors import ArgumentError, RecipeError
from tutelage.recipes.choices import ObjectiveSpec, StudentSpec
from tutelage.recipes.job import Job
from tutelage.recipes.reading import Place
from tutelage.recipes.study_model import ArmSpec, SweepSpec
from tutelage.studies import Arm, ReportOptions, Study, Sweep, Training, study
from tutelage.teachers import Stored

_COMMON = ("batch_size", "optimizer", "scheduler", "engine")
"""Settings of a recipe's training that all arms of its study share."""
_OF_STUDY = ("metrics", "monitor", "epochs")


def carry_out_study(job: Job) -> Study:
    """Carry out the study of a recipe, or resume that."""
    given: Any = job.model.study
    if given is None:
        raise job.missing("study", "such as {seeds: 5}")
    if job.data.test is None:
        raise RecipeError(
            f"{job.document.where(('data',))}: `data` must have test data for a study, got none; "
            "add `test:`"
        )
    special = ("arms", "controls", "sweep", "report", "training")
    settings = job.build.arguments(given, ("study",), omit=special)
    training = _training(job, given)
    shared = {name: job.settings[name] for name in _OF_STUDY if name in job.settings}
    if training.steps is not None:
        shared.pop("epochs", None)
    teacher, arms = job.teacher, _arms(job, given.arms, ("study", "arms"))
    if job.model.label is not None:
        teacher = Stored(*job.label().values())
    with job.named(("study",)):
        return study(
            teacher,
            student_of(job, cast("Any", job.model.student), ("student",)),
            train=job.data.train,
            val=job.data.val,
            test=job.data.test,
            arms=arms or _default_arms(job),
            controls=_arms(job, given.controls, ("study", "controls")),
            sweep=_sweep(job, given.sweep, ("study", "sweep")),
            training=training,
            report=_report(job, given),
            out=job.out / "study",
            groups=job.data.groups,
            **shared | settings,
        )


def student_of(job: Job, given: StudentSpec | None, place: Place) -> Any:
    """Return what makes students, or a module that is copied."""
    if given is None:
        raise job.missing("student", "the model to train")
    job.build.teacher = job.teacher
    return job.build.student_maker(given, place)


def _default_arms(job: Job) -> dict[str, Arm]:
    if not job.asked:
        raise job.missing("objective", "or arms to the study")
    transform = job.settings.get("transform")
    train = None if job.model.on_policy is None else job.train
    return {"distilled": Arm(**job.asked, transform=transform, train=train)}


def _arms(job: Job, given: Mapping[str, ArmSpec] | None, place: Place) -> dict[str, Any] | None:
    if given is None:
        return None
    if job.model.on_policy is not None:
        raise RecipeError(
            f"{job.document.where(('on_policy',))}: `on_policy` is of the arm that a study has "
            "without `arms`, got some; give them data: train: file.py:function, which returns "
            "tl.OnPolicy"
        )
    return {name: _arm(job, each, (*place, name)) for name, each in given.items()}


def _arm(job: Job, given: ArmSpec, place: Place) -> Any:
    if isinstance(given.root, ObjectiveSpec):
        return job.build.objective(given.root, place)
    arm: Any = given.root
    special = ("student", "stages", "sweep")
    usual = job.build.layer_map
    if arm.student is not None:
        job.build.layer_map = partial(job.layer_map, arm.student, (*place, "student"))
    arguments = job.build.arguments(arm, place, omit=special)
    if arm.stages is not None:
        arguments["stages"] = job.stages(arm.stages, (*place, "stages"))
    job.build.layer_map = usual
    if arm.student is not None:
        arguments["student"] = student_of(job, arm.student, (*place, "student"))
    if arm.sweep is not None:
        arguments["sweep"] = _sweep(job, arm.sweep, (*place, "sweep"))
    with job.build.arguments_at(place):
        student = arguments.get("student")
        if student is not None and not callable(student):
            raise ArgumentError(f"`student` must be a function that makes one, got {student!r}")
        return Arm(**arguments)


def _sweep(job: Job, given: SweepSpec | None, place: Place) -> Any:
    if given is None:
        return None
    options: Any = given.root
    nested = "grid" in type(options).model_fields
    grid = options.grid if nested else options
    values = job.build.arguments(grid, (*place, "grid") if nested else place)
    with job.build.arguments_at(place):
        others = job.build.arguments(options, place, omit=("grid",)) if nested else {}
        return Sweep(values, **others)


def _training(job: Job, given: Any) -> Training:
    """Return what arms share: settings of the recipe's training, and those of the study itself."""
    common = {name: job.settings[name] for name in _COMMON if name in job.settings}
    own = {}
    if given.training is not None:
        own = job.build.arguments(given.training, ("study", "training"))
    with job.named(("study", "training")), job.build.arguments_at(("study", "training")):
        return Training(**common | own)


def _report(job: Job, given: Any) -> ReportOptions:
    make = partial(ReportOptions, title=f"Study of {job.out.name}")
    if given.report is not None:
        make = partial(make, **job.build.arguments(given.report, ("study", "report")))
    found = make()
    named = found.class_names or not job.data.classes
    return found if named else replace(found, class_names=job.data.classes)
