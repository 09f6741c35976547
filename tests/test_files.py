"""Files are there whole or not at all, and a lock is one process's."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tutelage.files import LogWriter, locked, remove_drafts, write_json, write_whole


def test_an_error_in_the_middle_leaves_the_former_file_and_no_draft(tmp_path):
    path = tmp_path / "file"
    write_whole(path, b"old")

    def half(draft):
        draft.write_bytes(b"ne")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_whole(path, half)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_content_is_on_the_disk_before_the_name_and_the_name_after(tmp_path, monkeypatch):
    events, replace = [], Path.replace

    def flushed(descriptor):
        events.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "content")

    def renamed(draft, path):
        events.append("name")
        return replace(draft, path)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(Path, "replace", renamed)
    for content in (b"text", lambda draft: draft.write_bytes(b"text")):
        events.clear()
        write_whole(tmp_path / "file", content)
        assert events == ["content", "name", "folder"]


def test_content_and_functions_write_the_same(tmp_path):
    write_whole(tmp_path / "one", b"text")
    write_whole(tmp_path / "other", lambda draft: draft.write_bytes(b"text"))
    one, other = ((tmp_path / name).stat() for name in ("one", "other"))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()
    assert one.st_mode == other.st_mode


def test_drafts_of_killed_processes_are_removed(tmp_path):
    (tmp_path / ".last.pt.123.draft").write_bytes(b"half")
    write_json(tmp_path / "run.json", {"a": 1})
    remove_drafts(tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["run.json"]


def test_a_lock_of_another_process_is_not_ours_until_that_ends(tmp_path):
    lock = tmp_path / ".lock"
    program = "import sys; from pathlib import Path\nfrom tutelage.files import locked\n" \
              "with locked(Path(sys.argv[1])) as it: print(it, flush=True); input()"  # fmt: skip
    command = [sys.executable, "-c", program, str(lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"True\n"
        with locked(lock) as ours:
            assert not ours
        other.kill()
    with locked(lock) as ours:
        assert ours


def test_a_log_is_cut_to_its_length_and_has_null_for_non_finite_numbers(tmp_path):
    path = tmp_path / "log.jsonl"
    log = LogWriter(path)
    log.write({"loss": float("nan"), "step": 1})
    length = log.length()
    log.write({"loss": 2.0, "step": 2})
    log.close()
    log = LogWriter(path, length)
    assert log.length() == length
    log.write({"loss": 3.0, "step": 2})
    log.close()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines == [{"loss": None, "step": 1}, {"loss": 3.0, "step": 2}]
