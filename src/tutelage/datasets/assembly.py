"""Data sets of the parts of the data, and what is told of them."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import ConcatDataset

from tutelage.datasets.columns import Columns
from tutelage.datasets.content import Content, Inputs, taken
from tutelage.datasets.duplicates import contradictions, overlaps
from tutelage.datasets.examples import data_set
from tutelage.datasets.inputs import form_of
from tutelage.datasets.leaks import identifiers, tellers
from tutelage.datasets.options import DataOptions
from tutelage.datasets.splits import Splits
from tutelage.datasets.suspects import suspects
from tutelage.datasets.targets import Targets
from tutelage.errors import DataError
from tutelage.signals import UNLABELLED


@dataclass(frozen=True)
class Part:
    """The rows of a content that are a part of the data."""

    content: Content
    rows: NDArray[np.int64]


@dataclass(frozen=True)
class Assembly:
    """Everything that data sets are made of."""

    options: DataOptions
    contents: dict[str, Content]
    parts: dict[str, Part]
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
        left_out = (sentence for each in self.contents.values() for sentence in each.warnings)
        warnings = (*left_out, *self._missing_classes(), *overlaps(self._all_inputs()))
        warnings += self._contradictions()
        if self.columns is not None:
            warnings += suspects(self.contents["train"].frame, self.columns)
            warnings += self._leaks(self.columns)
        if self.options.split.group and "test" in self.parts and self._groups() is None:
            warnings += (
                f"test has no column {self.options.split.group!r}, so that its examples are taken "
                "as independent of each other; add the column to its file",
            )
        for each in warnings:
            logging.getLogger("tutelage").warning(each)
        return Splits(
            **sets,
            labelled=labelled,
            classes=self.targets.classes if self.targets else (),
            labels=self.targets.names if self.targets else (),
            kind=self.targets.kind if self.targets else None,
            form=form_of(rows, self.columns),
            columns=self.columns,
            rows=rows if self.columns is not None and isinstance(rows, Tensor) else None,
            groups=self._groups(),
            described=self._described(),
            warnings=warnings,
        )

    def _source(self, name: str) -> str:
        return name if name in self.contents else "train"

    def _inputs(self, name: str) -> Inputs:
        part, inputs = self.parts[name], self.inputs[self._source(name)]
        return inputs if len(part.rows) == len(inputs) else taken(inputs, part.rows)

    def _all_inputs(self) -> dict[str, Inputs]:
        found = {name: self._inputs(name) for name in self.parts}
        more = self.inputs.get("unlabelled")
        return found if more is None else found | {"unlabelled": more}

    def _labels(self, name: str) -> Tensor | None:
        return self.labels.get(self._source(name))

    def _data_set(self, name: str) -> Any:
        part = self.parts[name]
        domains = self._domains(part.content)
        by_word = self.targets is not None and self.targets.kind == "tags"
        inputs = self.inputs[self._source(name)]
        return data_set(inputs, self._labels(name), domains, part.rows, by_word)

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

    def _groups(self) -> tuple[str, ...] | None:
        """Return the group of each test example; None where it is not known."""
        name, part = self.options.split.group, self.parts.get("test")
        if name is None or part is None or name not in part.content.frame.columns:
            return None
        cells = part.content.frame.columns[name]
        return tuple(str(cells[row]) for row in part.rows)

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

    def _contradictions(self) -> tuple[str, ...]:
        """Return a sentence for each file or folder in which equal inputs have two classes."""
        if self.targets is None or self.targets.kind != "classes":
            return ()
        return tuple(
            sentence
            for name, labels in self.labels.items()
            for sentence in contradictions(name, self.inputs[name], labels)
        )

    def _leaks(self, columns: Columns) -> tuple[str, ...]:
        """Return a sentence for each column that names rows or tells the label."""
        whole: Any = self.inputs["train"]
        found = identifiers(whole.numpy(), columns) if self.options.columns is None else ()
        labels = self._labels("train")
        if self.targets is None or labels is None:
            return found
        chosen = torch.from_numpy(self.parts["train"].rows)
        known = labels[chosen].reshape(len(chosen), -1).double()
        if self.targets.kind != "values":
            known[known == UNLABELLED] = torch.nan
        names = self.targets.classes if self.targets.listed else self.targets.names
        rows: Any = self._inputs("train")
        are_values = self.targets.kind == "values"
        return found + tellers(rows.numpy(), columns, known.numpy(), names, are_values)

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
