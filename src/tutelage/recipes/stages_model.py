"""Stages in a recipe, and sections that stand for calls of the library."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, RootModel

from tutelage.recipes.signatures import (
    Arguments,
    Makes,
    Section,
    arguments_model,
    by_shape,
    summary,
)
from tutelage.training import Stage, blockwise

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
BlockwiseSection = section(blockwise)


class BlockwiseStages(Section):
    """Stages that train one block after another."""

    blockwise: BlockwiseSection = Field(  # pyright: ignore[reportInvalidTypeForm]
        description=summary(blockwise)
    )


class StagesSpec(RootModel[by_shape([list[StageSection], BlockwiseStages])]):
    """A list of stages, or `blockwise`."""
