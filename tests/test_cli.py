"""The shell: quick to answer, one line for an error, and a demo that writes what it prints."""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

import tutelage
from tutelage.cli import app


def invoke(*arguments):
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "100", "TERM": "dumb"})


def test_the_version():
    done = invoke("--version")
    assert (done.exit_code, done.output) == (0, f"tutelage {tutelage.__version__}\n")


def test_help_names_the_commands():
    done = invoke("--help")
    assert done.exit_code == 0
    assert "demo" in done.output


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


def test_the_quick_demo_writes_what_it_prints(tmp_path):
    out = tmp_path / "demo"
    done = invoke("demo", "--quick", "--out", str(out))
    assert done.exit_code == 0, done.output
    assert (out / "report.html").stat().st_size < 2_000_000
    record = json.loads((out / "results.json").read_text())
    assert record["settings"]["quick"] is True
    assert record["settings"]["seeds"] == 2
    assert f"{100 * record['teacher']['accuracy']['mean']:.1f}" in done.stdout
    for arm in record["arms"]:
        for figure in ("accuracy", "agreement"):
            interval = arm[figure]
            half = (interval["high"] - interval["low"]) / 2
            assert f"{100 * interval['mean']:.1f} ± {100 * half:.1f}" in done.stdout
    for size in (record["teacher"]["size"], record["student_size"]):
        assert f"{size['parameters']:,}" in done.stdout
    gain = record["comparisons"][-1]["interval"]["mean"]
    assert f"{abs(100 * gain):.1f} points" in done.stdout
    assert str(out / "report.html") in done.stdout.replace("\n", "")
