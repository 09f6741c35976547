"""Tables in files, read by pandas: CSV in its many forms, spreadsheets, Parquet, JSON, others."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import re
import warnings
import zipfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tutelage.datasets.cells import decimal_mark, numbers_of
from tutelage.datasets.content import few
from tutelage.errors import DataError, in_short, some_of

if TYPE_CHECKING:
    import pandas as pd

CSV = (".csv", ".tsv", ".tab", ".psv", ".data", ".dat", ".txt", ".test", ".asc")
_LINES = (".jsonl", ".ndjson")
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
SUFFIXES = frozenset((*CSV, ".json", *_LINES, *_EXCEL, *_OTHERS))
_PACKED: dict[str, Any] = {
    ".gz": gzip.decompress,
    ".bz2": bz2.decompress,
    ".xz": lzma.decompress,
}
_SAMPLE = 2**16
_SPACES = r"\s+"
_CELL = re.compile(r'"[^"]*"|\S+')
_MARKS = {
    b"\xef\xbb\xbf": "utf-8-sig",
    b"\xff\xfe\x00\x00": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}


def suffix_of(path: Path) -> str:
    """Return the end of a table's name, without that of its compression."""
    inner = path.with_suffix("") if path.suffix.lower() in (*_PACKED, ".zip") else path
    return inner.suffix.lower() or ".csv" * (inner != path)


@dataclass
class Reading:
    """How a file is read.

    Args:
        read: Options of pandas' reader; what is found in a CSV file is added.
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

    suffix, given, missing = suffix_of(path), dict(reading.read), [*reading.missing]
    numbers = numbers_of(missing, ".")
    missing += numbers[~np.isnan(numbers)].tolist()
    if missing and suffix in (*CSV, *_EXCEL):
        reading.read.setdefault("na_values", missing)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of readers, on styles of cells and the like
            if suffix in CSV:
                frame = _csv(path, reading)
            elif suffix in _EXCEL:
                frame = _excel(path, reading)
            elif suffix in _OTHERS:
                frame = getattr(pd, _OTHERS[suffix])(path, **given)
            else:
                frame = _json(path, {"lines": True, **given} if suffix in _LINES else given)
    except ImportError as error:
        raise DataError(
            f"`{argument}`, {path}, needs a package that is not installed ({in_short(error)}); "
            "pip install 'tutelage[data]', or the package"
        ) from error
    except DataError:
        raise
    except Exception as error:  # of pandas and its engines, which raise what they like
        options = ", ".join(f"{key}: {each}" for key, each in given.items())
        raise DataError(
            f"`{argument}` must be a table that pandas can read, got {path}"
            f"{options and ', with '}{options}: {in_short(error)}; correct the file, or say how it "
            "is written: read: {sep: …, encoding: …, skiprows: …}"
        ) from error
    if not isinstance(frame, pd.DataFrame):
        raise DataError(f"`{argument}.read` must give one table of {path}; leave its option out")
    if any(frame.index.names):
        frame = frame.reset_index()
    for name in frame.columns if missing else ():
        absent = frame[name].isin(missing).to_numpy()
        if absent.any():
            frame[name] = frame[name].mask(absent)
    blank = frame.isna().to_numpy().all(axis=1)
    if blank.any():
        reading.notes.append(f"{int(blank.sum()):,} empty rows of {path.name} are left out")
        frame = frame.iloc[~blank]
    if not len(frame) or not len(frame.columns):
        raise DataError(f"`{argument}` must have at least one row, got {path} with none; fill it")
    return frame.reset_index(drop=True)


def _unpacked(path: Path) -> bytes:
    """Return a file's bytes."""
    if path.suffix.lower() != ".zip":
        return _PACKED.get(path.suffix.lower(), bytes)(path.read_bytes())
    with zipfile.ZipFile(path) as file:
        names = [each for each in file.namelist() if not each.endswith("/")]
        names = [each for each in names if not each.startswith("__MACOSX")]
        if len(names) != 1:
            raise DataError(
                f"{path} must hold one table, got {some_of(names)}; unpack it and name the file"
            )
        return file.read(names[0])


