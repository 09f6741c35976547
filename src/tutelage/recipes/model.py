"""The pydantic models of a recipe, read off the classes and functions of the library.

What a recipe may name (objectives, schedules, transforms, optimizers, teachers, students) is a
mapping from the name of a class to its arguments, and all classes are found in the packages that
they belong to. Sections are made from the calls that they stand for.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from inspect import Parameter
from types import ModuleType
from typing import Annotated, Any, ForwardRef

import torch
from pydantic import BaseModel, BeforeValidator, Field, RootModel, create_model
from torch.optim import lr_scheduler

from tutelage import data, objectives, schedules, students, teachers
from tutelage.compression import compress
from tutelage.data import OnPolicy
from tutelage.datasets import DataOptions
from tutelage.objectives import Objective
from tutelage.recipes.reading import plain
from tutelage.recipes.signatures import (
    HOME,
    Arguments,
    Choice,
    FunctionName,
    Makes,
    ModelName,
    Section,
    Sum,
    Text,
    arguments_model,
    parameters,
    target_of,
    translate,
    type_hints,
    union,
)
from tutelage.references.reference import code_in
from tutelage.schedules import Schedule
from tutelage.studies import Arm, Sweep, study
from tutelage.teachers import Teacher
from tutelage.training import Stage, blockwise, distill, fine_tune, label

EXAMPLES = "examples"
_OWN_CODE = ("tutelage.recipes.fitted:boosted_trees",)
"""What a recipe names as code without asking; other functions of the library may run what is given
to them, and `tutelage.py` is a file of the user."""
STEP_COUNT_PARAMETERS = ("T_max", "total_iters", "total_steps")
"""Parameters of PyTorch's schedulers that count optimizer steps: by default all of the run."""


def classes_of(package: ModuleType, base: type, *omit: str) -> dict[str, type]:
    """Return the public classes of a package that are below a base, by name."""
    names = getattr(package, "__all__", None) or dir(package)
    found = {name: getattr(package, name) for name in names if name not in (*omit, base.__name__)}
    return {
        name: each
        for name, each in found.items()
        if inspect.isclass(each) and issubclass(each, base) and not name.startswith("_")
    }


def _choice(
    name: str,
    about: str,
    targets: Mapping[str, Callable[..., Any]],
    base: type[Choice] = Choice,
    add: Callable[[Any], Mapping[str, Any]] = lambda _: {},
    **settings: Any,
) -> type[Any]:
    """Return a model with a field for each class or function whose arguments can be written."""
    models = {
        each: arguments_model(target, add=add(target), **settings)
        for each, target in targets.items()
    }
    fields: Any = {each: (model, None) for each, model in models.items() if model is not None}
    return create_model(name, __base__=base, __module__=HOME, __doc__=about, **fields)


_SCHEDULES = classes_of(schedules, Schedule)
ScheduleChoice = _choice("ScheduleChoice", "A value that changes over training.", _SCHEDULES)
_WEIGHT = (union([float, ScheduleChoice]), 1.0, "Its weight in the sum, zero or more.")
ObjectiveChoice = _choice(
    "ObjectiveChoice",
    "A sum of objectives, each with a `weight`: a number (1 if there is none) or a schedule.",
    classes_of(objectives, Objective, "OutputObjective", "LayerObjective", "WeightedSum"),
    Sum,
    add=lambda _: {"weight": _WEIGHT},
)
TransformChoice = _choice(
    "TransformChoice",
    "A change of training batches, before both models see them.",
    {each.__name__: each for each in (data.Mixup, data.CutMix, data.Swap, data.Noise, data.Chain)},
)
OptimizerChoice = _choice(
    "OptimizerChoice",
    "An optimizer of PyTorch.",
    classes_of(torch.optim, torch.optim.Optimizer, "LBFGS"),  # which calls the model itself
    omit=("params",),
)
SchedulerChoice = _choice(
    "SchedulerChoice",
    "A learning rate scheduler of PyTorch, stepped after each optimizer step, or a schedule of the "
    "library, by which the learning rate is multiplied. "
    f"{', '.join(STEP_COUNT_PARAMETERS)} are the number of optimizer steps unless they are given.",
    # The steps of ReduceLROnPlateau need a metric.
    classes_of(lr_scheduler, lr_scheduler.LRScheduler, "ReduceLROnPlateau") | _SCHEDULES,
    omit=("optimizer", "last_epoch", "epochs", "steps_per_epoch"),
    replace=dict.fromkeys(STEP_COUNT_PARAMETERS, (int | None, None)),
)
TeacherChoice = _choice(
    "TeacherChoice",
    "A kind of teacher.",
    classes_of(teachers, Teacher),
    omit=("tokenizer", "student_tokenizer"),
)
_STUDENTS = (
    students.every_nth_layer,
    students.keep_layers,
    students.least_loss,
    students.mlp,
    students.most_influential,
)
_EXAMPLES = (int, 256, "How many of the training examples are looked at, evenly spread.")
StudentChoice = _choice(
    "StudentChoice",
    "A student made from the teacher's layers, or by the sizes of the data.",
    {each.__name__: each for each in _STUDENTS},
    omit=("teacher", "data", "inputs", "features", "outputs"),
    add=lambda target: {EXAMPLES: _EXAMPLES} if "data" in parameters(target) else {},
)


