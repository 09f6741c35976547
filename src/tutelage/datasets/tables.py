"""Tables in files, read by pandas: CSV in its many forms, spreadsheets, Parquet, JSON, others."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
import re
import warnings
import zipfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tutelage.datasets.parsing import decimal_mark, numbers_of
from tutelage.errors import DataError, in_short, some_of

if TYPE_CHECKING:
    import pandas as pd

CSV = (".csv", ".tsv", ".tab", ".psv", ".data", ".dat", ".txt", ".test", ".asc")
_JSON, _LINES = (".json",), (".jsonl", ".ndjson")
_EXCEL = (".xlsx", ".xls", ".xlsm", ".xlsb", ".ods")
_OTHERS = {
    ".parquet": "read_parquet",
    ".pq": "read_parquet",
    ".feather": "read_feather",
    ".arrow": "read_feather",
    ".orc": "read_orc",
    ".dta": "read_stata",
    ".sav": "read_spss",
    ".sas7bdat": "read_sas",
    ".xpt": "read_sas",
    ".xml": "read_xml",
}
_PACKED: dict[str, Any] = {
    ".gz": gzip.decompress,
    ".bz2": bz2.decompress,
    ".xz": lzma.decompress,
}
SUFFIXES = frozenset((*CSV, *_JSON, *_LINES, *_EXCEL, *_OTHERS))
_SAMPLE = 2**16
_SEPARATORS = "\t;|,"
_CELL = re.compile(r'"[^"]*"|\S+')
_MARKS = {
    b"\xef\xbb\xbf": "utf-8-sig",
    b"\xff\xfe\x00\x00": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
_MOST, _SHARE = 5, 0.05


def suffix_of(path: Path) -> str:
    """Return the end of a table's name, without that of its compression."""
    inner = path.with_suffix("") if path.suffix.lower() in (*_PACKED, ".zip") else path
    return inner.suffix.lower() or ".csv" * (inner != path)


def few(count: int, total: int) -> bool:
    """Tell whether so few of all examples cannot be used that they are left out, which is told."""
    return count <= max(_MOST, _SHARE * total)


@dataclass
class Reading:
    """How a file is read.

    Args:
        read: Options of pandas' reader; what is found in the file is added.
        missing: Cells that are missing beside those that pandas takes for missing.
        label: A column that must be there: a number where the file has no names of columns.
        notes: Sentences on what is left out, and what may be meant otherwise.
        how: What was found in the file, such as its separator.
    """

    read: dict[str, Any]
    missing: tuple[str, ...] = ()
    label: str | None = None
    notes: list[str] = field(default_factory=list)
    how: list[str] = field(default_factory=list)


def read_table(  # noqa: C901, PLR0912 - a format each
    argument: str, path: Path, reading: Reading
) -> pd.DataFrame:
    """Return the table of a file as pandas reads it.

    What pandas must be told, such as the separator of a CSV file, is found in the file, unless
    `reading.read` says it.

    Raises:
        DataError: The file cannot be read, or has no rows.
    """
    import pandas as pd  # noqa: PLC0415 - heavy

    suffix, given, missing = suffix_of(path), dict(reading.read), reading.missing
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of readers, on styles of cells and the like
            if suffix in CSV:
                frame = _csv(path, reading)
            elif suffix in _EXCEL:
                frame = _excel(path, reading)
            elif suffix in _JSON + _LINES:
                frame = _json(path, {"lines": True, **given} if suffix in _LINES else given)
            else:
                frame = getattr(pd, _OTHERS[suffix])(path, **given)
    except ImportError as error:
        raise DataError(
            f"`{argument}`, {path}, needs a package that is not installed ({in_short(error)}); "
            "pip install 'tutelage[data]', or the package"
        ) from error
    except DataError:
        raise
    except Exception as error:  # of pandas and its engines, which raise what they like
        ours = (
            ", with " + ", ".join(f"{key}: {each}" for key, each in given.items()) if given else ""
        )
        raise DataError(
            f"`{argument}` must be a table that pandas can read, got {path}{ours}: "
            f"{in_short(error)}; correct the file, or say how it is written: read: {{sep: …, "
            "encoding: …, skiprows: …}"
        ) from error
    if not isinstance(frame, pd.DataFrame):
        raise DataError(f"`{argument}.read` must give one table of {path}; leave its option out")
    if any(frame.index.names):
        frame = frame.reset_index()
    for name in frame.columns if missing else ():
        absent = frame[name].isin([*missing, *_as_numbers(missing)]).to_numpy()
        if absent.any():
            frame[name] = frame[name].mask(absent)
    blank = frame.isna().to_numpy().all(axis=1)
    if blank.any():
        reading.notes.append(f"{int(blank.sum()):,} empty rows of {path.name} are left out")
        frame = frame.iloc[~blank]
    if not len(frame) or not len(frame.columns):
        raise DataError(f"`{argument}` must have at least one row, got {path} with none; fill it")
    return frame.reset_index(drop=True)


