"""A labelling that is killed and called again ends with the bytes of one that was not."""

import os
import random
import socket
import subprocess
import sys
import time
import traceback
import warnings
from pathlib import Path

import pytest

from programs import killed_label
from tutelage.store import TargetStore

PROGRAM = Path(__file__).parents[1] / "programs" / "killed_label.py"
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


def forked(out, how="0", **environment):
    """Label in a child of this process, which spares it the imports; return its id."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of other threads, which sleep
        child = os.fork()
    if child == 0:
        code = 1
        os.environ.update(environment)
        try:
            killed_label.main(str(out), str(marks_of(out)), how)
            code = 0
        except BaseException:  # noqa: BLE001 - nothing of the parent's may run in the child
            traceback.print_exc()
        os._exit(code)
    return child


def pair(out, how="0"):
    """Label in two children that know of each other, as `torchrun` starts them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "ACCELERATE_USE_CPU": "true"}
    common |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    return [forked(out, how, RANK=rank, LOCAL_RANK=rank, **common) for rank in "01"]


def ended(child):
    """Wait for a child's end and return how it ended."""
    return os.waitpid(child, 0)[1]


def done(out):
    """Carry a labelling to its end, in a child."""
    assert ended(forked(out)) == 0
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
        torn += os.WIFSIGNALED(ended(forked(out, str(kill))))
        assert done(out) == whole, f"killed in write {kill}; seed {seed}"
    assert torn >= 2


def test_killed_again_and_again_at_random_moments(whole, tmp_path):
    """Nothing finished is done again: each kill costs at most the work of a block or two."""
    seed = random.randrange(10**6)
    rng, out = random.Random(seed), tmp_path / "store"
    kills = 0
    for _ in range(12):
        child = forked(out, "slow")
        time.sleep(rng.uniform(0.04, 0.18))  # the pauses of a whole labelling alone take longer
        os.kill(child, 9)
        if not os.WIFSIGNALED(ended(child)):
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
    assert [ended(child) for child in pair(out)] == [0, 0]
    assert content(out) == whole
    batches = -(-killed_label.EXAMPLES // killed_label.BATCH)
    assert len(asked(out)) == batches + 1  # the second process asks for a first batch, for shapes
    cut = tmp_path / "cut"
    children = pair(cut, "slow")
    until = time.monotonic() + 60
    while not any(path.stat().st_size for path in cut.glob("journal.*")):
        assert time.monotonic() < until
        time.sleep(0.001)
    for child in children:
        os.kill(child, 9)
    assert all(os.WIFSIGNALED(ended(child)) for child in children)
    assert done(cut) == whole
