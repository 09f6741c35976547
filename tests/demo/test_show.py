"""`tutelage demo` writes a report and its results to a folder, which it checks first."""

import pytest
from typer.testing import CliRunner

from tutelage.cli import app
from tutelage.demo import show
from tutelage.demo.show import show_demo
from tutelage.errors import ArgumentError, RunFolderError
from tutelage.results.record import read_record

FILES = ["report.html", "report.json", "report.md", "results.json"]


@pytest.fixture
def idle(monkeypatch):
    """Let a demo that begins to work fail the test."""

    def begun(*_, **__):
        pytest.fail("the work began before the folder was looked at")

    monkeypatch.setattr(show, "run_demo", begun)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_second_demo_replaces_the_first_and_the_report_can_be_made_again(
    results, settings, tmp_path, monkeypatch
):
    calls = []
    monkeypatch.setattr(show, "run_demo", lambda given, **_: calls.append(given) or results)
    for _ in range(2):
        assert show_demo(settings, tmp_path / "demo") is results
        assert names(tmp_path / "demo") == FILES
        assert read_record(tmp_path / "demo" / "results.json") == results
    assert calls == [settings, settings]
    tmp_path /= "demo"
    (tmp_path / "report.html").unlink()
    done = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert results.title in (tmp_path / "report.html").read_text()
    assert names(tmp_path) == FILES


@pytest.mark.usefixtures("idle")
def test_a_folder_that_cannot_be_made_is_named_before_any_work(settings, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="`out` must be a folder that can be written"):
        show_demo(settings, tmp_path / "file" / "demo")


@pytest.mark.usefixtures("idle")
def test_a_folder_that_cannot_be_written_is_named_before_any_work(settings, tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(RunFolderError, match="choose another"):
        show_demo(settings, tmp_path)


@pytest.mark.usefixtures("idle")
def test_other_files_are_not_overwritten(settings, tmp_path):
    (tmp_path / "report.md").write_text("mine")
    with pytest.raises(ArgumentError, match="must not make a report overwrite other files"):
        show_demo(settings, tmp_path)
