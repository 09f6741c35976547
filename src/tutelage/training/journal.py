"""The log of a run: one JSON object a line."""

import json
import math
from pathlib import Path
from typing import Any


class Journal:
    """Appends records to a JSON-lines file; without a path it does nothing.

    Args:
        path: The file; None for no log.
        length: Bytes of it that stand; what a killed process wrote beyond them is cut off, since
            the run that goes on writes it again.
    """

    def __init__(self, path: Path | None, length: int = 0) -> None:
        self._file = None
        if path is not None:
            self._file = path.open("ab")
            self._file.truncate(min(length, path.stat().st_size))

    def write(self, record: dict[str, Any]) -> None:
        """Append a record."""
        if self._file is not None:
            plain = {key: None if _no_number(value) else value for key, value in record.items()}
            self._file.write(json.dumps(plain, allow_nan=False).encode() + b"\n")

    def length(self) -> int:
        """Return the bytes written so far, after handing them to the system."""
        if self._file is None:
            return 0
        self._file.flush()
        return self._file.tell()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def _no_number(value: Any) -> bool:
    """Tell whether JSON has no word for it: NaN and infinities become null."""
    return isinstance(value, float) and not math.isfinite(value)
