"""Load training, validation and test data by reference."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset

from tutelage.datasets.cells import as_text
from tutelage.datasets.columns import Columns
from tutelage.datasets.content import Content, few
from tutelage.datasets.images import SUFFIXES, Pictures
from tutelage.datasets.options import DataOptions, Part
from tutelage.datasets.partition import PART_OF, columns_of_parts, divided, groups_of_parts
from tutelage.datasets.python_data import is_python, splits_of_python
from tutelage.datasets.sources import read, with_pictures
from tutelage.datasets.splits import Splits, examples_of
from tutelage.datasets.synthetic import munge
from tutelage.datasets.targets import Targets, is_list
from tutelage.errors import ArgumentError, DataError, nearest, some_of

if TYPE_CHECKING:
    import pandas as pd

_TEXTS = ("str", "string", "object", "category")
_MANY, _MOST_CLASSES = 50, 5_000
_LOG = logging.getLogger("tutelage")


def load_data(
    argument: str,
    options: DataOptions | Mapping[str, Any] | str,
    load: Callable[[str, str], object] | None = None,
) -> Splits:
    """Return data sets of raw inputs and labels.

    Inputs are texts, images `[3, height, width]` in [0, 1], or rows of a table, float64
    `[columns]`. What columns and labels are, such as the names of classes and the codes of
    categories, is learnt from the whole training file and does not depend on how it is split.

    Args:
        argument: The name of the argument, for messages.
        options: Which data, as in a recipe.
        load: A function of an argument and a reference to a Python object, such as
            `file.py:name`, that returns the object; None to refuse these.

    Raises:
        DataError: Data cannot be read.
        ArgumentError: The options contradict each other or the data.
    """
    options = DataOptions.of(argument, options)
    if is_python(options.train):
        return splits_of_python(argument, options, load)
    options = _with_folders(argument, options)
    contents: dict[str, Content] = {}
    for name, source in options.sources.items():  # train is the first
        header = contents["train"].header if contents else None
        contents[name] = _content(f"{argument}.{name}", str(source), name, options, header)
    encoder, notes = Encoder(argument, options, contents["train"]), list[str]()
    for content in contents.values():
        notes += content.notes
    encoded = {name: encoder.encoded(name, each, notes) for name, each in contents.items()}
    parts = divided(encoded, encoder.options, encoder.targets)
    sets = {name: encoder.data_set(each) for name, each in parts.items()}
    labelled = sets["train"]
    if "unlabelled" in sets:
        sets["train"] = ConcatDataset([labelled, sets.pop("unlabelled")])
    rows: Any = parts["train"].inputs
    targets, columns = encoder.targets, encoder.columns
    notes += columns.notes if columns is not None else ()
    notes += _classes_without_training(parts, encoder)
    notes += _doubts(encoder)
    groups = groups_of_parts(parts, encoder.options, notes)
    for each in notes:
        _LOG.warning(each)
    found = Splits(
        **sets,
        labelled=labelled,
        classes=targets.classes if targets else (),
        labels=targets.names if targets else (),
        kind=targets.kind if targets else None,
        form=encoder.form,
        columns=columns,
        rows=None if columns is None else rows[:, : len(columns.used)],
        groups=groups.get("test"),
        described=_described(parts, encoder),
        warnings=tuple(notes),
        _read=encoder.examples,
        _make=None if columns is None else partial(encoder.synthetic, parts["train"]),
    )
    return found.with_synthetic(options.synthetic) if options.synthetic else found


def _with_folders(argument: str, options: DataOptions) -> DataOptions:
    """Return options that name the parts of a folder with `train`, `val` and `test` inside.

    A folder with other sub-folders beside these is one of classes, and a part that the options name
    stays as it is.

    Raises:
        DataError: A part has two folders, such as `val` and `dev`.
    """
    folder = Path(options.train).expanduser()
    if not folder.is_dir():
        return options
    inside = sorted(each.name for each in folder.iterdir() if each.is_dir())
    inside = [each for each in inside if not each.startswith((".", "__MACOSX"))]
    parts = [PART_OF.get(name.lower(), "") for name in inside]
    if "train" not in parts or "" in parts:
        return options
    if len(set(parts)) < len(parts):
        raise DataError(
            f"`{argument}.train` must have one folder for each part of the data, got "
            f"{' and '.join(inside)} in {folder}; put their images together, or remove one"
        )
    found = {part: str(folder / name) for part, name in zip(parts, inside, strict=True)}
    given = {part: getattr(options, part) for part in ("val", "test")}
    return options.model_copy(update=found | {k: v for k, v in given.items() if v is not None})


def _content(
    argument: str,
    reference: str,
    part: Part,
    options: DataOptions,
    header: Mapping[str, Any] | None,
) -> Content:
    """Return what a reference holds, with its texts or images if a column has these."""
    content = read(argument, reference, part, options, header)
    if content.inputs is not None:
        return content
    if options.text is not None:
        return _with_texts(argument, content, options)
    if options.image is None:
        return content
    cells = content.column("image", options.image).tolist()
    cells = [
        each.get("bytes") or each.get("path") if isinstance(each, dict) else each for each in cells
    ]
    folder = content.folder or Path()
    sources = [each if isinstance(each, bytes) else folder / str(each) for each in cells]
    names = [
        f"the image in {content.row(row)}" if isinstance(each, bytes) else str(each)
        for row, each in enumerate(cells)
    ]
    return with_pictures(argument, content, Pictures(sources, names), options)


def _with_texts(argument: str, content: Content, options: DataOptions) -> Content:
    """Return a content with its texts; a few that are empty are left out.

    A cell may be the list of a text's words, where these have a tag each.
    """
    name = options.text or ""
    cells = content.column("text", name).tolist()
    if options.kind == "tags":
        cells = [" ".join(map(str, each)) if is_list(each) else each for each in cells]
    cells = [as_text(each) if isinstance(each, int) else each for each in cells]
    good = np.array([isinstance(each, str) and bool(each.strip()) for each in cells])
    found = replace(content, inputs=cells)
    if good.all():
        return found
    count, first = int((~good).sum()), int((~good).argmax())
    if not good.any() or not few(count, len(good)):
        raise DataError(
            f"`{argument}` must have a text in {name!r}, got {cells[first]!r} in "
            f"{content.row(first)} and {count - 1:,} more rows without; fill them, leave these "
            "rows out, or correct `text`"
        )
    return found.kept(np.flatnonzero(good), f"{count:,} empty texts of {content.name} are left out")


class Encoder:
    """What is learnt from the training file, by which it and other files become examples.

    Args:
        argument: The name of the argument, for messages.
        options: As in a recipe.
        train: The whole training file.

    Attributes:
        given: The options as the user gave them.
        options: With the labels, classes and domain that the training file has.
        targets: What was learnt of labels; None without.
        columns: What was learnt of a table's columns; None without.

    Raises:
        DataError: Columns do not exist, or nothing is left as an input.
        ArgumentError: The options do not fit the data.
    """

    def __init__(self, argument: str, options: DataOptions, train: Content) -> None:
        self.argument, self.given, self.train = argument, options, train
        labels = options.labels or train.labels
        are_classes = len(labels) == 1 and options.kind in (None, "classes", "tags")
        known = train.classes.get(labels[0]) if are_classes else None
        given = {
            "label": labels,
            "domain": train.domain or options.domain,
            "classes": options.classes or known,
        }
        self.options = options = options.model_copy(update=given)
        self._check()
        self.targets = Targets.fit(train, options) if labels else None
        self.columns = self._columns() if train.inputs is None else None

    def _check(self) -> None:
        """Refuse options that are for other data, and names of columns that do not exist."""
        options, train, inputs = self.options, self.train, self.train.inputs
        other = [each for each in ("columns", "categories", "omit") if inputs is not None]
        other += ["image_size"] * (not isinstance(inputs, Pictures))
        other += ["kind", "classes"] * (not options.labels)
        wrong = next((each for each in other if getattr(options, each)), None)
        if wrong is not None:
            raise ArgumentError(
                f"`{self.argument}.{wrong}` has no use for {options.train}"
                + (
                    " without labels; name their column: label"
                    if wrong in ("kind", "classes")
                    else "; leave it out"
                )
            )
        named = {
            "label": options.labels,
            "domain": (options.domain,),
            "split.group": (options.split.group,),
            "split.column": (options.split.column,),
            "columns": options.columns or (),
            "omit": options.omit,
            "categories": options.categories,
        }
        unknown = [
            f"`{option}`: {name!r} ({nearest(name, train.names)})"
            for option, names in named.items()
            for name in names
            if name is not None and name not in train.names
        ]
        if unknown:
            digits = sum(each[:1].isdigit() for each in train.names)
            hint = "; is its first line a row? Then write read: {header: null}"
            hint *= len(train.names) > 1 and 2 * digits >= len(train.names)
            raise DataError(
                f"columns must be those of {train.name}, got {'; '.join(unknown)}{hint}"
            )
        inside = [each for each in options.labels if each in (options.columns or ())]
        if inside:
            raise DataError(
                f"`columns` must not contain the label, got {inside[0]!r}; leave it out"
            )

    def _columns(self) -> Columns:
        """Return what the columns of a table are."""
        options, train = self.options, self.train
        others = (*options.labels, options.split.column)
        kept = [at for at, name in enumerate(train.names) if name not in others]
        unused = {*options.omit, options.domain, options.split.group} - {None}
        dtypes = options.read.get("dtype")
        dtypes = dtypes.items() if isinstance(dtypes, dict) else ()
        categories = {*options.categories, *(str(name) for name, each in dtypes if each in _TEXTS)}
        found = Columns.fit(
            train.frame.iloc[:, kept], options.columns, unused, categories, options.missing
        )
        if not found.used:
            raise DataError(
                f"`columns` must name the inputs, got {train.name} with no other column than those "
                "of labels; name them, or correct `label`"
            )
        return found

    def synthetic(self, train: Content, count: int) -> Any:
        """Return inputs without labels that are made of those of the training data."""
        columns, rows = cast(Columns, self.columns), cast(Tensor, train.inputs)
        seed = self.options.split.seed
        made, first = munge(columns, rows, count, seed=seed)
        labels = None if self.targets is None else self.targets.unknown(count)
        return self.data_set(replace(train.kept(first.numpy()), inputs=made, targets=labels))

    @property
    def form(self) -> str:
        """What inputs are, in a word."""
        if self.columns is not None:
            return "columns"
        inputs = self.train.inputs
        by_type = {list: "text", Tensor: "arrays"}
        return by_type.get(type(inputs), "image")

    def encoded(self, name: str | None, content: Content, notes: list[str]) -> Content:
        """Return a content with its inputs and labels in numbers.

        Args:
            name: Of the part, such as `unlabelled`, which has no labels; None for inputs alone.
            content: Of a file.
            notes: Receives what is to be told.

        Raises:
            DataError: It lacks a column, or is of another form than the training data.
        """
        targets = self.targets
        labels = None
        if targets is not None and name is not None:
            known = name != "unlabelled"
            labels = targets.encode(content, notes) if known else targets.unknown(len(content))
        if self.columns is not None and content.inputs is None:
            rows = torch.from_numpy(self.columns.encode(content.frame, content.name, notes))
            return replace(content, inputs=rows, targets=labels)
        ours, theirs = (_shape(each.inputs) for each in (content, self.train))
        if ours != theirs:
            hint = ", or write image_size: 224" if isinstance(content.inputs, Pictures) else ""
            raise DataError(
                f"all inputs must be like the training data's, {theirs}, got {ours} in "
                f"{content.name}; give a file like that of `train`{hint}"
            )
        return replace(content, targets=labels)

    def data_set(self, content: Content) -> Any:
        """Return the examples of an encoded content."""
        name = self.options.domain
        domains = None if name is None else content.texts("domain", name)
        by_word = self.targets is not None and self.targets.kind == "tags"
        return examples_of(content.inputs, content.targets, domains, by_word)

    def examples(self, reference: str) -> tuple[Any, pd.DataFrame]:
        """Return the inputs of another file, with domains if all have one, and its columns."""
        import pandas as pd  # noqa: PLC0415 - heavy

        # In a folder of images to be predicted, sub-folders need not be classes, nor domains.
        folder, options = Path(reference).expanduser(), self.given
        part: Part = "unlabelled" if folder.is_dir() else "test"
        if options.domain is not None and folder.is_dir():
            flat = any(each.suffix.lower() in SUFFIXES for each in folder.iterdir())
            options = options.model_copy(update={"domain": None}) if flat else options
        content = _content(self.argument, reference, part, options, self.train.header)
        notes = [*content.notes]
        found = self.encoded(None, content, notes)
        for each in notes:
            _LOG.warning(each)
        frame, inputs, domain = content.frame, content.inputs, self.options.domain
        if isinstance(inputs, list) and not len(frame.columns):
            frame = pd.DataFrame({"text": inputs})
        elif isinstance(inputs, Pictures):
            frame = frame if len(frame.columns) else pd.DataFrame(index=range(len(inputs)))
            frame = frame.assign(image=[inputs.names[row] for row in inputs.rows])
        domains = None
        if domain in content.names and not content.column("domain", domain).isna().any():
            domains = content.texts("domain", domain)
        return examples_of(found.inputs, None, domains), frame


def _classes_without_training(parts: dict[str, Content], encoder: Encoder) -> list[str]:
    """Return a sentence for each part with classes of which the training data has no example.

    Raises:
        DataError: The training data has one class only.
    """
    if encoder.targets is None or encoder.targets.kind != "classes":
        return []
    ids = {
        name: {each for each in part.targets.unique().tolist() if each >= 0}
        for name, part in parts.items()
        if part.targets is not None
    }
    if len(ids["train"]) < 2 and encoder.given.classes is None:  # noqa: PLR2004 - two classes
        raise DataError(
            "the training data must have two classes or more, got one; take smaller fractions, or "
            "stratified: true"
        )
    lacking = {name: sorted(own - ids["train"]) for name, own in ids.items()}
    return [
        f"{name} has classes without training data: "
        f"{some_of(encoder.targets.classes[each] for each in own)}"
        for name, own in lacking.items()
        if own
    ]


def _doubts(encoder: Encoder) -> list[str]:
    """Return a sentence for each column that may be meant otherwise."""
    options, train, targets = encoder.given, encoder.train, encoder.targets
    unread = columns_of_parts(train) if options.split.column is None else []
    found = [
        f"the column {name!r} seems to say which rows are of train and of test: write split: "
        f"{{column: {name}}} to use it, or name it in `omit`"
        for name in unread
        if name not in (*options.omit, *options.labels)
    ]
    inferred = (options.kind, encoder.options.classes) == (None, None)
    if inferred and targets is not None and targets.kind == "classes":
        count = len(targets.classes)
        if count > _MOST_CLASSES or (count > _MANY and 2 * count > len(train)):
            found.append(
                f"labels in {targets.names[0]!r} are {count:,} classes in {len(train):,} rows: "
                "correct `label`, or write kind: classes if they are"
            )
    return found


def _described(parts: dict[str, Content], encoder: Encoder) -> str:
    """Return what was read and decided, in one sentence."""
    train, targets = parts["train"], encoder.targets
    sizes = [
        f"{len(part):,} {'' if name == 'unlabelled' else 'examples for '}{name}"
        for name, part in parts.items()
    ]
    what = encoder.columns.described() if encoder.columns else encoder.form
    told = [
        ", ".join(sizes),
        *dict.fromkeys(each for part in parts.values() for each in part.read_as),
    ]
    told += [f"inputs: {what}", "no labels" if targets is None else targets.described()]
    if train.targets is not None:
        labels = train.targets.reshape(len(train), -1)
        gone = labels.isnan() if labels.is_floating_point() else labels < 0
        lacking = int(gone.all(dim=1).sum())
        told += [f"{lacking:,} training examples have no label"] if lacking else []
    return "; ".join(told)


def _shape(inputs: Any) -> str:
    """Return what inputs of all files must have in common."""
    if isinstance(inputs, Pictures):
        return f"images of {inputs.size} pixels"
    if isinstance(inputs, Tensor):
        return f"arrays of shape {list(inputs.shape[1:])}"
    return "columns" if inputs is None else "texts"
