"""The shell: quick to answer, one line for an error, and pages where it says they are."""

import dataclasses
import json
import subprocess
import sys
from statistics import fmean

import pytest
import torch
from typer.testing import CliRunner

import tutelage
from tutelage.cli import app
from tutelage.demo import demo_settings


@pytest.fixture
def run(tmp_path):
    """The smallest of runs, in a folder."""
    data = torch.utils.data.TensorDataset(torch.randn(8, 4), torch.arange(8) % 2)
    student = torch.nn.Linear(4, 2)
    return tutelage.fit(student, train=data, val=data, epochs=2, out=tmp_path / "run")


def invoke(*arguments):
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "100", "TERM": "dumb"})


def test_the_version():
    done = invoke("--version")
    assert (done.exit_code, done.output) == (0, f"tutelage {tutelage.__version__}\n")


def test_help_names_the_commands():
    done = invoke("--help")
    assert done.exit_code == 0
    for command in ("demo", "report"):
        assert command in done.output


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_import_nothing_heavy(option):
    code = (
        "import sys\n"
        "from tutelage.cli import main\n"
        f"sys.argv = ['tutelage', {option!r}]\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code\n"
        "heavy = {'torch', 'numpy', 'scipy', 'sklearn', 'matplotlib', 'accelerate'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--seeds", "1"), "`seeds` must be at least 2, got 1"),
        (("--temperature", "0"), "`temperature` must be positive, got 0.0"),
    ],
)
def test_an_error_is_one_line_without_traceback(options, message, tmp_path):
    done = invoke("demo", *options, "--out", str(tmp_path / "demo"))
    assert done.exit_code == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert not (tmp_path / "demo").exists()


def test_a_folder_that_cannot_be_made_is_named_before_any_work(tmp_path):
    (tmp_path / "file").write_text("")
    done = invoke("demo", "--out", str(tmp_path / "file" / "demo"))
    assert done.exit_code == 1
    assert "`out` must be a folder that can be written" in done.stderr


def test_the_quick_demo_writes_what_it_prints(tmp_path, monkeypatch):
    """With still fewer steps than it has."""

    def fewer(*given):
        return dataclasses.replace(demo_settings(*given), steps=24, teacher_epochs=2)

    monkeypatch.setattr("tutelage.demo.demo_settings", fewer)
    monkeypatch.setattr("tutelage.studies.conclude._SECONDS", 0.02)
    out = tmp_path / "demo"
    done = invoke("demo", "--quick", "--out", str(out))
    assert done.exit_code == 0, done.output
    assert (out / "report.html").stat().st_size < 2_000_000
    assert "quick look" in (out / "report.html").read_text()
    record = json.loads((out / "results.json").read_text())
    assert record["command"] == "tutelage demo --seeds 2 --temperature 4 --quick"
    assert record["seeds"] == [0, 1]
    assert f"{100 * record['teacher']['trials'][0]['metrics']['accuracy']:.1f}" in done.stdout
    for arm in record["arms"]:
        for figure in ("accuracy", "agreement"):
            mean = fmean(trial["metrics"][figure] for trial in arm["trials"])
            found = arm["intervals"][figure]
            assert found["mean"] == pytest.approx(mean)
            half = max(found["high"] - mean, mean - found["low"])  # ends are cut off at 100 %
            too_wide = half > 0.5
            expected = f"{100 * mean:.1f}" if too_wide else f"{100 * mean:.1f} ± {100 * half:.1f}"
            assert expected in done.stdout
    for model in record["models"].values():
        assert f"{model['cost']['parameters']:,}" in done.stdout
    gain = min(  # over the strongest control
        each["interval"]["mean"]
        for each in record["comparisons"]
        if each["arm"] == record["primary"]
    )
    assert f"{abs(100 * gain):.1f} points" in done.stdout
    assert str(out / "report.html") in done.stdout.replace("\n", "")


def test_the_report_of_a_run_keeps_what_was_measured(run):
    run.report()
    done = invoke("report", str(run.out))
    assert (done.exit_code, done.stdout) == (0, f"Report: {run.out / 'report.html'}\n")
    assert "is based on the log only" not in (run.out / "report.html").read_text()


def test_the_report_of_a_run_rests_on_the_log_if_it_must(run, tmp_path):
    out = tmp_path / "pages" / "mine.html"
    done = invoke("report", str(run.out), "--out", str(out))
    assert done.exit_code == 0, done.output
    assert "is based on the log only" in out.read_text()
    assert sorted(path.suffix for path in out.parent.iterdir()) == [".html", ".json", ".md"]
    assert not (run.out / "report.html").exists()


@pytest.mark.parametrize("name", ["run.json", "metrics.jsonl"])
@pytest.mark.parametrize("damaged", [True, False])
def test_a_folder_that_is_no_whole_run_is_one_line(name, damaged, run):
    (run.out / name).write_text("{\n") if damaged else (run.out / name).unlink()
    done = invoke("report", str(run.out))
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: ")
    assert name in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (run.out / "report.html").exists()


def test_a_report_never_overwrites_the_run_itself(run):
    done = invoke("report", str(run.out), "--out", str(run.out / "run.html"))
    assert done.exit_code == 1
    assert "must not make a report overwrite other files" in done.stderr
