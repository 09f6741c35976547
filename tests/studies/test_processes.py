"""Studies in real processes: killed at any moment, or several at once."""

import json
import random
import signal
import time

import pytest

from children import PROGRAMS, Child


def start(out, marks, pause=0.0, name="errors"):
    return Child(PROGRAMS / "study.py", (out, marks), out.with_name(name), PAUSE=str(pause))


def found(out):
    """Return the results without what depends on the clock."""
    content = json.loads((out / "results.json").read_text(encoding="utf-8"))
    for arm in content["arms"]:
        for trial in arm["trials"]:
            trial.pop("seconds")
        (arm["tuning"] or {}).pop("seconds", None)
    return {key: content[key] for key in ("arms", "comparisons", "against_teacher", "primary")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where a study has been carried out without interruption."""
    folder = tmp_path_factory.mktemp("whole")
    start(folder / "out", folder / "marks").finish()
    return folder


@pytest.fixture(scope="module")
def whole(folder):
    return found(folder / "out")


def test_killed_again_and_again_it_finds_the_same(whole, tmp_path):
    out, marks, generator, kills = tmp_path / "out", tmp_path / "marks", random.Random(0), 0
    for wanted in (1, 3, 6, 9):  # files of trials that are begun
        process = start(out, marks)
        while len(list(out.glob("trials/*/run/last.pt"))) < wanted and process.poll() is None:
            time.sleep(0.002)
        time.sleep(0.1 * generator.random())
        process.kill()
        kills += process.poll() == -signal.SIGKILL
        done = set(out.glob("trials/*/trial.json"))
    assert kills >= 2
    start(out, marks).finish()
    assert done <= set(out.glob("trials/*/trial.json"))
    assert found(out) == whole


def test_what_is_done_is_not_done_again(folder, whole):
    out, marks = folder / "out", folder / "marks"
    times = {path: path.stat().st_mtime_ns for path in out.glob("trials/*/trial.json")}
    before = {path: path.stat().st_mtime_ns for path in out.glob("trials/*/outputs-*.npy")}
    assert (len(times), len(before)) == (13, 25)  # one is a setting that was not chosen
    lines = len(marks.read_text().splitlines())
    start(out, marks).finish()
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(marks.read_text().splitlines()) == lines  # the function's students are kept
    assert found(out) == whole


def test_two_processes_share_the_trials(whole, tmp_path):
    out, marks = tmp_path / "out", tmp_path / "marks"
    for process in [start(out, marks, 0.3, name) for name in ("first", "second")]:
        process.finish()
    lines = [line.split() for line in marks.read_text().splitlines()]
    trained = [seed for seed, _ in lines]
    assert sorted(trained) == ["0", "1", "2", "3"]
    assert len({process for _, process in lines}) == 2
    assert found(out) == whole


def test_a_trial_of_a_dead_process_is_taken_over(whole, tmp_path):
    out, marks = tmp_path / "out", tmp_path / "marks"
    first = start(out, marks, 600.0, "first")
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
    assert len(marks.read_text().splitlines()) == 1 + 3
    first.kill()
    second.finish()
    assert found(out) == whole
