"""The study of a recipe: arms against controls over seeds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tutelage.errors import RecipeError
from tutelage.recipes.job import Job
from tutelage.recipes.model import ArmSection, ArmSpec, ObjectiveSpec, StudentSpec, SweepSpec
from tutelage.recipes.reading import Place
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
    job.load()
    if job.data.test is None:
        raise RecipeError(
            f"{job.document.where(('data',))}: `data` must have test data for a study, got none; "
            "add `test:`"
        )
    if job.model.student is None:
        raise job.missing("student", "the model to train")
    special = ("arms", "controls", "sweep", "report", "training")
    settings = job.build.arguments(given, ("study",), omit=special)
    training = _training(job, given)
    shared = {name: job.settings[name] for name in _OF_STUDY if name in job.settings}
    if training.steps is not None:
        shared.pop("epochs", None)
    teacher = job.teacher()
    job.look_at_teacher()
    with _layers_of(job, job.model.student, given.sweep, ("student",)):
        arms = _arms(job, given.arms, ("study", "arms"), given.sweep) or _default_arms(job)
        controls = _arms(job, given.controls, ("study", "controls"), given.sweep)
        sweep = _sweep(job, given.sweep, ("study", "sweep"))
    job.check_classes("study", job.data)
    if job.model.label is not None:
        splits = [each for each in ("train", "val", "test") if getattr(job.data, each) is not None]
        teacher = Stored(*job.stores(splits).values())
    with job.named(("study",)):
        return study(
            teacher,
            job.build.student_maker(job.model.student, ("student",)),
            train=job.data.train,
            val=job.data.val,
            test=job.data.test,
            arms=arms,
            controls=controls,
            sweep=sweep,
            training=training,
            report=_report(job, given),
            out=job.out / "study",
            groups=job.data.groups,
            **shared | settings,
        )


def _default_arms(job: Job) -> dict[str, Arm]:
    if not job.objectives:
        raise job.missing("objective", "or arms to the study")
    transform = job.settings.get("transform")
    train = None if job.model.on_policy is None else job.train()
    return {"distilled": Arm(**job.objectives, transform=transform, train=train)}


def _arms(
    job: Job, given: Mapping[str, ArmSpec] | None, place: Place, sweep: SweepSpec | None
) -> dict[str, Any] | None:
    if given is None:
        return None
    if job.model.on_policy is not None:
        raise RecipeError(
            f"{job.document.where(('on_policy',))}: `on_policy` applies only to the arm that a "
            "study has without `arms`, got some; give them data: train: file.py:function, which "
            "returns tl.OnPolicy"
        )
    return {name: _arm(job, each, (*place, name), sweep) for name, each in given.items()}


def _arm(job: Job, given: ArmSpec, place: Place, sweep: SweepSpec | None) -> Any:
    if not isinstance(given.root, ArmSection):
        return job.build.objective(ObjectiveSpec.model_construct(given.root), place)
    arm: Any = given.root
    own = arm.student is not None
    student, at = (arm.student, (*place, "student")) if own else (job.model.student, ("student",))
    with _layers_of(job, student, arm.sweep or sweep, at):
        arguments = job.build.arguments(arm, place, omit=("sweep",))
        if arm.sweep is not None:
            arguments["sweep"] = _sweep(job, arm.sweep, (*place, "sweep"))
    with job.build.arguments_at(place):
        return Arm(**arguments)


@contextmanager
def _layers_of(
    job: Job, student: StudentSpec | None, sweep: SweepSpec | None, place: Place
) -> Iterator[None]:
    """Let `layer_map: from_student` be the map of a student, unless a sweep tries several."""
    usual = job.build.layer_map
    several = sweep is not None and "student" in _grid(sweep).model_fields_set
    job.build.layer_map = None if several else job.build.map_of(student, place)
    try:
        yield
    finally:
        job.build.layer_map = usual


def _sweep(job: Job, given: SweepSpec | None, place: Place) -> Any:
    if given is None:
        return None
    options: Any = given.root
    grid = _grid(given)
    nested = grid is not options
    values = job.build.arguments(grid, (*place, "grid") if nested else place)
    with job.build.arguments_at(place):
        others = job.build.arguments(options, place, omit=("grid",)) if nested else {}
        return Sweep(values, **others)


def _grid(sweep: SweepSpec) -> Any:
    options: Any = sweep.root
    return options.grid if "grid" in type(options).model_fields else options


def _training(job: Job, given: Any) -> Training:
    """Return what arms share: settings of the recipe's training, and those of the study itself."""
    place = ("study", "training")
    common = {name: job.settings[name] for name in _COMMON if name in job.settings}
    own = job.build.arguments(given.training, place)
    with job.named(place), job.build.arguments_at(place):
        return Training(**common | own)


def _report(job: Job, given: Any) -> ReportOptions:
    own = job.build.arguments(given.report, ("study", "report"))
    usual = {"title": f"Study of {job.out.name}", "class_names": job.data.classes}
    return ReportOptions(**usual | own)
