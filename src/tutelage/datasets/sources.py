"""From a reference to what it holds: files, folders, archives and data sets by name."""

from __future__ import annotations

import inspect
import json
import tarfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch

from tutelage._checks import installed
from tutelage.datasets.columns import as_series
from tutelage.datasets.content import Content, few
from tutelage.datasets.images import SUFFIXES, Item, Member, Pictures, content_of, folder_of_images
from tutelage.datasets.options import FOLDER, DataOptions, Part
from tutelage.datasets.tables import CSV, Reading, read_table, suffix_of
from tutelage.datasets.tables import SUFFIXES as TABLES
from tutelage.errors import ArgumentError, DataError, in_short, nearest, some_of

HF, TORCHVISION = "hf:", "torchvision:"
FORMS = (
    "a table (.csv, .tsv, .xlsx, .parquet, .feather, .jsonl, .json and others, also packed), texts "
    "(.txt, one a line), arrays (.npz), a folder of images, shards (.tar), hf:NAME or "
    "torchvision:NAME"
)
_HF_SPLITS = {"train": "train", "val": "validation", "test": "test", "unlabelled": "unsupervised"}
_VISION_SPLITS = {"train": "train", "val": "val", "test": "test", "unlabelled": "unlabeled"}
_TEXTS = (".txt", ".text", ".cls", ".json")
_IMAGES, _COLOURED, _ROWS = 3, 4, 2
_CHANNELS = (1, 3, 4)


def read(  # noqa: PLR0911 - a form of data each
    argument: str,
    reference: str,
    part: Part,
    options: DataOptions,
    header: Mapping[str, Any] | None = None,
) -> Content:
    """Return what a file, a folder or a named data set holds.

    Args:
        argument: For messages.
        reference: To it, as in a recipe.
        part: Which part of the data it is.
        options: As in a recipe.
        header: Of the training file, which other text files have as well.

    Raises:
        DataError: It does not exist, cannot be read, or is of no known form.
    """
    import pandas as pd  # noqa: PLC0415 - heavy

    if reference.startswith(HF):
        return _hugging_face(argument, reference, part)
    if reference.startswith(TORCHVISION):
        return _torchvision(argument, reference, part, options)
    path = Path(reference).expanduser()
    if not path.exists():
        inside = sorted(each.name for each in path.parent.glob("*")) if path.parent.is_dir() else []
        hint = nearest(path.name, inside) if inside else f"there is no folder {path.parent}"
        raise DataError(f"`{argument}` must be an existing file or folder, got {reference}; {hint}")
    suffix = suffix_of(path)
    if suffix == ".tar" or (path.is_dir() and any(path.glob("*.tar"))):
        return _shards(argument, path, options)
    if path.is_dir():
        return _folder(argument, path, part, options)
    if suffix == ".npz":
        return _arrays(argument, path, part, options)
    if suffix in SUFFIXES:
        one = Content(path.name, pd.DataFrame(), folder=path.parent)
        return with_pictures(argument, one, Pictures([path], [str(path)]), options)
    if suffix == ".txt" and _is_text(options):
        return _lines(argument, path)
    if suffix not in TABLES:
        raise DataError(f"`{argument}` must be {FORMS}, got {path}; convert it")
    label = next(iter(options.labels), None) if part == "train" else None
    given = {**(header or {}), **options.read} if suffix in CSV else dict(options.read)
    reading = Reading(given, options.missing, label)
    frame = read_table(argument, path, reading)
    own = {name: each for name, each in reading.read.items() if name == "header"}
    notes, how = tuple(reading.notes), tuple(reading.how)
    return Content(path.name, frame, folder=path.parent, notes=notes, read_as=how, header=own)


def _is_text(options: DataOptions) -> bool:
    """Tell whether a .txt file has a text on each line, rather than a table."""
    if options.read or options.columns:
        return False
    trained = str(options.train).lower().endswith(".txt")
    if trained:
        return (options.label, options.text, options.image) == (None, None, None)
    return options.text is not None


def _lines(argument: str, path: Path) -> Content:
    """Return the lines of a text file, without empty ones."""
    import pandas as pd  # noqa: PLC0415 - heavy

    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise DataError(
            f"`{argument}` must be text in UTF-8, got {path} with {in_short(error)}; save it as "
            "UTF-8, or as a table with read: {encoding: …}"
        ) from error
    texts = [line.strip() for line in lines if line.strip()]
    if not texts:
        raise DataError(f"`{argument}` must have at least one line, got {path} with none; fill it")
    return Content(path.name, pd.DataFrame(), texts)