def _as_numbers(texts: tuple[str, ...]) -> list[float]:
    return [each for each in numbers_of(texts, ".").tolist() if each == each]  # noqa: PLR0124 - NaN


def _content(path: Path) -> bytes:
    """Return a file's bytes, unpacked."""
    if path.suffix.lower() == ".zip":
        with zipfile.ZipFile(path) as file:
            names = [each for each in file.namelist() if not each.startswith("__MACOSX")]
            names = [each for each in names if not each.endswith("/")]
            if len(names) != 1:
                raise DataError(
                    f"{path} must hold one table, got {some_of(names)}; unpack it and name the file"
                )
            return file.read(names[0])
    return _PACKED.get(path.suffix.lower(), bytes)(path.read_bytes())


def _encoding(content: bytes, path: Path, notes: list[str]) -> str:
    """Return the encoding of a text: by its mark, or UTF-8, or else that of Western Windows."""
    for mark, name in _MARKS.items():
        if content.startswith(mark):
            return name
    half = content[:_SAMPLE].count(0) / max(1, len(content[:_SAMPLE]))
    if half > 0.3:  # noqa: PLR2004 - every second byte of Western texts in UTF-16
        return "utf-16-le" if content[1:2] == b"\0" else "utf-16-be"
    for name in ("utf-8", "cp1252"):
        try:
            text = content.decode(name)
        except UnicodeDecodeError:
            continue
        if name != "utf-8":
            words = re.findall(r"\w*[^\x00-\x7f]\w*", text[: 2**20])
            notes.append(
                f"{path.name} is not in UTF-8 and was read as {name} (Western Europe), such as "
                f"{some_of(map(repr, dict.fromkeys(words)), 3)}; if that is wrong, write read: "
                "{encoding: …}, such as cp1251, shift_jis or euc_kr"
            )
        return name
    raise DataError(
        f"{path} must be text whose encoding is known, got neither UTF-8 nor Western Windows; "
        "write read: {encoding: …}, such as cp1251, shift_jis, euc_kr or gb18030"
    )


def _csv(path: Path, reading: Reading) -> pd.DataFrame:
    content, read = _content(path).rstrip(b"\x1a"), reading.read
    notes, label = reading.notes, reading.label
    if not read.get("encoding"):
        read["encoding"] = _encoding(content, path, notes)
    sample = content[: 2 * _SAMPLE].decode(read["encoding"], errors="ignore")[:_SAMPLE]
    lines = sample.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    _find_form(path, lines[:-1] if len(sample) == _SAMPLE and len(lines) > 1 else lines, reading)
    if reading.missing:
        read.setdefault("na_values", [*reading.missing, *_as_numbers(reading.missing)])
    if "engine" not in read:
        read.setdefault("low_memory", False)
    frame = _parsed(content, path, reading)
    if "header" in read or "names" in read:
        return frame
    names = [str(each).strip() for each in frame.columns]
    if label is not None and label.isdecimal() and label not in names and int(label) < len(names):
        notes.append(f"{path.name} has no names of columns, which are called 0, 1, …")
        read["header"] = None
        return _parsed(content, path, reading)
    if _is_second_header(frame):
        notes.append(f"the names of the columns of {path.name} are those in its second line")
        read["header"] = 1
        return _parsed(content, path, reading)
    if len(names) > 1 and all(re.fullmatch(r"[\d.eE+-]+|Unnamed: \d+", each) for each in names):
        notes.append(
            f"the first line of {path.name} was read as the names of columns, {some_of(names)}; if "
            "it is a row, write read: {header: null}"
        )
    return frame


