"""Load training, validation and test data by reference."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset

from tutelage.datasets.cells import as_text, plain
from tutelage.datasets.columns import Columns
from tutelage.datasets.content import Content, Inputs, nearest, taken
from tutelage.datasets.images import Pictures, pillow
from tutelage.datasets.options import DataOptions
from tutelage.datasets.partition import PART_OF, Rows, by_column, columns_of_parts, partition
from tutelage.datasets.python_data import is_python, splits_of_python
from tutelage.datasets.sources import read, with_pictures
from tutelage.datasets.splits import Splits, data_set
from tutelage.datasets.tables import few
from tutelage.datasets.targets import Targets, is_list
from tutelage.errors import ArgumentError, DataError, some_of

if TYPE_CHECKING:
    import pandas as pd

_TEXTS = ("str", "string", "object", "category")
_ORDER = ("train", "unlabelled", "val", "test")


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
        contents[name] = content_of(f"{argument}.{name}", str(source), options, header)
    reader = Reader(argument, options, contents["train"])
    notes = [sentence for each in contents.values() for sentence in each.notes]
    parts = _parts(contents, reader, notes)
    return _splits(parts, reader, notes)


def content_of(
    argument: str, reference: str, options: DataOptions, header: Mapping[str, Any] | None
) -> Content:
    """Return what a reference holds, with its texts or images if a column has these."""
    content = read(argument, reference, options, header)
    if content.inputs is not None:
        return content
    if options.text is not None:
        return _with_texts(argument, content, options)
    if options.image is not None:
        pillow(argument)
        cells = content.column("image", options.image).tolist()
        cells = [
            each.get("bytes") or each.get("path") if isinstance(each, Mapping) else each
            for each in cells
        ]
        folder = content.folder or Path()
        sources = [each if isinstance(each, bytes) else folder / str(each) for each in cells]
        names = [
            f"the image in {content.row(row)}" if isinstance(each, bytes) else str(each)
            for row, each in enumerate(cells)
        ]
        return with_pictures(argument, content, Pictures(sources, names), options)
    return content


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


class Reader:
    """What is learnt from the training file, by which it and other files become examples.

    Args:
        argument: The name of the argument, for messages.
        options: As in a recipe.
        train: The whole training file.

    Raises:
        DataError: Columns do not exist, or nothing is left as an input.
        ArgumentError: The options do not fit the data.
    """

    def __init__(self, argument: str, options: DataOptions, train: Content) -> None:
        self.argument, self.train = argument, train
        labels = options.labels or train.labels
        are_classes = len(labels) == 1 and options.kind in (None, "classes")
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
        options, train = self.options, self.train
        of_tables = [each for each in ("columns", "categories", "omit") if getattr(options, each)]
        if of_tables and train.inputs is not None:
            raise ArgumentError(
                f"`{self.argument}.{of_tables[0]}` must be of a table, got {options.train}; leave "
                "it out"
            )
        if options.image_size is not None and not isinstance(train.inputs, Pictures):
            raise ArgumentError(
                f"`{self.argument}.image_size` is for images, got {options.train}; leave it out"
            )
        for name in ("kind", "classes"):
            if getattr(options, name) is not None and not options.labels:
                raise ArgumentError(
                    f"`{self.argument}.{name}` says what labels are, got data without; name their "
                    "column: label"
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
        wrong = [
            f"`{option}`: {name!r} ({nearest(name, train.names)})"
            for option, names in named.items()
            for name in names
            if name is not None and name not in train.names
        ]
        if wrong:
            hint = (
                "; is its first line a row? Then write read: {header: null}"
                if (
                    len(train.names) > 1
                    and sum(each[:1].isdigit() for each in train.names) * 2 >= len(train.names)
                )
                else ""
            )
            raise DataError(f"columns must be those of {train.name}, got {'; '.join(wrong)}{hint}")
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
        told = options.read.get("dtype")
        texts = (
            [name for name, each in told.items() if each in _TEXTS]
            if isinstance(told, dict)
            else []
        )
        categories = {*options.categories, *map(str, texts)}
        found = Columns.fit(
            train.frame.iloc[:, kept], options.columns, unused, categories, options.missing
        )
        if not found.used:
            raise DataError(
                f"`columns` must name the inputs, got {train.name} with no other column than those "
                "of labels; name them, or correct `label`"
            )
        return found

    def inputs(self, content: Content, notes: list[str]) -> Inputs:
        """Return the inputs of a content.

        Raises:
            DataError: It lacks a column, or is of another form than the training data.
        """
        if self.columns is not None and content.inputs is None:
            return torch.from_numpy(self.columns.encode(content.frame, content.name, notes))
        ours, theirs = content.inputs, self.train.inputs
        if ours is None or type(ours) is not type(theirs):
            raise DataError(
                f"all data must be of the form of the training data, got {content.name} of "
                "another; give a file like that of `train`"
            )
        if _shape(ours) != _shape(theirs):
            way = "write image_size: 224" if isinstance(ours, Pictures) else "correct the file"
            raise DataError(
                f"all inputs must be of the training data's shape, {_shape(theirs)}, got "
                f"{_shape(ours)} in {content.name}; {way}"
            )
        return ours

    def examples(self, reference: str) -> tuple[Any, pd.DataFrame]:
        """Return the inputs of another file, with domains if it has these, and its columns."""
        import pandas as pd  # noqa: PLC0415 - heavy

        # In a folder of images to be predicted, sub-folders need not be classes.
        part = "unlabelled" if Path(reference).expanduser().is_dir() else "test"
        argument, header = f"{self.argument}.{part}", self.train.header
        content = content_of(argument, reference, self.options, header)
        notes: list[str] = []
        inputs, frame, domain = self.inputs(content, notes), content.frame, self.options.domain
        for each in (*content.notes, *notes):
            logging.getLogger("tutelage").warning(each)
        if isinstance(inputs, Pictures):
            names = [inputs.names[row] for row in inputs.rows]
            frame = frame if len(frame.columns) else pd.DataFrame(index=range(len(names)))
            frame = frame.assign(image=names)
        elif isinstance(inputs, list) and not len(frame.columns):
            frame = pd.DataFrame({"text": inputs})
        domains = content.texts("domain", domain) if domain in content.names else None
        return data_set(inputs, None, domains), frame

    def form(self) -> str:
        """Return what inputs are, in a word."""
        if self.columns is not None:
            return "columns"
        inputs = self.train.inputs
        return (
            "text"
            if isinstance(inputs, list)
            else "arrays"
            if isinstance(inputs, Tensor)
            else "image"
        )


class Part(NamedTuple):
    """Some rows of a file or a folder, which are a part of the data: inputs, labels, groups."""

    content: Content
    rows: Rows
    inputs: Inputs
    labels: Tensor | None

    def texts(self, option: str, column: str) -> list[str]:
        """Return the cells of a column that is never empty, as texts."""
        cells = self.content.texts(option, column)
        return [cells[row] for row in self.rows]


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
    part_of = {name: PART_OF.get(name.lower(), "") for name in inside}
    if "train" not in part_of.values() or "" in part_of.values():
        return options
    found: dict[str, str] = {}
    for name, part in part_of.items():
        first = found.setdefault(part, name)
        if first != name:
            raise DataError(
                f"`{argument}.train` must have one folder for each part of the data, got {first} "
                f"and {name} in {folder}; put their images together, or remove one"
            )
    given = {part for part in ("val", "test") if getattr(options, part) is not None}
    parts = {part: str(folder / name) for part, name in found.items() if part not in given}
    return options.model_copy(update=parts)


def _parts(contents: dict[str, Content], reader: Reader, notes: list[str]) -> dict[str, Part]:
    """Return the parts of the data: files, and rows of the training file."""
    options, train, targets = reader.options, contents["train"], reader.targets
    inputs = {name: reader.inputs(each, notes) for name, each in contents.items()}
    labels: dict[str, Tensor | None] = dict.fromkeys(contents)
    for name, each in contents.items():
        if targets is None:
            break
        known = name != "unlabelled"
        labels[name] = targets.encode(each, notes) if known else targets.unknown(len(each))
    rows = {name: (name, np.arange(len(each))) for name, each in contents.items()}
    if options.split.column is not None:
        found = by_column(train, options.split.column)
        twice = [name for name in ("val", "test") if name in found and getattr(options, name)]
        if twice:
            raise ArgumentError(
                f"`{twice[0]}` must be given once, got {getattr(options, twice[0])} "
                f"and rows of the column {options.split.column!r}; leave one of them out"
            )
        rows |= {name: ("train", each) for name, each in found.items()}
    if options.shares:
        own = rows["train"][1]
        units, strata = _units(train, options, own), _strata(train, reader, labels["train"], own)
        found = partition(units, strata, options.shares, options.split.seed)
        rows |= {name: ("train", own[each]) for name, each in found.items()}
    parts = {}
    for name, (source, each) in rows.items():
        whole, own_labels = len(each) == len(contents[source]), labels[source]
        chosen = inputs[source] if whole else taken(inputs[source], each)
        if own_labels is not None and not whole:
            own_labels = own_labels[torch.from_numpy(each)]
        parts[name] = Part(contents[source], each, chosen, own_labels)
    return parts


def _units(train: Content, options: DataOptions, rows: Rows) -> Sequence[Any] | int:
    """Return what must not be divided: groups, or equal texts or images; rows are single."""
    if options.split.group is not None:
        groups = train.texts("split.group", options.split.group)
        return [plain(groups[row]) for row in rows]
    if train.inputs is None or isinstance(train.inputs, Tensor):
        return len(rows)
    found = taken(train.inputs, rows)
    return found.keys() if isinstance(found, Pictures) else list(found)


def _strata(train: Content, reader: Reader, labels: Tensor | None, rows: Rows) -> list[Any] | None:
    """Return what has its fraction in each part: classes within domains."""
    options, wanted = reader.options, reader.options.split.stratified
    if reader.targets is None or labels is None:
        return None
    if reader.targets.kind != "classes":
        if wanted:
            raise ArgumentError(
                f"`split.stratified` needs labels that are classes, got {reader.targets.kind}; "
                "leave it out"
            )
        return None
    if wanted is False or (wanted is None and options.split.group is not None):
        return None
    ids = labels[torch.from_numpy(rows)].tolist()
    if options.domain is None:
        return ids
    domains = train.texts("domain", options.domain)
    return [(label, domains[row]) for label, row in zip(ids, rows, strict=True)]


def _splits(parts: dict[str, Part], reader: Reader, notes: list[str]) -> Splits:
    """Return the data sets and what is known of them."""
    options, targets, columns, train = (
        reader.options,
        reader.targets,
        reader.columns,
        parts["train"],
    )
    name, by_word = options.domain, targets is not None and targets.kind == "tags"
    sets = {
        key: data_set(
            part.inputs, part.labels, None if name is None else part.texts("domain", name), by_word
        )
        for key, part in parts.items()
    }
    labelled = sets["train"]
    if "unlabelled" in sets:
        sets["train"] = ConcatDataset([labelled, sets.pop("unlabelled")])
    notes += columns.notes if columns is not None else ()
    notes += _classes_without_training(parts, reader)
    groups = _groups(parts, options, notes)
    unread = columns_of_parts(reader.train) if options.split.column is None and columns else []
    notes += [
        f"the column {each!r} seems to say which rows are of train and of test: write split: "
        f"{{column: {each}}} to use it"
        for each in unread
    ]
    for each in notes:
        logging.getLogger("tutelage").warning(each)
    rows = train.inputs if columns is not None and isinstance(train.inputs, Tensor) else None
    return Splits(
        **sets,
        labelled=labelled,
        classes=targets.classes if targets else (),
        labels=targets.names if targets else (),
        kind=targets.kind if targets else None,
        form=reader.form(),
        columns=columns,
        rows=None if rows is None or columns is None else rows[:, : len(columns.used)],
        groups=groups.get("test"),
        described=_described(parts, reader),
        warnings=tuple(notes),
        _read=reader.examples,
    )


def _classes_without_training(parts: dict[str, Part], reader: Reader) -> Iterator[str]:
    """Yield a sentence for each part with classes of which the training data has no example."""
    if reader.targets is None or reader.targets.kind != "classes":
        return
    ids = {
        name: {each for each in np.unique(part.labels.numpy()).tolist() if each >= 0}
        for name, part in parts.items()
        if part.labels is not None
    }
    if len(ids["train"]) < 2 and reader.options.classes is None:  # noqa: PLR2004 - two classes
        raise DataError(
            "the training data must have two classes or more, got one; take smaller fractions, or "
            "stratified: true"
        )
    for name, own in ids.items():
        if own - ids["train"]:
            names = some_of(reader.targets.classes[each] for each in sorted(own - ids["train"]))
            yield f"{name} has classes without training data: {names}"


def _groups(
    parts: dict[str, Part], options: DataOptions, notes: list[str]
) -> dict[str, tuple[str, ...]]:
    """Return the group of each example, of the parts that have groups.

    Raises:
        DataError: A group is in two parts of which one is to judge the other's model.
    """
    name = options.split.group
    if name is None:
        return {}
    found = {
        key: tuple(map(plain, part.texts("split.group", name)))
        for key, part in parts.items()
        if name in part.content.names
    }
    notes += [
        f"{each} has no column {name!r}, so that its examples are taken as independent of each "
        "other and of those of train; add the column to its file"
        for each in ("val", "test")
        if each in parts and each not in found
    ]
    for first, second in combinations(sorted(found, key=_ORDER.index), 2):
        both = set(found[first]) & set(found[second])
        if second == "unlabelled" or not both:  # a copy of a labelled example does no harm
            continue
        examples = [group for group in found[second] if group in both]
        which = (
            f"{len(both):,} of the {len(set(found[second])):,} groups of {second} by {name!r} in "
            f"{first} too, such as {examples[0]!r}, with {len(examples):,} of the "
            f"{len(found[second]):,} examples of {second}"
        )
        if not options.split.allow_overlap:
            raise DataError(
                f"each group of `split.group` must be in one part of the data only, got {which}; "
                "leave them out of either, since scores on groups seen in training are "
                "optimistic, or write allow_overlap: true in `split`"
            )
        notes.append(f"{which}: scores on groups seen in training are optimistic")
    return found


def _described(parts: dict[str, Part], reader: Reader) -> str:
    """Return what was read and decided, in one sentence."""
    train, targets = parts["train"], reader.targets
    sizes = [
        f"{len(part.rows):,} {'' if name == 'unlabelled' else 'examples for '}{name}"
        for name, part in parts.items()
    ]
    what = reader.columns.described() if reader.columns else reader.form()
    told = [
        ", ".join(sizes),
        *dict.fromkeys(each for part in parts.values() for each in part.content.read_as),
    ]
    told += [f"inputs: {what}", "no labels" if targets is None else targets.described()]
    if train.labels is not None:
        labels = train.labels.reshape(len(train.rows), -1)
        gone = labels.isnan() if labels.is_floating_point() else labels < 0
        lacking = int(gone.all(dim=1).sum())
        told += [f"{lacking:,} training examples have no label"] if lacking else []
    return "; ".join(told)


def _shape(inputs: Any) -> Any:
    if isinstance(inputs, Tensor):
        return list(inputs.shape[1:])
    return inputs.size if isinstance(inputs, Pictures) else None
