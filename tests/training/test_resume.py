"""A run that is killed and started again ends with the weights of one that was not."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from compiling import needs_compiler

PROGRAM = Path(__file__).parents[1] / "programs" / "killed_run.py"
KINDS = [
    *("tensors", "set", "loader", "workers", "mixed"),
    pytest.param("compiled", marks=needs_compiler),
]
LONGEST_WAIT = 0.25  # seconds; the slowed steps of a run take more than twice that


def start(out: Path, kind: str, write: int = 0) -> subprocess.Popen:
    """Start a run. Errors go to a file: a pipe would stay open as long as orphaned workers live."""
    command = [sys.executable, "-W", "error", str(PROGRAM), str(out), kind, str(write)]
    with errors_of(out).open("w") as errors:
        return subprocess.Popen(command, stderr=errors)


def errors_of(out: Path) -> Path:
    return out.with_name(f"{out.name}.errors")


def finish(out: Path, kind: str) -> dict[str, torch.Tensor]:
    """Carry a run to its end; return the weights of the last step and of the best epoch.

    The best epoch may lie before a kill, so that its weights alone would show little.
    """
    process = start(out, kind)
    assert process.wait(timeout=120) == 0, errors_of(out).read_text()
    last = torch.load(out / "last.pt", weights_only=True)
    assert last["finished"]
    weights = {f"last {name}": tensor for name, tensor in last["distiller"].items()}
    momenta = enumerate(last["optimizer"]["state"].values())
    weights |= {f"momentum {place}": each["exp_avg"] for place, each in momenta}
    best = load_file(out / "student.safetensors")
    return weights | {f"best {name}": tensor for name, tensor in best.items()}


@pytest.fixture(scope="module", params=KINDS)
def whole(request, tmp_path_factory):
    """The weights of an uninterrupted run, for each kind of data."""
    return request.param, finish(tmp_path_factory.mktemp("whole") / "run", request.param)


def when_written(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


def kill_when_under_way(out: Path, kind: str, rng: random.Random) -> int:
    """Kill a run at a random moment of its training; return the step it was killed after."""
    before = when_written(out / "last.pt")
    process = start(out, kind)
    while when_written(out / "last.pt") == before:
        assert process.poll() is None, errors_of(out).read_text()
        time.sleep(0.005)
    time.sleep(rng.uniform(0, LONGEST_WAIT))
    process.kill()
    process.wait()
    return torch.load(out / "last.pt", weights_only=True)["state"]["step"]


def test_killed_at_random_moments(whole, tmp_path):
    """Two kills in one run, at moments that differ from one run of the test to the next."""
    kind, expected = whole
    seed = random.randrange(10**6)
    rng, out = random.Random(seed), tmp_path / "run"
    steps = [kill_when_under_way(out, kind, rng) for _ in range(2)]
    found = finish(out, kind)
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), f"{name} differs; seed {seed}, killed at {steps}"


@pytest.mark.parametrize("write", [1, 2, 9, 30])
def test_killed_in_the_middle_of_a_write(write, tmp_path):
    """The first write is run.json, the later ones checkpoints and best students."""
    out = tmp_path / "run"
    process = start(out, "tensors", write)
    assert process.wait(timeout=120) == -signal.SIGKILL
    expected = finish(tmp_path / "whole", "tensors")
    found = finish(out, "tensors")
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    assert found.keys() == expected.keys()


def test_the_log_of_a_killed_run_has_each_epoch_once(tmp_path):
    out = tmp_path / "run"
    kill_when_under_way(out, "tensors", random.Random(0))
    finish(out, "tensors")
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [each["epoch"] for each in records if each["kind"] == "epoch"] == [1, 2, 3, 4]
