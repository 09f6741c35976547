"""Load training, validation and test data by reference."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import ConcatDataset

from tutelage.datasets.columns import Columns
from tutelage.datasets.content import Content, Inputs, keys_of, taken
from tutelage.datasets.duplicates import overlaps
from tutelage.datasets.examples import data_set
from tutelage.datasets.image_folder import with_parts
from tutelage.datasets.inputs import column_names, form_of, inputs_of, with_inputs
from tutelage.datasets.options import DataOptions
from tutelage.datasets.partition import partition
from tutelage.datasets.pictures import Pictures
from tutelage.datasets.python_data import is_python, splits_of_python
from tutelage.datasets.read import read
from tutelage.datasets.splits import Splits
from tutelage.datasets.targets import Targets
from tutelage.errors import ArgumentError, DataError

_PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class _Part:
    """The rows of a content that are a part of the data."""

    content: Content
    rows: NDArray[np.int64]


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
    labels = {name: targets.encode(contents[name].frame) for name in judged} if targets else {}
    return _Assembly(options, contents, parts, columns, inputs, targets, labels).splits()


def _completed(argument: str, options: DataOptions, train: Content) -> DataOptions:
    """Return options in which labels and domains are named, where the data has names for them."""
    labels = options.labels or train.labels
    known = train.classes.get(labels[0]) if len(labels) == 1 and options.kind is None else None
    given = {
        "label": labels,
        "domain": train.domain or options.domain,
        "classes": options.classes or known,
    }
    if train.inputs is not None and options.columns is not None:
        raise ArgumentError(
            f"`{argument}.columns` must be of a table, got {options.train}; leave it out"
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
    for option, names in (
        ("label", options.labels),
        ("domain", (options.domain,)),
        ("split.group", (options.split.group,)),
    ):
        for name in filter(None, names):
            train.frame.cells(f"{argument}.{option}", name)
    return options


def _divided(contents: dict[str, Content], options: DataOptions) -> dict[str, _Part]:
    """Return the rows of each part, from files of their own or as shares of the training data."""
    parts = {
        name: _Part(each, np.arange(len(each))) for name, each in contents.items() if name in _PARTS
    }
    shares = {name: options.share(name) for name in ("test", "val") if options.share(name)}
    if shares:
        train = contents["train"]
        units, strata = _units(train, options), _strata(train, options)
        found = partition(units, strata, shares, options.split.seed)
        parts |= {name: _Part(train, rows) for name, rows in found.items()}
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


def _columns(train: _Part, options: DataOptions) -> Columns | None:
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


@dataclass(frozen=True)
class _Assembly:
    """Everything that data sets are made of."""

    options: DataOptions
    contents: dict[str, Content]
    parts: dict[str, _Part]
    columns: Columns | None
    inputs: dict[str, Inputs]
    targets: Targets | None
    labels: dict[str, Tensor]

    def splits(self) -> Splits:
        """Return the data sets and what is known of them."""
        sets = {name: self._data_set(name) for name in self.parts}
        labelled = sets["train"]
        if "unlabelled" in self.contents:
            sets["train"] = ConcatDataset([labelled, self._unlabelled()])
        rows = self._inputs("train")
        warnings = (*self._missing_classes(), *overlaps({n: self._inputs(n) for n in self.parts}))
        for each in warnings:
            logging.getLogger("tutelage").warning(each)
        return Splits(
            **sets,
            labelled=labelled,
            classes=self.targets.classes if self.targets else (),
            kind=self.targets.kind if self.targets else None,
            form=form_of(rows, self.columns),
            columns=self.columns,
            rows=rows if self.columns is not None and isinstance(rows, Tensor) else None,
            described=self._described(),
            warnings=warnings,
        )

    def _source(self, name: str) -> str:
        return name if name in self.contents else "train"

    def _inputs(self, name: str) -> Inputs:
        part, inputs = self.parts[name], self.inputs[self._source(name)]
        return inputs if len(part.rows) == len(inputs) else taken(inputs, part.rows)

    def _labels(self, name: str) -> Tensor | None:
        return self.labels.get(self._source(name))

    def _data_set(self, name: str) -> Any:
        part = self.parts[name]
        domains = self._domains(part.content)
        return data_set(self.inputs[self._source(name)], self._labels(name), domains, part.rows)

    def _unlabelled(self) -> Any:
        content, inputs = self.contents["unlabelled"], self.inputs["unlabelled"]
        domains, labels = self._domains(content), None
        if self.targets is not None:
            mark = self.targets.mark()
            labels = mark.expand(len(inputs), *mark.shape)
        return data_set(inputs, labels, domains, np.arange(len(inputs)))

    def _domains(self, content: Content) -> list[str] | None:
        name = self.options.domain
        if name is None:
            return None
        cells = content.frame.cells("domain", name)
        absent = np.flatnonzero(content.frame.absent(name, ("",)))
        if len(absent):
            raise DataError(
                f"`domain` must name a column that is never empty, got {name!r}, which is in "
                f"{content.frame.row(int(absent[0]))}; fill it"
            )
        return [str(each) for each in cells]

    def _missing_classes(self) -> tuple[str, ...]:
        """Refuse classes that only validation or test data has, unless `classes` lists them."""
        if self.targets is None or self.targets.kind != "classes":
            return ()
        known = self._ids("train")
        if len(known) < 2 and self.options.classes is None:  # noqa: PLR2004 - two classes
            raise DataError(
                "the training data must have two classes or more, got one; take smaller shares, or "
                "stratified: true"
            )
        found = []
        for name in self.parts:
            names = [self.targets.classes[each] for each in sorted(self._ids(name) - known)]
            if names and self.options.classes is None:
                raise DataError(
                    f"every class of `{name}` must be in the training data, got "
                    f"{', '.join(names[:5])}; write split: {{stratified: true}}, or list all "
                    "classes in `classes`"
                )
            if names:
                found.append(f"{name} has classes without training data: {', '.join(names[:5])}")
        return tuple(found)

    def _ids(self, name: str) -> set[int]:
        labels = self._labels(name)
        if labels is None:
            return set()
        chosen = labels[torch.from_numpy(self.parts[name].rows)]
        return {int(each) for each in chosen.unique().tolist() if each >= 0}

    def _described(self) -> str:
        """Return what was read and decided, in one sentence."""
        sizes = [f"{len(part.rows):,} examples for {name}" for name, part in self.parts.items()]
        if "unlabelled" in self.contents:
            sizes.append(f"{len(self.contents['unlabelled']):,} unlabelled")
        form = form_of(self.inputs["train"], self.columns)
        what = self.columns.described() if self.columns else form
        parts = [", ".join(sizes), f"inputs: {what}"]
        if self.targets is not None:
            labels = self._labels("train")
            lacking = 0 if labels is None else _lacking(labels[self.parts["train"].rows])
            parts.append(self.targets.described())
            parts += [f"{lacking:,} training examples have no label"] if lacking else []
        else:
            parts.append("no labels")
        return "; ".join(parts)


def _lacking(labels: Tensor) -> int:
    gone = labels.isnan() if labels.is_floating_point() else labels < 0
    return int(gone.reshape(len(labels), -1).all(dim=1).sum())
