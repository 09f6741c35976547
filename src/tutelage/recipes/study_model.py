"""The study in a recipe: arms, controls, sweeps."""

from __future__ import annotations

from inspect import Parameter
from typing import Annotated, Any, Union

from pydantic import Discriminator, Field, RootModel, Tag, create_model

from tutelage.recipes.choices import ObjectiveChoice, ObjectiveSpec, StudentSpec, TeacherSpec
from tutelage.recipes.signatures import HOME, FunctionName, Section, Text, translate, type_hints
from tutelage.recipes.stages_model import StagesSpec, section
from tutelage.studies import Arm, Sweep, study

_NOT_SWEPT = ("run", "reads", "sweep", "against", "series", "at", "note", "return")
_OTHERWISE: dict[str, tuple[Any, Any]] = {
    "student": (StudentSpec | None, None),
    "train": (FunctionName | None, None),
    "stages": (StagesSpec | None, None),
}
"""Arguments of an arm that a recipe gives in a form of its own."""


def _grid() -> type[Section]:
    kinds = {name: translate(hint) for name, hint in type_hints(Arm).items()}
    kinds |= {name: kind for name, (kind, _) in _OTHERWISE.items()}
    fields: dict[str, Any] = {
        name: (list[kind], Field(default=[]))
        for name, kind in kinds.items()
        if name not in _NOT_SWEPT
    }
    about = "Values to try, by the name of an argument of an arm."
    return create_model("Grid", __base__=Section, __module__=HOME, __doc__=about, **fields)


Grid = _grid()
SweepSection = section(Sweep, replace={"grid": (Grid, Parameter.empty)})


def _shape_of_sweep(value: Any) -> str:
    nested = isinstance(value, SweepSection) or (isinstance(value, dict) and "grid" in value)
    return "<sweep>" if nested else "<grid>"


_SWEEPS = (Annotated[Grid, Tag("<grid>")], Annotated[SweepSection, Tag("<sweep>")])


class SweepSpec(RootModel[Annotated[Union[_SWEEPS], Discriminator(_shape_of_sweep)]]):  # noqa: UP007
    """Values to try by name, or a `grid` of these with options."""


ArmSection = section(
    Arm,
    replace=_OTHERWISE | {"teacher": (TeacherSpec | None, None), "sweep": (SweepSpec | None, None)},
)


def _shape_of_arm(value: Any) -> str:
    if isinstance(value, ObjectiveSpec) or not isinstance(value, dict):
        return "<arm>" if isinstance(value, ArmSection) else "<objective>"
    names = [name for name in value if name in ObjectiveChoice.model_fields or ":" in str(name)]
    return "<objective>" if names else "<arm>"


_ARMS = (Annotated[ObjectiveSpec, Tag("<objective>")], Annotated[ArmSection, Tag("<arm>")])


class ArmSpec(RootModel[Annotated[Union[_ARMS], Discriminator(_shape_of_arm)]]):  # noqa: UP007
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
