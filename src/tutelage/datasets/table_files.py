"""Readers of tables: CSV, TSV, JSON, JSON lines, all also by gzip, and Parquet."""

from __future__ import annotations

import csv
import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import IO, Any

import numpy as np

from tutelage._checks import installed
from tutelage.datasets.dialect import check_dialect
from tutelage.datasets.encoding import not_utf8
from tutelage.datasets.frame import Frame
from tutelage.datasets.header import check_header
from tutelage.errors import DataError, in_short

_LONGEST_CELL = 2**27
_GZIP, _COMPRESSIBLE = ".gz", (".csv", ".tsv", ".jsonl", ".ndjson", ".json")
_LARGE, _RATIO = 2**30, 100
_INDEX = re.compile(r"__index_level_\d+__")
"""How pandas calls an index without a name in a Parquet file."""
_QUOTED = re.compile(r'"(?:[^"]|"")*""(?:[^"]|"")*"', re.DOTALL)
"""A cell in quotes that has quotes of its own, which are doubled."""


def read_table(argument: str, path: Path) -> Frame:
    """Return the table of a file.

    Raises:
        DataError: The file is empty, not UTF-8, or not what its name says.
    """
    try:
        frame = READERS[table_suffix(path)](argument, path)
    except UnicodeDecodeError as error:
        raise not_utf8(argument, path) from error
    if not frame.columns or not len(frame):
        raise DataError(f"`{argument}` must have at least one row, got {path} with none; fill it")
    return frame


def table_suffix(path: Path) -> str:
    """Return the end of a table's name, without that of its compression."""
    name = path.name.lower()
    inner = Path(name.removesuffix(_GZIP)).suffix
    return inner if name.endswith(_GZIP) and inner in _COMPRESSIBLE else path.suffix.lower()


@contextmanager
def _opened(argument: str, path: Path) -> Iterator[IO[str]]:
    """Open a text file, which gzip may have compressed; a byte order mark is left out."""
    if path.suffix.lower() != _GZIP:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield file
        return
    most = max(_LARGE, _RATIO * path.stat().st_size)
    try:
        with gzip.open(path) as file:
            content = file.read(most + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"`{argument}` must be a whole file of gzip, got {path} with {in_short(error)}; "
            "compress it again"
        ) from error
    if len(content) > most:
        raise DataError(
            f"`{argument}` must not be compressed more than {_RATIO}-fold, got {path} with more "
            f"than {most:,} bytes; unpack it"
        )
    with TextIOWrapper(BytesIO(content), encoding="utf-8-sig", newline="") as text:
        yield text


def _csv(argument: str, path: Path) -> Frame:
    csv.field_size_limit(max(_LONGEST_CELL, csv.field_size_limit()))
    try:
        names, rows = _read_csv(argument, path, csv.QUOTE_MINIMAL)
        if table_suffix(path) == ".tsv" and len(names) > 1:
            _refuse_joined(argument, path, rows)
    except csv.Error as error:
        if table_suffix(path) != ".tsv":
            raise DataError(
                f"`{argument}` must be a CSV file, got {path} with {error}; correct its quotes"
            ) from error
        # Many TSV files have no quoting, and quotes are those of the texts.
        names, rows = _read_csv(argument, path, csv.QUOTE_NONE)
        quoted = next((each for row in rows for each in row if _QUOTED.fullmatch(each)), None)
        if quoted is not None:
            raise DataError(
                f"`{argument}` must have the quotes of a CSV file in all cells or in none, got "
                f"{path} with {error}, and {quoted[:40]!r}; correct them"
            ) from error
    check_dialect(argument, path, [names, *rows])
    check_header(argument, path, [each.strip() for each in names], rows)
    names, nameless = _named(argument, path, names)
    columns: dict[str, Any] = dict(zip(names, zip(*rows, strict=True), strict=True)) if rows else {}
    return Frame(path.name, columns, nameless, path.parent)


def _read_csv(argument: str, path: Path, quoting: Any) -> tuple[list[str], list[list[str]]]:
    """Return the names of the columns, and the rows.

    Raises:
        csv.Error: Quotes are not those of a CSV file; it says in which line.
    """
    with _opened(argument, path) as file:
        header = file.readline()
        file.seek(0)
        separator = "\t" if table_suffix(path) == ".tsv" else _separator(header)
        reader = csv.reader(file, delimiter=separator, strict=True, quoting=quoting)
        try:
            names = next(reader, [])
            return names, list(_full_rows(argument, path, reader, names))
        except csv.Error as error:
            raise csv.Error(f"{error} in line {reader.line_num:,}") from error


