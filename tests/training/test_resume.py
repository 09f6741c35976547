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

from children import PROGRAMS, Child
from compiling import needs_compiler

PROGRAM = PROGRAMS / "killed_run.py"
KINDS = [
    *("tensors", "set", "loader", "workers", "mixed"),
    pytest.param("compiled", marks=needs_compiler),
]
LONGEST_WAIT = 0.25  # seconds; the slowed steps of a run take more than twice that


def start(out: Path, kind: str, write: int = 0) -> Child:
    """Start a run. Errors go to a file: a pipe would stay open as long as orphaned workers live."""
    return Child(PROGRAM, (out, kind, write), errors_of(out))


def errors_of(out: Path) -> Path:
    return out.with_name(f"{out.name}.errors")


def finish(out: Path, kind: str) -> dict[str, torch.Tensor]:
    """Carry a run to its end; return the weights of the last step and of the best epoch.

    The best epoch may lie before a kill, so that its weights alone would show little.
    """
    start(out, kind).finish()
    return weights(out)


def weights(out: Path) -> dict[str, torch.Tensor]:
    """Return what a finished run has learnt."""
    last = torch.load(out / "last.pt", weights_only=True)
    assert last["finished"]
    found = {f"last {name}": tensor for name, tensor in last["distiller"].items()}
    momenta = enumerate(last["optimizer"]["state"].values())
    found |= {f"momentum {place}": each["exp_avg"] for place, each in momenta}
    best = load_file(out / "student.safetensors")
    return found | {f"best {name}": tensor for name, tensor in best.items()}


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


@pytest.mark.parametrize("write", [1, 2, 30])
@pytest.mark.parametrize("whole", ["tensors"], indirect=True)
def test_killed_in_the_middle_of_a_write(write, whole, tmp_path):
    """The first write is run.json, the later ones checkpoints and best students."""
    out = tmp_path / "run"
    assert start(out, "tensors", write).wait() == -signal.SIGKILL
    same(finish(out, "tensors"), whole)


@pytest.mark.parametrize("whole", ["tensors"], indirect=True)
def test_killed_in_an_interpreter_of_its_own(whole, tmp_path):
    """With imports and hashes that the process has not which completes the run."""
    out = tmp_path / "run"
    command = [sys.executable, "-W", "error", str(PROGRAM), str(out), "tensors", "9"]
    done = subprocess.run(command, check=False, timeout=240, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    same(finish(out, "tensors"), whole)


def same(found, whole):
    """What a killed run has learnt is what an uninterrupted one has."""
    _, expected = whole
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_the_log_of_a_killed_run_has_each_epoch_once(tmp_path):
    out = tmp_path / "run"
    kill_when_under_way(out, "tensors", random.Random(0))
    finish(out, "tensors")
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [each["epoch"] for each in records if each["kind"] == "epoch"] == [1, 2, 3, 4]
