"""The pydantic model of a recipe; its sections are made from the calls that they stand for."""

from __future__ import annotations

from typing import Any

from pydantic import Field, RootModel

from tutelage.recipes.choices import KNOWN, ObjectiveSpec, StudentSpec, TeacherSpec
from tutelage.recipes.objects import DataOptions
from tutelage.recipes.signatures import (
    Arguments,
    FunctionName,
    Section,
    Text,
    arguments_model,
    by_shape,
    summary,
)
from tutelage.training import Stage, blockwise, distill, fine_tune

_DATA_AND_MODELS = ("teacher", "student", "model", "train", "val", "test", "dataset", "out")


def _section(target: Any, *omit: str, **settings: Any) -> type[Arguments]:
    """Return the model of a call without its models and data, which have sections of their own."""
    found = arguments_model(target, KNOWN, omit=(*_DATA_AND_MODELS, *omit), **settings)
    if found is None:
        raise TypeError(f"{target} has arguments that a recipe cannot give")
    return found


TrainingSection = _section(distill, "objective", "stages")
FineTuneSection = _section(fine_tune)
StageSection = _section(Stage)
BlockwiseSection = _section(blockwise)
DataSection = arguments_model(DataOptions, KNOWN)


class BlockwiseStages(Section):
    """Stages that train one block after another."""

    blockwise: BlockwiseSection = Field(description=summary(blockwise))


class StagesSpec(RootModel[by_shape([list[StageSection], BlockwiseStages])]):
    """A list of stages, or `blockwise`."""


class DataSpec(RootModel[by_shape([FunctionName, DataSection])]):
    """Which data, by name; or one reference to a dict of `train`, `val` and `test`."""


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
    out: Text | None = Field(
        default=None, description="Folder for everything that is made; by default runs/NAME."
    )