def with_pictures(
    argument: str, content: Content, images: Pictures, options: DataOptions
) -> Content:
    """Return a content with those of its images that can be read; a few others are left out.

    Raises:
        DataError: More than a few cannot be read, which are named together.
    """
    found, rows, broken = images.readable(argument, options.size)
    if broken:
        names = some_of(broken, 10)
        if not len(rows) or not few(len(broken), len(images)):
            raise DataError(f"{next(iter(broken.values()))} ({len(broken):,} in all: {names})")
        told = f"{len(broken):,} images of {content.name} cannot be read and are left out: {names}"
        content = content.kept(rows, told)
    return replace(content, inputs=found)


def _folder(argument: str, path: Path, part: Part, options: DataOptions) -> Content:
    """Return a folder of images, whose sub-folders are classes, sorted as by ImageFolder."""
    import pandas as pd  # noqa: PLC0415 - heavy

    by_domain, labelled = options.domain == FOLDER, part != "unlabelled"
    images, columns, notes = folder_of_images(argument, path, by_domain, labelled)
    classes = {"class": tuple(sorted(set(columns["class"])))} if "class" in columns else {}
    domain = "domain" if by_domain else None
    frame = pd.DataFrame(columns)
    content = Content(path.name, frame, None, tuple(classes), domain, classes, notes=tuple(notes))
    return with_pictures(argument, content, images, options)


def _arrays(argument: str, path: Path, part: Part, options: DataOptions) -> Content:
    """Return the arrays `x` and `y` of a file, or `x_test`, `y_test` for test data, and so on.

    `x` is float rows or images as they are, uint8 images `[images, height, width]` with channels
    behind, if any, or texts; `y` is one label for each, or several.
    """
    import pandas as pd  # noqa: PLC0415 - heavy

    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            names = {each.lower(): each for each in file.files}
            end = f"_{part}" if f"x_{part}" in names else ""
            x, y = (file[names[key]] if (key := f"{each}{end}") in names else None for each in "xy")
    except Exception as error:  # numpy and zipfile raise what they like
        raise DataError(
            f"`{argument}` must be an .npz file of arrays of numbers or texts, got {path} with "
            f"{in_short(error)}; write it by numpy.savez without objects"
        ) from error
    if x is None or not x.ndim or not len(x):
        raise DataError(
            f"`{argument}` must have an array x, got {path} with "
            f"{', '.join(names) if x is None else 'an empty one'}; write "
            "numpy.savez(path, x=…, y=…)"
        )
    if y is not None and (y.ndim not in (1, _ROWS) or len(y) != len(x)):
        raise DataError(
            f"`{argument}` must have a label for each of its {len(x):,} inputs, got y of shape "
            f"{list(y.shape)} in {path}; give [examples] or [examples, labels]"
        )
    labels = [] if y is None else [*y.reshape(len(x), -1).T]
    columns = {f"y{at}" if len(labels) > 1 else "y": each for at, each in enumerate(labels)}
    content = Content(path.name, pd.DataFrame(columns), labels=tuple(columns))
    if x.dtype.kind == "U" and x.ndim == 1:
        return replace(content, inputs=x.tolist())
    if x.dtype != np.uint8 or x.ndim not in (_IMAGES, _COLOURED):
        if x.dtype.kind not in "fiub" or x.ndim < _ROWS:
            raise DataError(
                f"x must be numbers [examples, …] or texts [examples], got {x.dtype} of shape "
                f"{list(x.shape)} in {path}; convert it"
            )
        found = torch.from_numpy(np.ascontiguousarray(x))
        found = found.to(torch.get_default_dtype()) if found.is_floating_point() else found
        return replace(content, inputs=found)
    if x.ndim == _COLOURED and x.shape[3] not in _CHANNELS:
        if x.shape[1] not in _CHANNELS:
            raise DataError(
                f"images in `{argument}` must be [images, height, width] with 1, 3 or 4 channels "
                f"behind, got {list(x.shape)} in {path}; change the order of its axes"
            )
        x = np.moveaxis(x, 1, 3)
    x = x[..., 0] if x.ndim == _COLOURED and x.shape[3] == 1 else x
    images = Pictures(x, [f"image {at:,} of {path.name}" for at in range(len(x))])
    return with_pictures(argument, content, images, options)


