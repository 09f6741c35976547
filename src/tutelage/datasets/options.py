"""What a recipe says of its data."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from tutelage.datasets.cells import as_text
from tutelage.errors import ArgumentError, nearest

Kind = Literal["classes", "binary", "values", "tags"]
"""What labels are: class ids, one or several binary labels, values, or a class for each word."""

Part = Literal["train", "val", "test", "unlabelled"]
"""Of the data."""

FOLDER = "folder"
"""As `domain`: the name of a sub-folder."""


def _texts(value: object) -> object:
    listed = [value] if isinstance(value, (str, int, float)) else value
    return list(map(as_text, listed)) if isinstance(listed, (list, tuple)) else listed


def _text(value: object) -> object:
    return str(value) if type(value) is int else value


_Name = Annotated[str, BeforeValidator(_text)]
_Names = Annotated[tuple[str, ...], BeforeValidator(_texts)]

_NO_SOURCE = (int, float, type(None))


class SplitOptions(BaseModel):
    """How fractions of the training data become validation and test data.

    Args:
        seed: Seed of the random choice.
        stratified: Whether every class has its fraction in each part; None for yes, if labels are
            classes and examples are not kept together by `group`.
        column: The column that says which part an example belongs to: train, val or test.
        group: The column whose equal values stay in one part, such as the patient or the author.
        allow_overlap: Whether files that are given as parts may have groups in common, which are
            then warned about.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(default=0, ge=0)
    stratified: bool | None = None
    group: _Name | None = None
    column: _Name | None = None
    allow_overlap: bool = False


class DataOptions(BaseModel):
    """The data of a recipe.

    Args:
        train: A file, a folder or the name of a data set (see docs/data.md), or a data set.
        val: Likewise, or the fraction of the training data that becomes validation data.
        test: Likewise.
        unlabelled: Inputs without labels, which are added to the training data.
        synthetic: How many rows without labels are made of those of a table and added to the
            training data, see `munge`; None for none, but in `compress` for 200,000.
        text: The column whose text is the input.
        image: The column that holds images, or paths of images relative to the file.
        columns: The columns that are the input; None for all that are not used otherwise, if
            neither `text` nor `image` is given.
        omit: Columns that are not inputs, such as row numbers.
        categories: Columns of numbers that are categories, such as postal codes.
        read: Options of pandas' reader of the file, such as `sep`, `decimal`, `encoding`, `header`
            or `sheet_name`.
        missing: Cells that are read as missing beside those that pandas takes for missing, such as
            "?" or -999.
        label: The column of the labels, or several: of binary labels or values.
        kind: What labels are; None to infer it from their form.
        classes: The names of the classes in the order of their ids, such as those of a trained
            teacher; None for those of the training data, sorted.
        domain: The column that names each example's domain; in a folder of images, `folder` says
            that its first level is the domain.
        image_size: Height and width, or one number for both, to which images are resized and
            cropped; None where all images have one size.
        split: How fractions are taken.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    train: Any
    val: Any = None
    test: Any = None
    unlabelled: Any = None
    synthetic: int | None = Field(default=None, ge=0)
    text: _Name | None = None
    image: _Name | None = None
    columns: _Names | None = None
    omit: _Names = ()
    categories: _Names = ()
    read: dict[str, Any] = Field(default_factory=dict)
    missing: _Names = ()
    label: _Name | _Names | None = None
    kind: Kind | None = None
    classes: _Names | None = None
    domain: _Name | None = None
    image_size: int | tuple[int, int] | None = None
    split: SplitOptions = Field(default_factory=SplitOptions)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.train is None or isinstance(self.train, (bool, int, float)):
            raise ValueError(f"`train` must be a file, a folder or a name, got {self.train!r}")
        if isinstance(self.unlabelled, (bool, int, float)):
            raise ValueError(f"`unlabelled` must be a file or a folder, got {self.unlabelled!r}")
        inputs = [each for each in ("text", "image", "columns") if getattr(self, each) is not None]
        if len(inputs) > 1:
            raise ValueError(f"give one of text, image and columns, got {' and '.join(inputs)}")
        if self.classes is not None and len(set(self.classes)) < len(self.classes):
            raise ValueError("`classes` must name each class once")
        if self.size is not None and min(self.size) < 1:
            raise ValueError(f"`image_size` must be positive, got {self.image_size}")
        for name in ("val", "test"):
            share = getattr(self, name)
            if isinstance(share, bool) or (isinstance(share, (int, float)) and not 0 < share < 1):
                raise ValueError(
                    f"`{name}` must be a path or a share of `train` between 0 and 1, got {share!r}"
                )
        if sum(self.shares.values()) >= 1:
            raise ValueError("the shares of `val` and `test` must leave some of `train`")
        return self

    @property
    def shares(self) -> dict[str, float]:
        """The shares of the training data that are test or validation data."""
        found = {"test": self.test, "val": self.val}
        return {name: float(each) for name, each in found.items() if isinstance(each, (int, float))}

    @property
    def sources(self) -> dict[Part, Any]:
        """The parts of the data that have a file, a folder or a name of their own."""
        found: dict[Part, Any] = {name: getattr(self, name) for name in get_args(Part)}
        return {name: each for name, each in found.items() if not isinstance(each, _NO_SOURCE)}

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width of images."""
        size = self.image_size
        return (size, size) if isinstance(size, int) else size

    @property
    def labels(self) -> tuple[str, ...]:
        """The columns of the labels."""
        if self.label is None:
            return ()
        return (self.label,) if isinstance(self.label, str) else self.label

    @classmethod
    def of(cls, argument: str, given: object) -> DataOptions:
        """Return options from a mapping, or as they are.

        Raises:
            ArgumentError: A key is unknown, or a value outside its range.
        """
        if isinstance(given, DataOptions):
            return given
        if isinstance(given, str):
            given = {"train": given}
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, (argument, *first["loc"])))
            if first["type"] == "extra_forbidden":
                known = SplitOptions if first["loc"][0] == "split" else cls
                hint = nearest(str(first["loc"][-1]), known.model_fields)
                raise ArgumentError(
                    f"`{where}` is not an option of data, got {first['input']!r}; {hint}"
                ) from error
            if first["type"] == "value_error":
                message = first["msg"].removeprefix("Value error, ")
                raise ArgumentError(f"`{where}`: {message}; correct it") from error
            raise ArgumentError(
                f"`{where}` cannot be used: {first['msg']}, got {first['input']!r}; correct it"
            ) from error
