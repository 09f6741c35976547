"""Memory does not grow with the number of examples."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[1] / "programs" / "label_memory.py"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's figures")
def test_memory_is_flat(tmp_path):
    """Ten times the examples, whose targets alone are 5 MB more, take no more than 2 MB more."""
    grown = {}
    for length in (5_000, 50_000):
        command = [sys.executable, str(PROGRAM), str(tmp_path / str(length)), str(length)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        grown[length] = int(done.stdout)
    assert grown[50_000] - grown[5_000] < 2_000, grown
