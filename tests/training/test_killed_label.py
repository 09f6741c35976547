"""A labelling that is killed and called again ends with the bytes of one that was not."""

import random
import signal
import subprocess
import sys
import time

import pytest

from children import PROGRAMS, Child, start_two
from programs import killed_label
from tutelage.store import TargetStore

PROGRAM = PROGRAMS / "killed_label.py"
WRITES = 115  # of an uninterrupted labelling


def marks_of(out):
    return out.with_name(f"{out.name}.marks")


def content(out):
    files = (path for path in sorted(out.iterdir()) if path.name != ".lock")
    return {path.name: path.read_bytes() for path in files}


def asked(out):
    """How often the teacher was asked about the examples of each batch."""
    return marks_of(out).read_text().splitlines() if marks_of(out).exists() else []


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The store of a process of its own, with its own imports and hashes."""
    out = tmp_path_factory.mktemp("whole") / "store"
    command = [sys.executable, "-W", "error", str(PROGRAM), str(out), str(marks_of(out))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return content(out)


def start(out, how="0"):
    return Child(PROGRAM, (out, marks_of(out), how), out.with_suffix(".errors"))


def start_pair(out, how="0"):
    return start_two(PROGRAM, (out, marks_of(out), how), out.with_suffix(".errors"))


def done(out):
    """Carry a labelling to its end."""
    start(out).finish()
    return content(out)


def test_an_uninterrupted_labelling_asks_once_for_each_batch(whole, tmp_path):
    out = tmp_path / "store"
    assert done(out) == whole
    batches = -(-killed_label.EXAMPLES // killed_label.BATCH)
    assert len(asked(out)) == batches
    assert sorted(whole) == ["feature1.0000.npy", "manifest.json", "output.0000.npy"]


def test_killed_in_the_middle_of_any_write(whole, tmp_path):
    """All writes of rows, journal lines, headers and manifests; by SIGKILL after half of each."""
    seed = random.randrange(10**6)
    kills = random.Random(seed).sample(range(4, WRITES), 3)
    torn = 0
    for kill in [1, 3, *kills]:
        out = tmp_path / f"store{kill}"
        torn += start(out, str(kill)).wait() == -signal.SIGKILL
        assert done(out) == whole, f"killed in write {kill}; seed {seed}"
    assert torn >= 2


def test_killed_again_and_again_at_random_moments(whole, tmp_path):
    """Nothing finished is done again: each kill costs at most the work of a block or two."""
    seed = random.randrange(10**6)
    rng, out = random.Random(seed), tmp_path / "store"
    kills = 0
    for _ in range(4):
        child, before = start(out, "slow"), len(asked(out))
        while len(asked(out)) == before and child.poll() is None:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.12))  # the pauses of a whole labelling alone take longer
        child.kill()
        if child.poll() != -signal.SIGKILL:
            break
        kills += 1
    assert done(out) == whole, f"seed {seed}"
    assert kills >= 1
    assert len(list(TargetStore.open(out).verify())) == 0
    block = 1024 // killed_label.BATCH
    batches = -(-killed_label.EXAMPLES // killed_label.BATCH)
    assert len(asked(out)) <= batches + kills * (block + 1)


def test_two_processes_fill_one_store_and_one_takes_it_up(whole, tmp_path):
    out = tmp_path / "store"
    for child in start_pair(out):
        child.finish()
    assert content(out) == whole
    batches = -(-killed_label.EXAMPLES // killed_label.BATCH)
    assert len(asked(out)) == batches + 1  # the second process asks for a first batch, for shapes
    cut = tmp_path / "cut"
    children = start_pair(cut, "slow")
    until = time.monotonic() + 60
    while not any(path.stat().st_size for path in cut.glob("journal.*")):
        assert time.monotonic() < until
        time.sleep(0.001)
    for child in children:
        child.kill()
    assert all(child.poll() == -signal.SIGKILL for child in children)
    assert done(cut) == whole
