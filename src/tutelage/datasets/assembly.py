"""Data sets of the parts of the data, and what is told of them."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset

from tutelage.datasets.cells import plain
from tutelage.datasets.columns import Columns
from tutelage.datasets.content import Content, Inputs, taken
from tutelage.datasets.duplicates import contradictions, overlaps, shared_groups
from tutelage.datasets.examples import data_set
from tutelage.datasets.inputs import form_of
from tutelage.datasets.leaks import identifiers, tellers
from tutelage.datasets.options import DataOptions
from tutelage.datasets.splits import Splits
from tutelage.datasets.suspects import (
    suspect_binary,
    suspect_classes,
    suspect_values,
    suspects,
)
from tutelage.datasets.targets import Targets
from tutelage.datasets.unseen import unseen
from tutelage.errors import DataError, some_of


@dataclass(frozen=True)
class Part:
    """Some rows of a file or a folder, which are a part of the data.

    Args:
        content: What the file or folder holds.
        rows: Which of its rows.
        all_inputs: Those of all of its rows.
        all_labels: Likewise; None for none.
    """

    content: Content
    rows: NDArray[np.int64]
    all_inputs: Inputs
    all_labels: Tensor | None

    @cached_property
    def inputs(self) -> Inputs:
        """The inputs of the part."""
        whole = len(self.rows) == len(self.all_inputs)
        return self.all_inputs if whole else taken(self.all_inputs, self.rows)

    @cached_property
    def labels(self) -> Tensor | None:
        """The labels of the part."""
        return None if self.all_labels is None else self.all_labels[torch.from_numpy(self.rows)]

    @cached_property
    def ids(self) -> set[int]:
        """The class ids that are among the labels."""
        found = [] if self.labels is None else self.labels.unique().tolist()
        return {int(each) for each in found if each >= 0}

    def texts(self, option: str, column: str) -> list[str]:
        """Return the cells of a column that is never empty, as texts."""
        cells = self.content.frame.full(option, column)
        return [cells[row] for row in self.rows]


@dataclass(frozen=True)
class Assembly:
    """Everything that data sets are made of; a part may be of unlabelled inputs."""

    options: DataOptions
    parts: dict[str, Part]
    columns: Columns | None
    targets: Targets | None

    def splits(self) -> Splits:
        """Return the data sets and what is known of them."""
        sets = {name: self._data_set(part) for name, part in self.parts.items()}
        labelled = sets["train"]
        if "unlabelled" in sets:
            sets["train"] = ConcatDataset([labelled, sets.pop("unlabelled")])
        train, targets, warnings = self.parts["train"], self.targets, self._warnings()
        for each in warnings:
            logging.getLogger("tutelage").warning(each)
        return Splits(
            **sets,
            labelled=labelled,
            classes=targets.classes if targets else (),
            labels=targets.names if targets else (),
            kind=targets.kind if targets else None,
            form=form_of(train.inputs, self.columns),
            columns=self.columns,
            rows=train.inputs if self.columns and isinstance(train.inputs, Tensor) else None,
            groups=self._groups.get("test"),
            described=self._described(),
            warnings=warnings,
        )

    def _data_set(self, part: Part) -> Dataset[Any]:
        name = self.options.domain
        domains = None if name is None else part.texts("domain", name)
        by_word = self.targets is not None and self.targets.kind == "tags"
        return data_set(part.inputs, part.labels, domains, by_word)

    @cached_property
    def _groups(self) -> dict[str, tuple[str, ...]]:
        """The group of each example, of the parts whose groups are known."""
        name = self.options.split.group
        return {
            key: tuple(map(plain, part.texts("split.group", name)))
            for key, part in self.parts.items()
            if name is not None and name in part.content.frame.columns
        }

    def _warnings(self) -> tuple[str, ...]:
        parts = self.parts
        contents = {id(part.content): part.content for part in parts.values()}
        found = [sentence for each in contents.values() for sentence in each.warnings]
        are_ids = self.targets is not None and self.targets.kind == "classes"
        if self.targets is not None and are_ids:
            found += self._missing_classes(self.targets.classes)
        found += self._suspect_labels()
        found += overlaps({name: part.inputs for name, part in parts.items()})
        for name, part in parts.items():
            if part.labels is not None and are_ids and part.ids:
                found += contradictions(name, part.inputs, part.labels)
        if self.columns is not None:
            found += suspects(parts["train"].content.frame, self.columns)
            found += self._leaks(parts["train"], self.columns)
            for name, part in parts.items():
                rows: Any = part.inputs
                found += unseen(name, part.content.frame, part.rows, rows.numpy(), self.columns)
        found += self._shared_groups()
        return tuple(found)

    def _suspect_labels(self) -> list[str]:
        """Return a sentence for each doubt whether the labels are meant as they are read."""
        targets, train = self.targets, self.parts["train"]
        if targets is None or train.labels is None:
            return []
        if targets.kind == "classes":
            return [] if self.options.classes else suspect_classes(targets.classes)
        if targets.kind == "binary":
            return suspect_binary(train.labels)
        return [
            sentence
            for name in (targets.names if targets.kind == "values" else ())
            for sentence in suspect_values(train.content.frame, name)
        ]

    def _shared_groups(self) -> list[str]:
        """Refuse groups that are in two parts, unless they may; tell what is not known of them."""
        name = self.options.split.group
        if name is None:
            return []
        found = shared_groups(name, self._groups, self.options.split.allow_overlap)
        for each in ("val", "test"):
            if each in self.parts and each not in self._groups:
                found.append(
                    f"{each} has no column {name!r}, so that its examples are taken as independent "
                    "of each other and of those of train; add the column to its file"
                )
        return found

    def _missing_classes(self, classes: tuple[str, ...]) -> list[str]:
        """Refuse classes that only validation or test data has, unless `classes` lists them."""
        known, listed = self.parts["train"].ids, self.options.classes is not None
        if len(known) < 2 and not listed:  # noqa: PLR2004 - two classes
            raise DataError(
                "the training data must have two classes or more, got one; take smaller shares, or "
                "stratified: true"
            )
        found = []
        for name, part in self.parts.items():
            names = [classes[each] for each in sorted(part.ids - known)]
            if names and not listed:
                raise DataError(
                    f"every class of `{name}` must be in the training data, got "
                    f"{some_of(names)}; write split: {{stratified: true}}, or list all "
                    "classes in `classes`"
                )
            if names:
                found.append(f"{name} has classes without training data: {some_of(names)}")
        return found

    def _leaks(self, train: Part, columns: Columns) -> tuple[str, ...]:
        """Return a sentence for each column that names rows or tells the label."""
        whole: Any = train.all_inputs
        found = identifiers(whole.numpy(), columns) if self.options.columns is None else ()
        if self.targets is None or train.labels is None:
            return found
        are_values = self.targets.kind == "values"
        known = train.labels.reshape(len(train.rows), -1).double()
        known = known if are_values else known.where(known >= 0, torch.nan)
        names = self.targets.classes if self.targets.listed else self.targets.names
        rows: Any = train.inputs
        return found + tellers(rows.numpy(), columns, known.numpy(), names, are_values)

    def _described(self) -> str:
        """Return what was read and decided, in one sentence."""
        train = self.parts["train"]
        sizes = [
            f"{len(part.rows):,} {'' if name == 'unlabelled' else 'examples for '}{name}"
            for name, part in self.parts.items()
        ]
        what = self.columns.described() if self.columns else form_of(train.inputs, None)
        told = [", ".join(sizes), f"inputs: {what}"]
        told.append("no labels" if self.targets is None else self.targets.described())
        if train.labels is not None:
            labels = train.labels.reshape(len(train.rows), -1)
            gone = labels.isnan() if labels.is_floating_point() else labels < 0
            lacking = int(gone.all(dim=1).sum())
            told += [f"{lacking:,} training examples have no label"] if lacking else []
        return "; ".join(told)