def _shards(  # noqa: C901 - of all kinds of members
    argument: str, path: Path, options: DataOptions
) -> Content:
    """Return the examples of WebDataset archives: `key.jpg`, `key.cls`, `key.json` are one.

    Images, or else texts (`.txt`), are the inputs; `.cls` is a label, and the fields of `.json` are
    columns. Members are read where they lie in the archive, so that examples can be in any order.

    Raises:
        DataError: An archive is broken or compressed, or an example has no image or text.
    """
    import pandas as pd  # noqa: PLC0415 - heavy

    rows: dict[tuple[Path, str], dict[str, Any]] = {}  # a key is one within its archive
    images: dict[tuple[Path, str], list[tuple[str, Member]]] = {}
    for archive in sorted(path.glob("*.tar")) if path.is_dir() else [path]:
        try:
            with tarfile.open(archive, "r:") as file:  # in what is compressed nothing can be found
                members = [each for each in file if each.isreg() and not each.issparse()]
            for each in members:
                inside = PurePosixPath(each.name)
                stem, dot, suffix = inside.name.partition(".")
                if not stem:  # hidden files belong to the system that wrote the archive
                    continue
                suffix = f"{dot}{suffix}".lower()
                key = archive, str(inside.with_name(stem))
                member = Member(archive, each.offset_data, each.size)
                row = rows.setdefault(key, {})
                if suffix in SUFFIXES:
                    images.setdefault(key, []).append((each.name, member))
                elif suffix in _TEXTS:
                    text = content_of(member).decode()
                    found = json.loads(text) if suffix == ".json" else {suffix[1:]: text.strip()}
                    row |= found if isinstance(found, dict) else {"json": found}
        except (tarfile.TarError, OSError, EOFError, ValueError, RecursionError) as error:
            raise DataError(
                f"`{argument}` must be an archive that is not compressed (.tar), with texts in "
                f"UTF-8 and JSON, got {archive} with {in_short(error)}; write it anew"
            ) from error
    if not rows:
        raise DataError(
            f"`{argument}` must have examples key.jpg and key.cls, got {path} with none; fill it"
        )
    names = dict.fromkeys(name for row in rows.values() for name in row)
    columns = {name: as_series([row.get(name) for row in rows.values()]) for name in names}
    frame = pd.DataFrame(columns).infer_objects() if columns else pd.DataFrame()
    content = Content(path.name, frame, labels=("cls",) if "cls" in columns else ())
    if options.text or options.columns or (not images and "txt" not in columns):
        return content
    if not images:
        texts = frame["txt"].tolist()
        lacking = [at for at, text in enumerate(texts) if not (isinstance(text, str) and text)]
        if lacking:
            raise DataError(
                f"{content.name} must have a text for each key, got none for number "
                f"{lacking[0]:,}; add it, or leave the example out"
            )
        return replace(content, inputs=texts)
    wrong = next((key for key in rows if len(images.get(key, ())) != 1), None)
    if wrong is not None:
        raise DataError(
            f"`{argument}` must have one image for each key, got {len(images.get(wrong, ()))} of "
            f"{wrong[1]!r} in {wrong[0].name}; correct it"
        )
    found, sources = zip(*(images[key][0] for key in rows), strict=True)
    return with_pictures(argument, content, Pictures(sources, found), options)