class ObjectiveSpec(RootModel[union([ObjectiveChoice, list[ObjectiveChoice]])]):
    """A weighted sum of objectives; a list of sums where a class occurs twice."""


class TransformSpec(
    RootModel[union([TransformChoice, FunctionName, list[ForwardRef("TransformSpec")]])]
):
    """A transform, the name of a function from a batch to a batch, or a list of both, in order."""


class StudentSpec(RootModel[union([StudentChoice, ModelName])]):
    """A model, or a function that makes one from the teacher's layers."""


_SPECIALISTS = dict[Text, ForwardRef("TeacherSpec")]


class TeacherSpec(
    RootModel[union([ModelName, list[ForwardRef("TeacherSpec")], TeacherChoice, _SPECIALISTS])]
):
    """A model, a kind of teacher, a list for an ensemble, a mapping by domain for specialists."""


_DATA_AND_MODELS = ("teacher", "student", "model", "train", "val", "test", "dataset", "out")


def section(
    target: Makes, *omit: str, replace: Mapping[str, tuple[Any, Any]] | None = None
) -> type[Arguments]:
    """Return the model of a call without its models and data, which have sections of their own."""
    left_out = tuple(each for each in (*_DATA_AND_MODELS, *omit) if each not in (replace or {}))
    found = arguments_model(target, omit=left_out, replace=replace)
    if found is None:
        raise TypeError(f"{target} has arguments that a recipe cannot give")
    return found


StageSection = section(Stage)
StagesChoice = _choice(
    "StagesChoice", "Stages that train one block after another.", {"blockwise": blockwise}
)


class StagesSpec(RootModel[union([list[StageSection], StagesChoice])]):
    """A list of stages, or `blockwise`, or a function that returns stages."""


_IN_AN_ARM: dict[str, tuple[Any, Any]] = {
    "student": (StudentSpec | None, None),
    "train": (FunctionName | None, None),
    "stages": (StagesSpec | None, None),
}
"""Arguments of an arm that a recipe gives in a form of its own."""
_NOT_SWEPT = ("run", "reads", "sweep", "against", "series", "at", "note", "return")


def _grid() -> type[Section]:
    kinds = {name: translate(hint) for name, hint in type_hints(Arm).items()}
    kinds |= {name: kind for name, (kind, _) in _IN_AN_ARM.items()}
    fields: dict[str, Any] = {
        name: (list[kind], Field(default=[]))
        for name, kind in kinds.items()
        if name not in _NOT_SWEPT
    }
    about = "Values to try, by the name of an argument of an arm."
    return create_model("Grid", __base__=Section, __module__=HOME, __doc__=about, **fields)


Grid = _grid()
SweepSection = section(Sweep, replace={"grid": (Grid, Parameter.empty)})


class SweepSpec(RootModel[union([SweepSection, Grid])]):
    """Values to try by name, or a `grid` of these with options."""


ArmSection = section(
    Arm,
    replace=_IN_AN_ARM | {"teacher": (TeacherSpec | None, None), "sweep": (SweepSpec | None, None)},
)


class ArmSpec(RootModel[union([ObjectiveChoice, list[ObjectiveChoice], ArmSection])]):
    """An objective, or an arm with settings of its own."""


_ARMS_BY_NAME = dict[Text, ArmSpec] | None
StudySection = section(
    study,
    "progress",
    "groups",
    replace={
        "arms": (_ARMS_BY_NAME, None),
        "controls": (_ARMS_BY_NAME, None),
        "sweep": (SweepSpec | None, None),
    },
)


