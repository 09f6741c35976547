"""Load training, validation and test data by reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from torch import Tensor

from tutelage.datasets.assembly import Assembly, Part
from tutelage.datasets.cells import plain
from tutelage.datasets.columns import Columns
from tutelage.datasets.content import Content, keys_of
from tutelage.datasets.image_folder import with_parts
from tutelage.datasets.inputs import column_names, inputs_of, with_inputs
from tutelage.datasets.options import DataOptions
from tutelage.datasets.partition import Rows, by_column, partition, refuse_unread_parts
from tutelage.datasets.pictures import Pictures
from tutelage.datasets.python_data import is_python, splits_of_python
from tutelage.datasets.read import read
from tutelage.datasets.splits import Splits
from tutelage.datasets.targets import Targets
from tutelage.errors import ArgumentError


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
    options, contents = with_parts(argument, options), {}
    for name, source in options.sources.items():
        content = read(f"{argument}.{name}", str(source), options)
        contents[name] = with_inputs(f"{argument}.{name}", content, options)
    train = contents["train"]
    options = _completed(argument, options, train)
    # All classes of a file are known, also where its parts are shares.
    targets = Targets.fit(train.frame, options) if options.labels else None
    labels = {name: _labels(name, each, targets) for name, each in contents.items()}
    rows = _divided(contents, options, targets, labels["train"])
    columns = _columns(train, rows["train"][1], options)
    inputs = {name: inputs_of(each, columns, train.inputs) for name, each in contents.items()}
    parts = {
        name: Part(contents[source], chosen, inputs[source], labels[source])
        for name, (source, chosen) in rows.items()
    }
    return Assembly(options, parts, columns, targets).splits()


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
    for name in ("columns", "categories", "omit"):
        if train.inputs is not None and getattr(options, name):
            raise ArgumentError(
                f"`{argument}.{name}` must be of a table, got {options.train}; leave it out"
            )
    if options.image_size is not None and not isinstance(train.inputs, Pictures):
        raise ArgumentError(
            f"`{argument}.image_size` is for images, got {options.train}; leave it out"
        )
    options = options.model_copy(update=given)
    for name in ("kind", "classes"):
        if getattr(options, name) is not None and not options.labels:
            raise ArgumentError(
                f"`{argument}.{name}` says what labels are, got data without; name their column: "
                "label"
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


def _labels(name: str, content: Content, targets: Targets | None) -> Tensor | None:
    if targets is None:
        return None
    if name == "unlabelled":
        return targets.unknown(len(content))
    return targets.encode(content.frame, content.inputs)


def _divided(
    contents: dict[str, Content],
    options: DataOptions,
    targets: Targets | None,
    labels: Tensor | None,
) -> dict[str, tuple[str, Rows]]:
    """Return, by part of the data, in which content it is, and in which of its rows."""
    parts = {name: (name, np.arange(len(each))) for name, each in contents.items()}
    train = contents["train"]
    if options.split.column is not None:
        found = by_column(train.frame, options.split.column)
        twice = [name for name in ("val", "test") if name in found and getattr(options, name)]
        if twice:
            raise ArgumentError(
                f"`{twice[0]}` must be given once, got {getattr(options, twice[0])} "
                f"and rows of the column {options.split.column!r}; leave one of them out"
            )
        parts |= {name: ("train", rows) for name, rows in found.items()}
    if options.shares:
        rows = parts["train"][1]
        units, strata = _units(train, options), _strata(train, options, targets, labels)
        chosen = strata and [strata[row] for row in rows]
        found = partition([units[row] for row in rows], chosen, options.shares, options.split.seed)
        parts |= {name: ("train", rows[each]) for name, each in found.items()}
    return parts


def _units(train: Content, options: DataOptions) -> list[Any]:
    """Return what must not be divided: groups, or equal inputs."""
    if options.split.group is not None:
        return list(map(plain, train.frame.full("split.group", options.split.group)))
    if train.inputs is not None:
        return keys_of(train.inputs)
    names = column_names(train.frame, options)
    columns = [train.frame.cells("columns", each) for each in names]
    return list(map(repr, zip(*columns, strict=True)))


def _strata(
    train: Content, options: DataOptions, targets: Targets | None, labels: Tensor | None
) -> list[Any] | None:
    """Return what has its share in each part: classes within domains."""
    if targets is None or labels is None:
        return None
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
    ids = labels.tolist()
    domains = train.frame.full("domain", options.domain) if options.domain else [""] * len(ids)
    return list(zip(ids, domains, strict=True))


def _columns(train: Content, rows: Rows, options: DataOptions) -> Columns | None:
    """Return what the columns of a table are in the training data."""
    if train.inputs is not None:
        return None
    names = column_names(train.frame, options)
    return Columns.fit(train.frame, names, options.categories, options.missing_cells, rows)