def _refuse_joined(argument: str, path: Path, rows: list[list[str]]) -> None:
    """Refuse quotes over several lines of which each is a row: they may be those of the texts."""
    joined = next((each for row in rows for each in row if "\n" in each and "\t" in each), None)
    if joined is None:
        return
    try:
        _read_csv(argument, path, csv.QUOTE_NONE)
    except DataError:  # some lines alone are no rows
        return
    raise DataError(
        f"`{argument}` must have quotes in pairs, got {path} with {joined[:40]!r}, which may be "
        "one cell in quotes or the cells of several lines; remove the quotes at the begin of "
        "cells, or save it as CSV"
    )


def _separator(header: str) -> str:
    counts = {each: header.count(each) for each in (",", ";", "\t")}
    return max(counts, key=lambda each: counts[each])


def _full_rows(argument: str, path: Path, reader: Any, names: list[str]) -> Iterator[list[str]]:
    for row in reader:
        if len(row) == len(names):
            yield row
        elif row:  # an empty line is none
            raise DataError(
                f"`{argument}` must have {len(names)} cells in every row, as its first line has, "
                f"got {len(row)} in line {reader.line_num:,} of {path}; put cells that contain a "
                "separator or a line break in double quotes"
            )


def _named(argument: str, path: Path, names: list[str]) -> tuple[list[str], frozenset[str]]:
    """Return names for all columns, and those that had none."""
    found = [name.strip() or f"column {at}" for at, name in enumerate(names, 1)]
    twice = sorted({name for name in found if found.count(name) > 1})
    if twice:
        raise DataError(
            f"`{argument}` must have one column of each name, got {path} with several called "
            f"{twice[0]!r}; rename them, or, if the first line is a row, write names above it"
        )
    return found, frozenset(each for each, name in zip(found, names, strict=True) if not name)


def _json_lines(argument: str, path: Path) -> Frame:
    records = []
    with _opened(argument, path) as file:
        for line, text in enumerate(file, 1):
            if text.strip():
                records.append(_record(argument, f"line {line:,} of {path}", _parsed(text)))
    return _of_records(path, records)


def _json(argument: str, path: Path) -> Frame:
    with _opened(argument, path) as file:
        found = _parsed(file.read())
    if not isinstance(found, list):
        raise DataError(
            f"`{argument}` must be a list of objects, got {path} with "
            f"{'broken JSON' if found is None else type(found).__name__}; write one object per "
            "line, and call the file .jsonl"
        )
    return _of_records(path, [_record(argument, f"{path}", each) for each in found])


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _record(argument: str, where: str, found: Any) -> dict[str, Any]:
    if not isinstance(found, dict):
        kind = "broken JSON" if found is None else type(found).__name__
        raise DataError(
            f"`{argument}` must have a JSON object in every line, got {kind} in {where}; write "
            '{"text": "…", "label": "…"}'
        )
    return found


def _of_records(path: Path, records: list[dict[str, Any]]) -> Frame:
    names = list(dict.fromkeys(name for record in records for name in record))
    columns: dict[str, Any] = {name: [record.get(name) for record in records] for name in names}
    return Frame(path.name, columns, folder=path.parent)


def _parquet(argument: str, path: Path) -> Frame:
    pyarrow = installed(f"`{argument}`, a Parquet file,", "pyarrow", "data", DataError)
    from pyarrow import parquet  # noqa: PLC0415 - an optional package

    try:
        table = parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(
            f"`{argument}` must be a Parquet file, got {path} with {in_short(error)}; write it anew"
        ) from error
    return of_arrow(path.name, table, path.parent)


def of_arrow(name: str, table: Any, folder: Path | None = None) -> Frame:
    """Return a table of pyarrow."""
    import pyarrow as pa  # noqa: PLC0415 - an optional package

    columns: dict[str, Any] = {}
    for column in table.column_names:
        cells = table[column]
        if pa.types.is_floating(cells.type):
            columns[column] = cells.to_numpy().astype(np.float64)  # null becomes NaN
            continue
        if pa.types.is_timestamp(cells.type):  # Python has no nanoseconds
            cells = cells.cast(pa.timestamp("us", cells.type.tz), safe=False)
        elif pa.types.is_decimal(cells.type):
            cells = cells.cast(pa.float64())
        columns[column] = cells.to_pylist()
    index = frozenset(each for each in columns if _INDEX.fullmatch(each))
    return Frame(name, columns, index, folder)


READERS: dict[str, Callable[[str, Path], Frame]] = {
    ".csv": _csv,
    ".tsv": _csv,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json,
    ".parquet": _parquet,
    ".pq": _parquet,
}
"""Readers by the end of a file's name."""
