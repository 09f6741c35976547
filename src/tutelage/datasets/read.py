"""From a reference to what it holds: the forms of data that are known."""

from __future__ import annotations

from pathlib import Path

from tutelage.datasets.arrays import read_arrays
from tutelage.datasets.content import Content
from tutelage.datasets.encoding import not_utf8
from tutelage.datasets.frame import Frame, nearest
from tutelage.datasets.image_folder import read_image_folder
from tutelage.datasets.named import HF, TORCHVISION, read_hugging_face, read_torchvision
from tutelage.datasets.options import DataOptions
from tutelage.datasets.shards import is_shards, read_shards
from tutelage.datasets.table_files import READERS, read_table, table_suffix
from tutelage.errors import DataError

_SPREADSHEETS = (".xlsx", ".xls", ".xlsm", ".xlsb", ".ods", ".numbers")
FORMS = (
    "a table (.csv, .csv.gz, .tsv, .jsonl, .json, .parquet), texts (.txt, one a line), arrays "
    "(.npz), a folder of images, shards (.tar), hf:NAME or torchvision:NAME"
)


def read(argument: str, reference: str, options: DataOptions) -> Content:
    """Return what a file, a folder or a named data set holds.

    Raises:
        DataError: It does not exist, cannot be read, or is of no known form.
    """
    if reference.startswith(HF):
        return read_hugging_face(argument, reference)
    if reference.startswith(TORCHVISION):
        return read_torchvision(argument, reference, options)
    path = Path(reference).expanduser()
    if not path.exists():
        inside = sorted(each.name for each in path.parent.glob("*")) if path.parent.is_dir() else []
        hint = nearest(path.name, inside) if inside else f"there is no folder {path.parent}"
        raise DataError(f"`{argument}` must be an existing file or folder, got {reference}; {hint}")
    return _of_path(argument, path, options)


def _of_path(argument: str, path: Path, options: DataOptions) -> Content:
    suffix = path.suffix.lower()
    if is_shards(path):
        return read_shards(argument, path, options)
    if path.is_dir():
        return read_image_folder(argument, path, options, not argument.endswith(".unlabelled"))
    if table_suffix(path) in READERS:
        return Content(read_table(argument, path))
    if suffix == ".npz":
        return read_arrays(argument, path, options)
    if suffix == ".txt":
        return _lines(argument, path)
    if suffix in _SPREADSHEETS:
        raise DataError(
            f"`{argument}` must be a table that is read as it is written, got the spreadsheet "
            f"{path}, whose cells depend on formats and formulas; save the sheet as CSV in UTF-8, "
            f'or pandas.read_excel("{path}").to_csv("{path.stem}.csv", index=False)'
        )
    raise DataError(f"`{argument}` must be {FORMS}, got {path}; convert it")


def _lines(argument: str, path: Path) -> Content:
    """Return the lines of a text file, without empty ones."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise not_utf8(argument, path) from error
    texts = [line.strip() for line in lines if line.strip()]
    if not texts:
        raise DataError(f"`{argument}` must have at least one line, got {path} with none; fill it")
    return Content(Frame(path.name, {}), texts)
