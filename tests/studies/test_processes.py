"""Studies in real processes: killed at any moment, or several at once."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[1] / "programs" / "study.py"


STARTED = []


def start(out, marks, pause=0.0):
    command = [sys.executable, str(PROGRAM), str(out), str(marks), str(pause)]
    pipe = subprocess.PIPE
    STARTED.append(subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True))
    return STARTED[-1]


@pytest.fixture(autouse=True)
def _nothing_left_running():
    yield
    for process in STARTED:
        if process.poll() is None:
            process.kill()
            process.communicate()
    STARTED.clear()


def finish(process):
    output, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors[-2000:]
    return output


def found(out):
    """Return the results without what depends on the clock."""
    content = json.loads((out / "results.json").read_text(encoding="utf-8"))
    for arm in content["arms"]:
        for trial in arm["trials"]:
            trial.pop("seconds")
    return {key: content[key] for key in ("arms", "comparisons", "against_teacher", "primary")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    finish(start(folder / "out", folder / "marks"))
    return found(folder / "out")


def test_killed_again_and_again_it_finds_the_same(whole, tmp_path):
    out, marks, generator = tmp_path / "out", tmp_path / "marks", random.Random(0)
    for wanted in (1, 3, 6, 9):  # files of trials that are begun
        process = start(out, marks)
        while len(list(out.glob("trials/*/run/last.pt"))) < wanted and process.poll() is None:
            time.sleep(0.002)
        time.sleep(0.2 * generator.random())
        process.send_signal(signal.SIGKILL)
        process.communicate()
        done = set(out.glob("trials/*/trial.json"))
        assert len(done) <= wanted + 3
    finish(start(out, marks))
    assert done <= set(out.glob("trials/*/trial.json"))
    assert found(out) == whole


def test_what_is_done_is_not_done_again(whole, tmp_path):
    out, marks = tmp_path / "out", tmp_path / "marks"
    finish(start(out, marks))
    times = {path: path.stat().st_mtime_ns for path in out.glob("trials/*/trial.json")}
    before = {path: path.stat().st_mtime_ns for path in out.glob("trials/*/outputs-*.npy")}
    lines = len(marks.read_text().splitlines())
    finish(start(out, marks))
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert {path: path.stat().st_mtime_ns for path in before} == before
    # The function is called once more, for its first student, and takes up the finished run.
    assert len(marks.read_text().splitlines()) == lines + 1
    assert found(out) == whole


def test_two_processes_share_the_trials(whole, tmp_path):
    out, marks = tmp_path / "out", tmp_path / "marks"
    both = [start(out, marks, 0.3) for _ in range(2)]
    for process in both:
        finish(process)
    lines = [line.split() for line in marks.read_text().splitlines()]
    trained = [seed for seed, _ in lines]
    # Each process asks for the first seed's student once more at the end.
    assert sorted(trained) == sorted(["0", "1", "2", "3", "0", "0"])
    assert len({process for _, process in lines}) == 2
    assert found(out) == whole


def test_a_trial_of_a_dead_process_is_taken_over(whole, tmp_path):
    out, marks = tmp_path / "out", tmp_path / "marks"
    first = start(out, marks, 600.0)
    deadline = time.monotonic() + 200
    while not marks.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    second = start(out, marks)
    while len(list(out.glob("trials/*/trial.json"))) < 12:  # all but the one that the first is at
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(1)
    assert second.poll() is None  # it waits
    first.send_signal(signal.SIGKILL)
    first.communicate()
    finish(second)
    assert found(out) == whole