def _find_form(  # noqa: C901 - one after the other
    path: Path, lines: list[str], reading: Reading
) -> None:
    """Find lines above the table, the separator, spaces before quotes and the mark of decimals."""
    read = reading.read
    if read.keys().isdisjoint(("skiprows", "comment", "header")):
        above = 0
        if lines and (named := re.fullmatch(r'"?sep=(.)"?', lines[0].strip())):
            read.setdefault("sep", named[1])
            above = 1  # a line for Excel
        sep = read.get("sep") or read.get("delimiter") or _separator(lines[above:], path)
        counts = _counts(lines[above:], sep)
        usual = Counter(counts).most_common(1)[0][0] if counts else 1
        begin = above
        while usual > 1 and begin < len(lines) and _is_above(lines[begin], sep, usual):
            begin += 1
        if above < begin < len(lines):
            reading.notes.append(
                f"{begin - above} lines above the table in {path.name} are left out"
            )
        if 0 < begin < len(lines):
            read["skiprows"] = begin
            lines = lines[begin:]
    if "sep" not in read and "delimiter" not in read:
        read["sep"] = _separator(lines, path)
        if read["sep"] not in (",", "\t") or (read["sep"] == "\t") != (suffix_of(path) == ".tsv"):
            named = {"\t": "tabs", r"\s+": "spaces"}.get(read["sep"], repr(read["sep"]))
            reading.how.append(f"{path.name} has {named} between its cells")
    sep = read.get("sep") or read["delimiter"]
    joined = "\n".join(lines)
    if len(sep) == 1 and re.search(rf'{re.escape(sep)} +"', joined):
        read.setdefault("skipinitialspace", True)
    if sep in (";", "\t", "|") and read.keys().isdisjoint(("decimal", "thousands")):
        cells = [cell.strip(' "') for line in lines[1:] for cell in line.split(sep)]
        commas = [each for each in cells if "," in each]
        plain = [each for each in commas if re.fullmatch(r"[+-]?[\d.]*\d,\d+", each)]
        dotted = [each for each in cells if re.fullmatch(r"[+-]?\d+\.\d+", each)]
        if plain and 2 * len(plain) > len(commas) and (sep == ";" or decimal_mark(plain) == ","):
            read["decimal"] = ","
            reading.how.append(f"{path.name} has commas before decimals")
        elif (
            sep == ";" and dotted and all(re.fullmatch(r"\d{1,3}\.\d{3}", each) for each in dotted)
        ):
            reading.notes.append(
                f"{path.name} has numbers such as {dotted[0]}, read as ones with decimals; if the "
                'dots are between thousands, write read: {thousands: "."}'
            )


def _is_above(line: str, sep: str, usual: int) -> bool:
    """Tell whether a line is none of the table's: a comment, a title, or empty."""
    cells = _counts([line], sep)
    return (
        not line.strip(f"{sep} ")
        or (line.startswith("#") and cells != [usual])
        or (
            cells == [1] and usual > 2  # noqa: PLR2004 - R leaves out the name of the first column
        )
    )


def _separator(lines: list[str], path: Path) -> str:
    """Return what divides most lines into the same number of cells."""
    found, best = "\t" if suffix_of(path) in (".tsv", ".tab") else ",", 0.0
    for sep in _SEPARATORS:
        counts = [each for each in _counts(lines, sep) if each]
        usual, times = Counter(counts).most_common(1)[0] if counts else (1, 0)
        share = times / max(1, len(counts))
        if usual > 1 and share > best + 0.02:
            found, best = sep, share
    spaced = [len(_CELL.findall(each)) for each in lines[1:] if each.strip()]
    if spaced and len(set(spaced)) == 1 and spaced[0] > 1:
        first = _CELL.findall(lines[1].strip())
        others = Counter(_counts(lines[1:], found)).most_common(1)[0][0] if best else 1
        clear = [bool(re.fullmatch(r"[\d.eE+-]+|\".*\"", each)) for each in first]
        if spaced[0] > others and 2 * sum(clear) >= len(first):
            return r"\s+"
    return found


def _counts(lines: list[str], sep: str) -> list[int]:
    """Return the number of cells of each row."""
    if len(sep) > 1:
        return [len(_CELL.findall(each)) for each in lines if each.strip()]
    try:
        rows = list(csv.reader(lines, delimiter=sep, skipinitialspace=sep != " "))
    except csv.Error:
        return [each.count(sep) + 1 for each in lines]
    return [len(each) for each in rows if each]


