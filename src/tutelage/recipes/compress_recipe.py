"""The compression of a recipe: students to try, and how they are trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from tutelage.compression import Compressed, compress
from tutelage.compression.families import TABLE_WIDTHS
from tutelage.errors import RecipeError
from tutelage.exporting import ABOUT
from tutelage.objectives import BinaryTargets, Objective, OutputRegression, SoftTargets
from tutelage.recipes.job import THRESHOLDS, Job
from tutelage.recipes.model import StudentSpec
from tutelage.recipes.student_files import FILE, write_student
from tutelage.recipes.study_recipe import training_of
from tutelage.studies import ReportOptions
from tutelage.teachers import Stored

_ROWS, _CELLS = 200_000, 20_000_000
"""Of the rows that are made of a table; wide ones are fewer, so that they fit into memory."""
_THRESHOLDS = 256
"""With so many rows to learn from, more thresholds of a number are better."""
_SHARED = ("metrics", "monitor", "transform")


def carry_out_compression(job: Job) -> Compressed:
    """Search for the student of a recipe, or resume that."""
    given: Any = job.model.compress
    if given is None:
        raise job.missing("compress", "such as {margin: 0.005}")
    for name in ("stages", "on_policy"):
        if getattr(job.model, name) is not None:
            raise RecipeError(
                f"{job.document.where((name,))}: `compress` trains by one `objective` on the data, "
                f"got `{name}`; leave it out"
            )
    told = getattr(job.model.data.root, "synthetic", 0) is not None
    makes_rows = not told and job.settings.get("transform") is None
    job.load(thresholds=_THRESHOLDS if makes_rows else THRESHOLDS)
    build, settings, data = job.build, job.settings, job.data
    for name in ("val", "test"):
        if getattr(data, name) is None:
            raise RecipeError(
                f"{job.document.where(('data',))}: `data` must have validation and test data for "
                f"`compress`, got no {name}; add `{name}:`, of rows that the teacher has not seen"
            )
    teacher = job.teacher()
    if teacher is None:
        raise job.missing("teacher", "the model that is to become smaller")
    job.learn_outputs_and_scale()
    training, objective = training_of(job, given.training, "compress"), _objective(job)

    def describe(student: nn.Module, folder: Path) -> dict[str, str]:
        write_student(folder, student, data, objective)
        return {ABOUT: (folder / FILE).read_text(encoding="utf-8")}

    report = {"title": f"Compression of {job.out.name}", "class_names": data.classes}
    report |= build.arguments(given.report, ("compress", "report"))
    with build.named("compress"):
        return compress(
            teacher,
            train=_with_synthetic(job) if makes_rows else data.train,
            val=data.val,
            test=data.test,
            objective=objective,
            students=_students(job, given.students),
            training=training,
            report=ReportOptions(**report),
            groups=data.groups,
            describe=describe,
            out=job.out / "compress",
            **{name: settings[name] for name in _SHARED if name in settings}
            | build.arguments(given, ("compress",), omit=("students", "training", "report")),
        )


def _with_synthetic(job: Job) -> Any:
    """Return the training data, and of a table rows made of it, which the teacher can label."""
    data = job.data
    if data.columns is None or isinstance(job.teacher(), Stored):
        return data.train
    return data.with_synthetic(min(_ROWS, _CELLS // len(data.columns))).train


def _students(job: Job, given: dict[str, StudentSpec] | None) -> dict[str, Any] | None:
    """Return what makes each student; None for those that `compress` makes of the teacher."""
    place = ("compress", "students")
    if given is None and job.data.columns is not None:
        widths = {" x ".join(map(str, each)) or "linear": [*each] for each in TABLE_WIDTHS}
        given = {
            name: StudentSpec.model_validate({"mlp": {"hidden": each}})
            for name, each in widths.items()
        }
    if given is None:
        return None
    return {name: job.build.student_maker(each, (*place, name)) for name, each in given.items()}


def _objective(job: Job) -> Objective:
    """Return the recipe's objective, else the usual one for its labels."""
    if found := job.objectives.get("objective"):
        return found
    usual = {"values": OutputRegression, "binary": BinaryTargets}
    kind = usual.get(job.data.kind or "")
    # The probabilities of trees are those of labels; softened ones would be of nothing.
    return kind() if kind else SoftTargets(1 if job.data.columns is not None else 4)
