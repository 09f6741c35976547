"""A report's three files: whole or not at all, and no one else's file overwritten."""

from dataclasses import replace
from pathlib import Path

import pytest

import tutelage as tl
from tutelage.reports.page import Page, Section, render, render_markdown, write_report
from tutelage.results.record import ArmRecord, Record, TrialRecord, read_record

RECORD = Record("Title", None, (ArmRecord("student", (TrialRecord(),)),), "student", {}, {}, {})
PAGE = Page("Title", "It works.", (Section("Heading", ("Text.",)),))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_report_is_three_files(tmp_path):
    path = write_report(PAGE, tmp_path / "new" / "page.html", RECORD)
    assert path == tmp_path / "new" / "page.html"
    assert names(path.parent) == ["page.html", "page.json", "page.md"]
    assert path.read_text(encoding="utf-8") == render(PAGE)
    assert path.with_suffix(".md").read_text(encoding="utf-8").startswith(render_markdown(PAGE))
    assert read_record(path.with_suffix(".json")) == RECORD


def test_a_report_may_be_written_again(tmp_path):
    for verdict in ("first", "second"):
        record = replace(RECORD, title=verdict)
        path = write_report(Page("t", verdict, ()), tmp_path / "page.html", record)
    assert "second" in path.read_text(encoding="utf-8")
    assert read_record(path.with_suffix(".json")).title == "second"


@pytest.mark.parametrize("name", ["page", "page.htm", "page.md", "page.json", "page.HTML"])
def test_another_ending_is_refused(name, tmp_path):
    with pytest.raises(tl.ArgumentError, match=r"`path` must end in \.html, got .*page"):
        write_report(PAGE, tmp_path / name, RECORD)
    assert names(tmp_path) == []


@pytest.mark.parametrize("other", ["README.md", "run.json"])
def test_other_peoples_files_are_left_alone(other, tmp_path):
    (tmp_path / other).write_text("mine")
    with pytest.raises(tl.ArgumentError, match="must not make a report overwrite other files"):
        write_report(PAGE, (tmp_path / other).with_suffix(".html"), RECORD)
    assert names(tmp_path) == [other]
    assert (tmp_path / other).read_text() == "mine"


def test_what_cannot_be_written_leaves_the_old_file_whole(tmp_path, monkeypatch):
    path = write_report(PAGE, tmp_path / "page.html", RECORD)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(tl.RunFolderError, match="report must be written to"):
        write_report(Page("New", "v", ()), path, RECORD)
    assert path.read_text(encoding="utf-8") == render(PAGE)
    assert names(tmp_path) == ["page.html", "page.json", "page.md"]


def test_a_path_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(tl.RunFolderError, match="report must be written to"):
        write_report(PAGE, tmp_path / "file" / "page.html", RECORD)