CompressSection = section(
    compress,
    "objective",
    "groups",
    "metrics",
    "monitor",
    "transform",
    "describe",
    replace={"students": (dict[Text, StudentSpec] | None, None)},
)
TrainingSection = section(distill, "objective", "stages", "fresh")
FineTuneSection = section(fine_tune, "fresh")
LabelSection = section(label, "fields")
OnPolicySection = section(OnPolicy, "prompts", "texts")


class DataSpec(RootModel[Annotated[union([Text, DataOptions]), BeforeValidator(plain)]]):
    """Which data, by name; or one name: of training data, or of a dict of train, val and test."""


class RecipeModel(Section):
    """A whole job of distillation: models, data, objective, training."""

    teacher: TeacherSpec | None = Field(
        default=None,
        description="The model to learn from; a list is an ensemble, a mapping has specialists.",
    )
    student: StudentSpec | None = Field(
        default=None,
        description="The model to train, or {every_nth_layer: 2} to make one from the teacher.",
    )
    data: DataSpec = Field(description="Data to train, select and test on.")
    fine_tune: FineTuneSection | None = Field(  # pyright: ignore[reportInvalidTypeForm]
        default=None, description="Train the teacher on the labels first, as tl.fine_tune does."
    )
    objective: ObjectiveSpec | None = Field(
        default=None, description="The loss: a weighted sum of objectives."
    )
    stages: StagesSpec | None = Field(
        default=None, description="Trainings one after another, in place of objective and epochs."
    )
    training: TrainingSection | None = Field(  # pyright: ignore[reportInvalidTypeForm]
        default=None, description="Settings of the training, as of tl.distill."
    )
    standardize: bool = Field(
        default=True,
        description="Train a new student of values on standardised ones; what it returns is in the "
        "units of the labels.",
    )
    thresholds: int | None = Field(
        default=None,
        ge=0,
        description="Of a table whose teacher consists of trees: how many of the thresholds at "
        "which they split a number a new student is given as steps, 1 if the number is above and 0 "
        "if not: 48, in a compression with synthetic rows 256; 0 for none.",
    )
    on_policy: OnPolicySection | None = Field(  # pyright: ignore[reportInvalidTypeForm]
        default=None,
        description="Let the student write texts from the data's prompts, as tl.OnPolicy does.",
    )
    label: LabelSection | None = Field(  # pyright: ignore[reportInvalidTypeForm]
        default=None,
        description="Store the teacher's outputs first, as tl.label does, and learn from these.",
    )
    study: StudySection | None = Field(  # pyright: ignore[reportInvalidTypeForm]
        default=None, description="Comparison of arms with controls, as of tl.study."
    )
    compress: CompressSection | None = Field(  # pyright: ignore[reportInvalidTypeForm]
        default=None,
        description="Search for the fastest student within a margin, as of tl.compress; for a "
        "table its students are networks of several widths, else the teacher with fewer layers.",
    )
    out: Text | None = Field(
        default=None, description="Folder for everything that is made; by default runs/NAME."
    )


def spelled_out(given: Any) -> Any:
    """Return plain data of a part of a recipe, with the defaults of the library's own classes.

    Defaults of PyTorch's optimizers and schedulers are left out, since they have other arguments in
    other versions.
    """
    if isinstance(given, RootModel):
        return spelled_out(given.root)
    if isinstance(given, Choice):
        return {name: spelled_out(each) for name, each in given.chosen().items()}
    if isinstance(given, Section):
        ours = not isinstance(given, Arguments) or target_of(type(given)).__module__.startswith(
            "tutelage."
        )
        values = {name: getattr(given, name) for name in type(given).model_fields}
        return {
            name: spelled_out(value)
            for name, value in values.items()
            if name in given.model_fields_set or (ours and value is not None)
        }
    if isinstance(given, BaseModel):  # of the data
        return given.model_dump(mode="json", exclude_none=True)
    if isinstance(given, dict):
        return {key: spelled_out(each) for key, each in given.items()}
    return [spelled_out(each) for each in given] if isinstance(given, list) else given


def code_of(values: Any) -> Iterator[str]:
    """Yield the references to Python code in a recipe, which run when it is used."""
    if isinstance(values, Mapping):
        values = [*values, *values.values()]
    if isinstance(values, (list, tuple)):
        for each in values:
            yield from code_of(each)
    elif isinstance(values, str):
        name = code_in(values)
        if name is not None and name not in _OWN_CODE:
            yield name