def _hugging_face(argument: str, reference: str, part: Part) -> Content:
    """Return a data set of Hugging Face: `hf:NAME`, `hf:NAME@split`, or a folder saved by it.

    Without a split it is `train` for training data, `validation` and `test` for others. No code of
    the data set is run. Class ids become names, and images stay encoded.

    Raises:
        DataError: The package is missing, or the data set cannot be loaded.
    """
    datasets = installed(f"`{argument}`", "datasets", "data", DataError)
    name, _, split = reference.removeprefix(HF).partition("@")
    folder = Path(name).expanduser()
    try:
        if (folder / "dataset_dict.json").exists() or (folder / "state.json").exists():
            found: Any = datasets.load_from_disk(str(folder))
        else:
            found = datasets.load_dataset(str(folder) if folder.is_dir() else name)
    except Exception as error:  # the library raises what it likes
        raise DataError(
            f"`{argument}` must be a data set that Hugging Face's datasets can load, got "
            f"{reference} with {in_short(error)}; correct the name, or give a file"
        ) from error
    splits = found if isinstance(found, dict) else {split: found} if not split else {}
    split = split or _HF_SPLITS[part] * isinstance(found, dict)
    if split not in splits:
        raise DataError(
            f"`{argument}` must name a split of the data set, got {split!r}; "
            f"{nearest(split, splits)} Write {HF}{name}@SPLIT"
            if splits
            else f"`{argument}` must name a split of a data set that has some, got {reference}, "
            f"which has none; leave @{split} out"
        )
    found = splits[split]
    for column, feature in found.features.items():
        if isinstance(feature, datasets.Image):
            found = found.cast_column(column, datasets.Image(decode=False))
    frame, classes = found.to_pandas(), {}
    for column, feature in found.features.items():
        of_list: Any = getattr(feature, "feature", None)  # such as the tags of a text's words
        if isinstance(feature, datasets.ClassLabel):  # −1 is how the library marks a missing label
            classes[column] = tuple(feature.names)
            frame[column] = frame[column].map(dict(enumerate(feature.names)))
        elif isinstance(of_list, datasets.ClassLabel):
            classes[column], names = tuple(of_list.names), dict(enumerate(of_list.names))
            frame[column] = [
                each if each is None else [names.get(at, at) for at in each]
                for each in frame[column]
            ]
    return Content(reference, frame, classes=classes)


def _torchvision(argument: str, reference: str, part: Part, options: DataOptions) -> Content:
    """Return a classification data set of torchvision: `torchvision:NAME` or `NAME@folder`.

    The folder is `data` by default; the data set must be in it, since nothing is downloaded.

    Raises:
        DataError: torchvision is missing, has no such data set, or cannot load it.
        ArgumentError: Its examples are not images with class ids.
    """
    import pandas as pd  # noqa: PLC0415 - heavy

    datasets = installed(f"`{argument}`", "torchvision.datasets", "vision", DataError)
    name, _, folder = reference.removeprefix(TORCHVISION).partition("@")
    folder = folder or "data"
    if name not in datasets.__all__:
        raise DataError(
            f"`{argument}` must name a data set of torchvision, got {name!r}; "
            f"{nearest(name, datasets.__all__)}"
        )
    kind = getattr(datasets, name)
    parameters = inspect.signature(kind).parameters
    given: dict[str, Any] = {"root": str(Path(folder).expanduser())} if "root" in parameters else {}
    if "split" in parameters:
        given["split"] = _VISION_SPLITS[part]
    elif "train" in parameters:
        given["train"] = part in ("train", "unlabelled")
    elif part != "train" and "root" in given:
        raise ArgumentError(
            f"`{argument}` must be of a data set with parts, got {name}, which has none; write a "
            "fraction, such as 0.1"
        )
    try:
        dataset = kind(**given)
        image, label = dataset[0]
    except Exception as error:  # data sets raise what they like
        raise DataError(
            f"`{argument}` must be a data set in the folder {folder!r}, got {name} with "
            f"{in_short(error)}; download it there: "
            f"torchvision.datasets.{name}({folder!r}, download=True)"
        ) from error
    if not hasattr(image, "convert") or getattr(label, "ndim", int(not isinstance(label, int))):
        raise ArgumentError(
            f"`{argument}` must have images with one label each, got {name}, whose examples have "
            "another form; give a reference to a function of yours that returns a data set"
        )
    known = (getattr(dataset, each, None) for each in ("targets", "labels", "_labels"))
    ids = next((each for each in known if each is not None and len(each) == len(dataset)), None)
    if ids is None or ids[0] != label:
        ids = [dataset[at][1] for at in range(len(dataset))]
    names = [
        ", ".join(each) if isinstance(each, tuple) else str(each)
        for each in getattr(dataset, "classes", ()) or ()
    ]
    counts = Counter(names)  # ImageNet has two of one name
    names = tuple(f"{each} ({at})" if counts[each] > 1 else each for at, each in enumerate(names))
    cells = [names[int(each)] for each in ids] if names else [*map(int, ids)]
    sources: list[Path | Item] = [Item(dataset, at) for at in range(len(dataset))]
    if hasattr(dataset, "imgs"):  # in files, which need not be decoded to be checked
        sources = [Path(path) for path, _ in dataset.imgs]
    images = Pictures(sources, [f"image {at:,} of {name}" for at in range(len(dataset))])
    classes = {"label": names} if names else {}
    content = Content(name, pd.DataFrame({"label": cells}), labels=("label",), classes=classes)
    return with_pictures(argument, content, images, options)
