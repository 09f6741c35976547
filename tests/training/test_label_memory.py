"""Memory does not grow with the number of examples."""

import os
import warnings
from pathlib import Path

import pytest

from programs import label_memory


def grown(out, length):
    """Label and read in a child of this process, which spares it the imports."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of other threads, which sleep
        child = os.fork()
    if child == 0:
        try:
            os.write(writer, str(label_memory.main(out, length)).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as said:
        return int(said.read())


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's figures")
def test_memory_is_flat(tmp_path):
    """Ten times the examples, whose targets alone are 5 MB more, take no more than 2 MB more."""
    few, many = (grown(tmp_path / str(length), length) for length in (5_000, 50_000))
    assert many - few < 2_000, (few, many)