def _encoding(content: bytes, path: Path, notes: list[str]) -> str:
    """Return the encoding of a text: by its mark, or UTF-8, or else that of Western Windows."""
    for mark, name in _MARKS.items():
        if content.startswith(mark):
            return name
    zeros = content[:_SAMPLE].count(0) / max(1, len(content[:_SAMPLE]))
    if zeros > 0.3:  # noqa: PLR2004 - every second byte of Western texts in UTF-16
        return "utf-16-le" if content[1:2] == b"\0" else "utf-16-be"
    try:
        content.decode("utf-8")
        return "utf-8"
    except UnicodeDecodeError:
        pass
    try:
        words = re.findall(r"\w*[^\x00-\x7f]\w*", content.decode("cp1252")[: 2**20])
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} must be text whose encoding is known, got neither UTF-8 nor Western Windows; "
            "write read: {encoding: …}, such as cp1251, shift_jis, euc_kr or gb18030"
        ) from error
    notes.append(
        f"{path.name} is not in UTF-8 and was read as cp1252 (Western Europe), such as "
        f"{some_of(map(repr, dict.fromkeys(words)), 3)}; if that is wrong, write read: "
        "{encoding: …}, such as cp1251, shift_jis or euc_kr"
    )
    return "cp1252"


def _csv(path: Path, reading: Reading) -> pd.DataFrame:
    content, read = _unpacked(path).rstrip(b"\x1a"), reading.read
    notes, label = reading.notes, reading.label
    if not read.get("encoding"):
        read["encoding"] = _encoding(content, path, notes)
    sample = content[: 2 * _SAMPLE].decode(read["encoding"], errors="ignore")[:_SAMPLE]
    lines = sample.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    _find_form(path, lines[:-1] if len(sample) == _SAMPLE and len(lines) > 1 else lines, reading)
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
    fractions = [each for each in names if re.fullmatch(r"-?\d+\.\d+", each)]
    numbers = [each for each in names if re.fullmatch(r"[\d.eE+-]+|Unnamed: \d+", each)]
    if len(names) > 1 and (len(numbers) == len(names) or 2 * len(fractions) >= len(names)):
        notes.append(
            f"the first line of {path.name} was read as the names of columns, {some_of(names)}; if "
            "it is a row, write read: {header: null}"
        )
    return frame


def _find_form(  # noqa: C901, PLR0912 - one after the other
    path: Path, lines: list[str], reading: Reading
) -> None:
    """Find lines above the table, the separator, spaces before quotes and the mark of decimals."""
    read = reading.read
    sep = read.get("sep") or read.get("delimiter")
    if read.keys().isdisjoint(("skiprows", "comment", "header")):
        above, named = 0, re.fullmatch(r'"?sep=(.)"?', lines[0].strip())
        if named:  # a line for Excel
            sep, above = sep or named[1], 1
        divided = sep or _separator(lines[above:], path)
        counts = _counts(lines[above:], divided)
        usual = Counter(counts).most_common(1)[0][0] if counts else 1
        begin = above
        while usual > 1 and begin < len(lines):  # comments, a title, empty lines
            cells = _counts([lines[begin]], divided)
            # R leaves out the name of the first column, so that two columns have one name.
            is_title = cells == [1] and usual > 2  # noqa: PLR2004
            is_comment = lines[begin].startswith("#") and cells != [usual]
            if lines[begin].strip(f"{divided} ") and not is_comment and not is_title:
                break
            begin += 1
        if 0 < begin < len(lines):
            read["skiprows"], lines = begin, lines[begin:]
            if begin > above:
                reading.notes.append(
                    f"{begin - above} lines above the table in {path.name} are left out"
                )
    if sep is None:
        sep = _separator(lines, path)
        if sep != ("\t" if suffix_of(path) == ".tsv" else ","):
            shown = {"\t": "tabs", _SPACES: "spaces"}.get(sep, repr(sep))
            reading.how.append(f"{path.name} has {shown} between its cells")
    if "delimiter" not in read:
        read["sep"] = sep
    if len(sep) == 1 and re.search(rf'{re.escape(sep)} +"', "\n".join(lines)):
        read.setdefault("skipinitialspace", True)
    if sep not in (";", "\t", "|") or not read.keys().isdisjoint(("decimal", "thousands")):
        return
    cells = [cell.strip(' "') for line in lines[1:] for cell in line.split(sep)]
    commas = [each for each in cells if "," in each]
    numbers = [each for each in commas if re.fullmatch(r"[+-]?[\d.]*\d,\d+", each)]
    dotted = [each for each in cells if re.fullmatch(r"[+-]?\d+\.\d+", each)]
    if 2 * len(numbers) > len(commas) and (sep == ";" or decimal_mark(numbers) == ","):
        read["decimal"] = ","
        reading.how.append(f"{path.name} has commas before decimals")
    elif sep == ";" and dotted and all(re.fullmatch(r"\d{1,3}\.\d{3}", each) for each in dotted):
        reading.notes.append(
            f"{path.name} has numbers such as {dotted[0]}, read as ones with decimals; if the dots "
            'are between thousands, write read: {thousands: "."}'
        )


