"""A labelling that is killed and called again ends with the bytes of one that was not."""

import os
import random
import subprocess
import sys
import time
import warnings
from contextlib import suppress
from pathlib import Path

import pytest

from programs import killed_label
from tutelage.store import TargetStore

PROGRAM = Path(__file__).parents[1] / "programs" / "killed_label.py"
WRITES = 115  # of an uninterrupted labelling


def start(out, how="0", processes=1):
    """Start a labelling; errors go to a file beside the store."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    command = [sys.executable, *(launcher if processes > 1 else ["-W", "error"]), str(PROGRAM)]
    with out.with_name(f"{out.name}.errors").open("w") as errors:
        return subprocess.Popen(
            [*command, str(out), str(marks_of(out)), how], stderr=errors, stdout=errors
        )


def marks_of(out):
    return out.with_name(f"{out.name}.marks")


def finish(out, processes=1):
    process = start(out, processes=processes)
    assert process.wait(timeout=120) == 0, out.with_name(f"{out.name}.errors").read_text()
    return content(out)


def content(out):
    files = (path for path in sorted(out.iterdir()) if path.name != ".lock")
    return {path.name: path.read_bytes() for path in files}


def asked(out):
    """How often the teacher was asked about the examples of each batch."""
    return marks_of(out).read_text().splitlines() if marks_of(out).exists() else []


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return finish(tmp_path_factory.mktemp("whole") / "store")


def forked(out, how):
    """Label in a child of this process, which spares it the imports; return its id."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of other threads, which sleep
        child = os.fork()
    if child == 0:
        code = 1
        with suppress(BaseException):
            killed_label.main(str(out), str(marks_of(out)), how)
            code = 0
        os._exit(code)
    return child


def done(out):
    """Carry a labelling to its end, in a child."""
    _, status = os.waitpid(forked(out, "0"), 0)
    assert status == 0
    return content(out)


def test_an_uninterrupted_labelling_asks_once_for_each_batch(whole, tmp_path):
    out = tmp_path / "store"
    assert done(out) == whole
    batches = -(-killed_label.EXAMPLES // killed_label.BATCH)
    assert len(asked(out)) == batches + 1  # the first batch once more, for the shapes
    assert sorted(whole) == ["feature1.0000.npy", "manifest.json", "output.0000.npy"]


def test_killed_in_the_middle_of_any_write(whole, tmp_path):
    """All writes of rows, journal lines, headers and manifests; by SIGKILL after half of each."""
    seed = random.randrange(10**6)
    kills = random.Random(seed).sample(range(4, WRITES), 5)
    torn = 0
    for kill in [1, 3, *kills]:
        out = tmp_path / f"store{kill}"
        _, status = os.waitpid(forked(out, str(kill)), 0)
        torn += os.WIFSIGNALED(status)
        assert done(out) == whole, f"killed in write {kill}; seed {seed}"
    assert torn >= 2


def test_killed_again_and_again_at_random_moments(whole, tmp_path):
    """Nothing finished is done again: each kill costs at most the work of a block or two."""
    seed = random.randrange(10**6)
    rng, out = random.Random(seed), tmp_path / "store"
    kills = 0
    for _ in range(60):
        child = forked(out, "slow")
        time.sleep(rng.uniform(0.05, 0.12))
        os.kill(child, 9)
        _, status = os.waitpid(child, 0)
        kills += os.WIFSIGNALED(status)
        if not os.WIFSIGNALED(status):
            break
    assert done(out) == whole, f"seed {seed}"
    assert kills >= 1
    assert len(list(TargetStore.open(out).verify())) == 0
    block = 1024 // killed_label.BATCH
    batches = -(-killed_label.EXAMPLES // killed_label.BATCH)
    assert len(asked(out)) <= batches + 1 + kills * (block + 1)


def test_two_processes_fill_one_store_and_one_takes_it_up(whole, tmp_path):
    out = tmp_path / "store"
    assert finish(out, processes=2) == whole
    batches = -(-killed_label.EXAMPLES // killed_label.BATCH)
    assert len(asked(out)) == batches + 2  # a first batch each
    cut = tmp_path / "cut"
    process = start(cut, "slow", processes=2)
    journals = []
    while not any(path.stat().st_size for path in journals):
        assert process.poll() is None, cut.with_name("cut.errors").read_text()
        time.sleep(0.005)
        journals = list(cut.glob("journal.*"))
    children = subprocess.run(
        ["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True
    )
    for child in children.stdout.split():
        os.kill(int(child), 9)
    process.wait(timeout=60)
    assert done(cut) == whole
