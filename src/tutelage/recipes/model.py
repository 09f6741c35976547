"""The pydantic model of a recipe; its sections are made from the calls that they stand for."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, RootModel

from tutelage.data import OnPolicy
from tutelage.datasets import DataOptions
from tutelage.recipes.choices import ObjectiveSpec, StudentSpec, TeacherSpec
from tutelage.recipes.signatures import Section, Text, by_shape, plain
from tutelage.recipes.stages_model import StagesSpec, section
from tutelage.recipes.study_model import StudySection
from tutelage.training import distill, fine_tune, label

TrainingSection = section(distill, "objective", "stages")
FineTuneSection = section(fine_tune)
LabelSection = section(label, "fields")
OnPolicySection = section(OnPolicy, "prompts", "texts")


class DataSpec(RootModel[Annotated[by_shape([Text, DataOptions]), BeforeValidator(plain)]]):
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
    out: Text | None = Field(
        default=None, description="Folder for everything that is made; by default runs/NAME."
    )