def _separator(lines: list[str], path: Path) -> str:
    """Return what divides most lines into the same number of cells."""
    found, best = "\t" if suffix_of(path) in (".tsv", ".tab") else ",", 0.0
    for sep in "\t;|,":
        counts = _counts(lines, sep)
        usual, times = Counter(counts).most_common(1)[0] if counts else (1, 0)
        if usual > 1 and times / len(counts) > best + 0.02:
            found, best = sep, times / len(counts)
    spaced = _counts(lines[1:], _SPACES)
    if len(set(spaced)) == 1 and spaced[0] > 1:
        others = Counter(_counts(lines[1:], found)).most_common(1)[0][0] if best else 1
        first = _CELL.findall(lines[1])
        clear = [bool(re.fullmatch(r"[\d.eE+-]+|\".*\"", each)) for each in first]
        if spaced[0] > others and 2 * sum(clear) >= len(first):
            return _SPACES
    return found


def _counts(lines: list[str], sep: str) -> list[int]:
    """Return the number of cells of each row that has some."""
    if len(sep) > 1:
        return [len(_CELL.findall(each)) for each in lines if each.strip()]
    try:
        rows = csv.reader(lines, delimiter=sep, skipinitialspace=sep != " ")
        return [len(each) for each in rows if each]
    except csv.Error:
        return [each.count(sep) + 1 for each in lines]


def _parsed(  # noqa: C901 - one after the other
    content: bytes, path: Path, reading: Reading
) -> pd.DataFrame:
    """Return what pandas reads; too long rows are left out, and quotes that are none are texts."""
    import pandas as pd  # noqa: PLC0415 - heavy

    read, notes = reading.read, reading.notes

    def parse(**more: Any) -> pd.DataFrame:
        return pd.read_csv(io.BytesIO(content), **{**read, **more})

    def without_quotes() -> pd.DataFrame:
        notes.append(f"{path.name} has quotes that are not in pairs, which were read as texts")
        return parse(quoting=csv.QUOTE_NONE)

    sep = read.get("sep") or read.get("delimiter") or ","
    quoted = b'"' in content and len(sep) == 1 and "quoting" not in read
    try:
        frame = parse()
    except pd.errors.ParserError as error:
        if quoted and "inside string" in str(error):
            return without_quotes()
        if "Expected" not in str(error) or "on_bad_lines" in read:
            raise
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            frame = parse(on_bad_lines="warn")
        bad = sum(str(each.message).count("Skipping line") for each in caught)
        if not few(bad, len(frame)):
            raise
        notes.append(f"{bad:,} rows of {path.name} with too many cells are left out")
    if quoted and sep == "\t":  # where every line is a row, quotes are those of texts
        divided = [each.count(b"\t") for each in content.split(b"\n") if each.strip()]
        if len(set(divided)) == 1 and divided[0] and len(frame) + 1 < len(divided):
            return without_quotes()
    numbered = isinstance(frame.index, pd.RangeIndex) and frame.index.start == 0
    if not numbered and not read.keys() & {"index_col", "names"}:
        if frame.iloc[:, -1].isna().all():
            return parse(index_col=False)  # a separator behind every row, but not behind the names
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
    with pd.ExcelFile(path, engine=read.pop("engine", None)) as book:
        if len(book.sheet_names) > 1 and "sheet_name" not in read:
            names = some_of(map(repr, book.sheet_names))
            notes.append(f"the first of the sheets of {path.name} was read ({names})")
        frame = pd.read_excel(book, **read)
        unnamed = [str(each).startswith("Unnamed: ") for each in frame]
        if 2 * sum(unnamed) <= len(unnamed) or read.keys() & {"header", "skiprows", "names"}:
            return frame
        whole = pd.read_excel(book, **read, header=None)
        for row in range(min(20, len(whole))):  # titles above the names of the columns
            if whole.iloc[row].map(lambda each: isinstance(each, str)).mean() > 0.8:  # noqa: PLR2004
                notes.append(f"{row} rows above the table in {path.name} are left out")
                return pd.read_excel(book, **read, header=row)
        return frame


def _json(path: Path, read: dict[str, Any]) -> pd.DataFrame:
    """Return a table in any of pandas' forms; one object per line in a .json file too."""
    import pandas as pd  # noqa: PLC0415 - heavy

    text = _unpacked(path).decode(read.pop("encoding", None) or "utf-8-sig")
    if read.keys().isdisjoint(("orient", "lines")):
        try:
            found = json.loads(text)
        except ValueError:  # several objects
            return pd.read_json(io.StringIO(text), lines=True, **read)
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
