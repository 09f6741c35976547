"""What to do with a text file that is not UTF-8."""

from __future__ import annotations

from pathlib import Path

from tutelage.errors import DataError

_MARKS = (b"\xff\xfe", b"\xfe\xff")
_GZIP = b"\x1f\x8b"


def not_utf8(argument: str, path: Path) -> DataError:
    """Return the error that a file is of another encoding: where, and how to convert it."""
    content = path.read_bytes()
    advice = "save it as UTF-8"
    if content.startswith(_GZIP):
        return DataError(f"`{argument}` must be text in UTF-8, got {path} in another; {advice}")
    try:
        content.decode("utf-8")
        line = 1  # it has been mended since
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
    likely = "UTF-16" if content.startswith(_MARKS) else "WINDOWS-1252"
    target = path.with_name(f"{path.stem}-utf8{path.suffix}")
    return DataError(
        f"`{argument}` must be text in UTF-8, got {path} with other bytes in line {line:,}; "
        f"{advice}, as by: iconv -f {likely} -t UTF-8 {path} > {target}"
    )
