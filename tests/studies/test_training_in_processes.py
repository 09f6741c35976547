"""`Training(processes=...)`: equal results to the bit, whatever happens to the processes."""

import json
import os
import signal
import threading
import time
from contextlib import contextmanager

import psutil
import pytest
import torch

import tutelage as tl
from children import PROGRAMS, Child
from tutelage.studies.processes import shared

SECONDS = 240


@contextmanager
def started(folder, *options):
    arguments = (folder / "out", folder / "marks", *options)
    child = Child(PROGRAMS / "study_processes.py", arguments, folder / "errors")
    try:
        yield child
    finally:
        child.kill()
        child.wait(SECONDS)


def finished(folder, *options):
    """Return the results without what depends on the clock."""
    with started(folder, *options) as child:
        child.finish()
    content = json.loads((folder / "out" / "results.json").read_text(encoding="utf-8"))
    for arm in content["arms"]:
        for trial in arm["trials"]:
            trial.pop("seconds")
        (arm["tuning"] or {}).pop("seconds", None)
    kept = ("arms", "comparisons", "against_teacher", "primary")
    return {key: content[key] for key in kept}


def pids(folder):
    marks = folder / "marks"
    return {int(line) for line in marks.read_text().split()} if marks.exists() else set()


def wait_for(condition):
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def has_ended(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return finished(tmp_path_factory.mktemp("alone"), "1")


def test_two_processes_find_the_same_to_the_bit(alone, tmp_path):
    """Also where models and functions are a script's own."""
    assert finished(tmp_path, "2") == alone
    assert (tmp_path / "errors").read_text() == ""
    assert len(pids(tmp_path)) == 2
    assert len(list(tmp_path.glob("out/trials/*"))) == 7  # both had the same keys


def test_a_process_that_dies_leaves_its_trials_to_the_first(alone, tmp_path):
    assert finished(tmp_path, "2", "die") == alone
    assert len(pids(tmp_path)) == 2
    assert "1 of 2 processes ended before the study's trials" in (tmp_path / "errors").read_text()


def test_the_others_end_when_the_first_is_killed(tmp_path):
    with started(tmp_path, "2", "hang") as first:
        wait_for(lambda: len(pids(tmp_path)) == 2)
        first.kill()
        wait_for(lambda: all(map(has_ended, pids(tmp_path))))


def test_ctrl_c_reaches_the_others_through_the_first(tmp_path):
    with started(tmp_path, "2", "hang") as first:
        wait_for(lambda: len(pids(tmp_path)) == 2)
        (other,) = pids(tmp_path) - {first.pid}
        os.kill(other, signal.SIGINT)  # a terminal sends it to both
        time.sleep(0.2)
        assert not has_ended(other)
        os.kill(first.pid, signal.SIGINT)
        assert first.wait(SECONDS) != 0
    assert has_ended(other)
    errors = (tmp_path / "errors").read_text()
    assert "KeyboardInterrupt" in errors
    assert "<string>" not in errors  # nothing of the other process


def test_work_that_cannot_be_pickled_is_refused_before_any_of_it(setup, tmp_path):
    lock = threading.Lock()

    def locked(_):
        with lock:
            pytest.fail("the work began")

    training = tl.Training(processes=2)
    with pytest.raises(tl.ArgumentError, match="must be picklable for `processes` > 1"):
        setup.study(arms={"mine": locked}, training=training, out=tmp_path)


def test_an_error_of_a_trial_is_raised_by_the_first_process(setup, capfd):
    def fails(_):
        raise tl.DataError("no such data")

    with pytest.raises(tl.DataError, match="no such data"):
        setup.study(arms={"mine": fails}, training=tl.Training(processes=2))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("number", [0, -1, 1.5, "2"])
def test_the_number_is_checked(number):
    with pytest.raises(tl.ArgumentError, match="`processes` must be"):
        tl.Training(processes=number)


def test_the_threads_are_divided_and_given_back():
    before = torch.get_num_threads()
    try:
        for own, expected in ((4, 2), (1, 1)):
            torch.set_num_threads(own)
            with shared(print, 2):
                assert torch.get_num_threads() == expected
            assert torch.get_num_threads() == own
    finally:
        torch.set_num_threads(before)
