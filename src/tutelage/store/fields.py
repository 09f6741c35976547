"""What is kept of each example: a field, in one of three forms, as columns of numbers."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveFloat, PositiveInt

from tutelage.errors import StoreError
from tutelage.signals import Fields
from tutelage.store.columns import Column

OUTPUT_NAME = "output"
_MOST_UINT16 = 2**16 - 1  # ids below; this one is the place that is not used

Float = Literal["float16", "float32", "bfloat16"]


class Entry(BaseModel):
    """A part of a manifest: what is missing, unknown or of another type is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Field(Entry):
    """One of a teacher's signals.

    Args:
        name: `"output"`, or the place of a feature.
        form: `"dense"`: all values. `"coarse"`: the k likeliest classes by id, their logits, and
            the log-mass of all others together (`CoarseLogits`), less the row's largest logit: a
            distribution does not change by that, and float16 is fine near 0 and coarse at 30.
            `"drawn"`: the ids of k classes drawn in proportion to their probabilities.
        dtype: Of values, logits and log-mass; of no meaning for drawn classes.
        shape: Of an example's values; `[k]` for a coarse or a drawn field.
        classes: Of a coarse or a drawn field, where known, and 0 where not.
        temperature: At which classes are drawn; 1 for the other forms.
    """

    name: str
    form: Literal["dense", "coarse", "drawn"]
    dtype: Float
    shape: tuple[NonNegativeInt, ...]
    classes: NonNegativeInt = 0
    temperature: PositiveFloat = 1.0

    @property
    def id_dtype(self) -> str:
        """How class ids are kept: two bytes where all classes are known to fit."""
        return "uint16" if 0 < self.classes <= _MOST_UINT16 else "int32"

    def columns(self, place: int) -> tuple[Column, ...]:
        """Return the columns of the field that is the `place`-th of its store."""
        stem = OUTPUT_NAME if self.name == OUTPUT_NAME else f"feature{place}"
        if self.form == "dense":
            return (Column(stem, self.dtype, self.shape),)
        if self.form == "drawn":
            return (Column(f"{stem}.ids", self.id_dtype, self.shape),)
        return (
            Column(f"{stem}.ids", self.id_dtype, self.shape),
            Column(f"{stem}.logits", self.dtype, self.shape),
            Column(f"{stem}.rest", self.dtype, ()),
        )


class Settings(Entry):
    """How a store was asked for: what must be equal for a call to go on with it.

    Args:
        output: Whether the output is kept.
        features: The places that are kept, sorted.
        top_k: How many classes are kept; None for all.
        draws: How many classes are drawn; None for none.
        temperature: At which they are drawn.
        dtype: Of what is kept.
        batch_size: Of the teacher's batches; with another its answers may differ in the last bit.
        precision: Of the engine.
        compile: Whether the teacher was compiled.
    """

    output: bool
    features: tuple[str, ...]
    top_k: PositiveInt | None
    draws: PositiveInt | None = None
    temperature: PositiveFloat = 1.0
    dtype: Float
    batch_size: PositiveInt
    precision: str
    compile: bool

    @property
    def fields(self) -> Fields:
        """What is asked of the teacher."""
        return Fields(self.output, frozenset(self.features))


def field_named(fields: tuple[Field, ...], name: str) -> int:
    """Return the place of a field.

    Raises:
        StoreError: There is none.
    """
    names = [field.name for field in fields]
    if name not in names:
        raise StoreError(
            f"the store must hold the field {name!r}, got one with {names}; label again with an "
            "objective that wants it, into another folder"
        )
    return names.index(name)
