"""Load training, validation and test data by reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tutelage.datasets.assembly import Assembly, Part
from tutelage.datasets.columns import Columns
from tutelage.datasets.content import Content, keys_of
from tutelage.datasets.image_folder import with_parts
from tutelage.datasets.inputs import column_names, inputs_of, with_inputs
from tutelage.datasets.options import DataOptions
from tutelage.datasets.partition import by_column, partition, refuse_unread_parts
from tutelage.datasets.pictures import Pictures
from tutelage.datasets.python_data import is_python, splits_of_python
from tutelage.datasets.read import read
from tutelage.datasets.splits import Splits
from tutelage.datasets.targets import Targets
from tutelage.errors import ArgumentError, DataError

_PARTS = ("train", "val", "test")


def load_data(
    argument: str,
    options: DataOptions | Mapping[str, Any] | str,
    load: Callable[[str, str], object] | None = None,
) -> Splits:
    """Return data sets of raw inputs and labels.

    Inputs are texts, images `[3, height, width]` in [0, 1], or rows of a table, float64
    `[columns]`. Everything that is learnt from data, such as the names of classes and the
    categories of columns, is learnt from the training data only.

    Args:
        argument: The name of the argument, for messages.
        options: Which data, as in a recipe.
        load: A function of an argument and a reference to a Python object, such as
            `file.py:name`, that returns the object; None to refuse these.

    Raises:
        DataError: Data cannot be read, or can be read in several ways.
        ArgumentError: The options contradict each other or the data.
    """
    options = DataOptions.of(argument, options)
    if is_python(options.train):
        return splits_of_python(argument, options, load)
    options = with_parts(options)
    contents = {
        name: read(f"{argument}.{name}", str(getattr(options, name)), options)
        for name in (*_PARTS, "unlabelled")
        if getattr(options, name) is not None and not options.share(name)
    }
    contents = {
        name: with_inputs(f"{argument}.{name}", each, options) for name, each in contents.items()
    }
    options = _completed(argument, options, contents["train"])
    parts = _divided(contents, options)
    columns = _columns(parts["train"], options)
    first = contents["train"].inputs
    inputs = {name: inputs_of(each, columns, first) for name, each in contents.items()}
    # All classes of a file are known, also where its parts are shares.
    targets = Targets.fit(contents["train"].frame, options) if options.labels else None
    judged = [name for name in _PARTS if name in contents]
    labels = {}
    if targets is not None:
        labels = {
            name: targets.encode(contents[name].frame, contents[name].inputs) for name in judged
        }
    return Assembly(options, contents, parts, columns, inputs, targets, labels).splits()


def _completed(argument: str, options: DataOptions, train: Content) -> DataOptions:
    """Return options in which labels and domains are named, where the data has names for them."""
    labels = options.labels or train.labels
    are_classes = len(labels) == 1 and options.kind in (None, "classes")
    known = train.classes.get(labels[0]) if are_classes else None
    given = {
        "label": labels,
        "domain": train.domain or options.domain,
        "classes": options.classes or known,
    }
    for name in ("columns", "omit"):
        if train.inputs is not None and getattr(options, name):
            raise ArgumentError(
                f"`{argument}.{name}` must be of a table, got {options.train}; leave it out"
            )
    if options.image_size is not None and not isinstance(train.inputs, Pictures):
        raise ArgumentError(
            f"`{argument}.image_size` is for images, got {options.train}; leave it out"
        )
    options = options.model_copy(update=given)
    if options.kind is not None and not options.labels:
        raise ArgumentError(
            f"`{argument}.kind` says what labels are, got data without; name their column: label"
        )
    refuse_unread_parts(train.frame, options)
    for option, names in (
        ("label", options.labels),
        ("domain", (options.domain,)),
        ("split.group", (options.split.group,)),
        ("split.column", (options.split.column,)),
    ):
        for name in filter(None, names):
            train.frame.cells(f"{argument}.{option}", name)
    return options


def _divided(contents: dict[str, Content], options: DataOptions) -> dict[str, Part]:
    """Return the rows of each part, from files of their own or as shares of the training data."""
    parts = {
        name: Part(each, np.arange(len(each))) for name, each in contents.items() if name in _PARTS
    }
    train = contents["train"]
    if options.split.column is not None:
        found = by_column(train.frame, options.split.column)
        twice = [name for name in ("val", "test") if name in found and getattr(options, name)]
        if twice:
            raise ArgumentError(
                f"`{twice[0]}` must be given once, got {getattr(options, twice[0])} "
                f"and rows of the column {options.split.column!r}; leave one of them out"
            )
        parts |= {name: Part(train, rows) for name, rows in found.items()}
    shares = {name: options.share(name) for name in ("test", "val") if options.share(name)}
    if shares:
        rows = parts["train"].rows
        units, strata = _units(train, options), _strata(train, options)
        chosen = strata and [strata[row] for row in rows]
        found = partition([units[row] for row in rows], chosen, shares, options.split.seed)
        parts |= {name: Part(train, rows[each]) for name, each in found.items()}
    return parts


def _units(train: Content, options: DataOptions) -> list[Any]:
    """Return what must not be divided: groups, or equal inputs."""
    group = options.split.group
    if group is None:
        if train.inputs is not None:
            return keys_of(train.inputs)
        names = column_names(train.frame, options)
        columns = [train.frame.cells("columns", each) for each in names]
        return list(map(repr, zip(*columns, strict=True)))
    absent = np.flatnonzero(train.frame.absent(group, ("",)))
    if len(absent):
        raise DataError(
            f"`split.group` must name a column that is never empty, got {group!r}, which is in "
            f"{train.frame.row(int(absent[0]))}; fill it, or leave such rows out"
        )
    return [str(each) for each in train.frame.columns[group]]


def _strata(train: Content, options: DataOptions) -> list[Any] | None:
    """Return what has its share in each part: classes within domains."""
    if not options.labels:
        return None
    targets = Targets.fit(train.frame, options)
    wanted = options.split.stratified
    if targets.kind != "classes":
        if wanted:
            raise ArgumentError(
                f"`split.stratified` needs labels that are classes, got {targets.kind}; "
                "leave it out"
            )
        return None
    if wanted is False or (wanted is None and options.split.group is not None):
        return None
    ids = targets.encode(train.frame).tolist()
    domains = train.frame.columns[options.domain] if options.domain else [""] * len(ids)
    return [(each, str(domain)) for each, domain in zip(ids, domains, strict=True)]


def _columns(train: Part, options: DataOptions) -> Columns | None:
    """Return what the columns of a table are in the training data."""
    if train.content.inputs is not None:
        return None
    frame = train.content.frame
    names = column_names(frame, options)
    if not names:
        raise DataError(
            f"`columns` must name the inputs, got {frame.name} with no other column than those of "
            "labels; name them, or correct `label`"
        )
    return Columns.fit(frame, names, options.categories, options.missing_cells, train.rows)