def _parsed(content: bytes, path: Path, reading: Reading) -> pd.DataFrame:
    """Return what pandas reads; too long rows are left out, and quotes that are none are texts."""
    import pandas as pd  # noqa: PLC0415 - heavy

    read, notes = reading.read, reading.notes

    def parse(**more: Any) -> pd.DataFrame:
        return pd.read_csv(io.BytesIO(content), **{**read, **more})

    sep = read.get("sep") or read.get("delimiter") or ","
    quoted = b'"' in content and len(sep) == 1 and "quoting" not in read
    lines = [each for each in content.split(b"\n") if each.strip()] if quoted else []
    divided = {each.count(sep.encode()) for each in lines}
    full = sep == "\t" and len(divided) == 1 and divided != {0}
    try:
        frame = parse()
    except pd.errors.ParserError as error:
        if "Expected" not in str(error) or "on_bad_lines" in read:
            if not quoted or "inside string" not in str(error):
                raise
            notes.append(f"{path.name} has quotes that are not in pairs, which were read as texts")
            return parse(quoting=csv.QUOTE_NONE)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            frame = parse(on_bad_lines="warn")
        bad = sum(str(each.message).count("Skipping line") for each in caught)
        if not few(bad, len(frame)):
            raise
        notes.append(f"{bad:,} rows of {path.name} with too many cells are left out")
    if full and len(frame) + 1 < len(lines):  # every line is a row, with quotes of its texts
        notes.append(f"{path.name} has quotes that are not in pairs, which were read as texts")
        return parse(quoting=csv.QUOTE_NONE)
    usual = isinstance(frame.index, pd.RangeIndex) and frame.index.start == 0
    given = read.keys() & {"index_col", "names"}
    if not usual and not given and frame.iloc[:, -1].isna().all():
        return parse(index_col=False)  # a separator behind every row, but not behind the names
    if not usual and not given:
        notes.append(f"the first cells of the rows of {path.name} have no name and are left out")
    return frame


def _is_second_header(frame: pd.DataFrame) -> bool:
    """Tell whether the first row is of names, above columns that are otherwise numbers."""
    texts = [at for at, each in enumerate(frame.dtypes) if each.kind not in "biufcM"]
    if len(texts) < max(2, len(frame.columns) - 1) or len(frame) < 3:  # noqa: PLR2004
        return False
    some = [frame.iloc[:100, at].dropna().tolist() for at in texts]
    if any(len(each) < 2 or not np.isnan(numbers_of(each[:1])[0]) for each in some):  # noqa: PLR2004
        return False
    numeric = [not np.isnan(numbers_of(each[1:])).any() for each in some]
    return 2 * sum(numeric) > len(texts)


def _excel(path: Path, reading: Reading) -> pd.DataFrame:
    import pandas as pd  # noqa: PLC0415 - heavy

    read, notes = dict(reading.read), reading.notes
    if reading.missing:
        read.setdefault("na_values", [*reading.missing, *_as_numbers(reading.missing)])
    with pd.ExcelFile(path, engine=read.pop("engine", None)) as book:
        if len(book.sheet_names) > 1 and "sheet_name" not in read:
            names = some_of(map(repr, book.sheet_names))
            notes.append(f"the first of the sheets of {path.name} was read ({names})")
        frame = pd.read_excel(book, **read)
        if read.keys() & {"header", "skiprows", "names"} or not isinstance(frame, pd.DataFrame):
            return frame
        unnamed = [str(each).startswith("Unnamed: ") for each in frame.columns]
        if 2 * sum(unnamed) <= len(unnamed):
            return frame
        whole = pd.read_excel(book, **read, header=None)
        for row in range(min(20, len(whole))):  # titles above the names of the columns
            if whole.iloc[row].map(lambda each: isinstance(each, str)).mean() > 0.8:  # noqa: PLR2004
                notes.append(f"{row} rows above the table in {path.name} are left out")
                return pd.read_excel(book, **read, header=row)
        return frame


def _json(path: Path, read: dict[str, Any]) -> pd.DataFrame:
    """Return a table in any of pandas' forms; one object per line in a .json file too."""
    import json  # noqa: PLC0415

    import pandas as pd  # noqa: PLC0415 - heavy

    content = _content(path)
    text = content.decode(read.pop("encoding", None) or "utf-8-sig")
    if read.keys().isdisjoint(("orient", "lines")):
        try:
            found = json.loads(text)
        except ValueError:  # several objects
            read["lines"] = True
        else:
            keys = found.keys() if isinstance(found, dict) else set()
            if {"columns", "data"} <= keys:
                read["orient"] = "split"
            elif {"schema", "data"} <= keys:
                read["orient"] = "table"
            elif len(keys) == 1 and isinstance(next(iter(found.values())), list):
                text = json.dumps(next(iter(found.values())))  # such as {"data": [{…}, …]}
            elif keys and all(isinstance(each, list) for each in found.values()):
                return pd.DataFrame(found)
    return pd.read_json(io.StringIO(text), **read)
