"""The report of a run from its folder: what was measured before, else what the log has."""

import json
import re
import shutil

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import tutelage as tl
from tutelage.reports.report import report_record
from tutelage.results.record import read_record
from tutelage.training.record import read_run

INPUTS = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
CLASSES = (INPUTS[:, 0] > 0).long()
DATA = TensorDataset(INPUTS, CLASSES)


def train(out, **options):
    torch.manual_seed(0)
    student = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    options = {"train": DATA, "val": DATA, "objective": tl.SoftTargets(2), "epochs": 3} | options
    return tl.distill(nn.Linear(4, 2), student, out=out, **options)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run and its folder with a report; tests copy it."""
    out = tmp_path_factory.mktemp("runs") / "run"
    run = train(out)
    run.report()
    return run, out


@pytest.fixture
def folder(made, tmp_path):
    return shutil.copytree(made[1], tmp_path / "run")


def report_run(folder, path=None):
    return report_record(read_run(folder), folder / "report.html" if path is None else path)


def sections(html):
    return re.findall(r"<h2 id=[^>]*>([^<]*)<", html)


def test_what_was_measured_is_taken_over_again_and_again(made, folder):
    before = read_record(folder / "report.json")
    assert before.measured
    for _ in range(2):
        assert report_run(folder) == folder / "report.html"
        assert read_record(folder / "report.json") == before
    html = (folder / "report.html").read_text()
    assert html == (made[1] / "report.html").read_text()
    assert "log only" not in html


def test_without_it_the_log_has_to_do(made, folder):
    run = made[0]
    (folder / "report.json").unlink()
    html = report_run(folder, folder / "again.html").read_text()
    assert (folder / "again.md").exists()
    best = next(each for each in run.history if each["epoch"] == run.best_epoch)
    record = read_record(folder / "again.json")
    assert not record.measured
    (student,) = record.arms
    assert student.trials[0].best_epoch == run.best_epoch
    assert student.metrics["accuracy"] == best["val/accuracy"]
    text = html.replace("\N{NO-BREAK SPACE}", " ")
    accuracy = 100 * best["val/accuracy"]
    assert f"On 40 validation examples the student has an accuracy of {accuracy:.1f} %" in text
    for head in ("Results", "Cost", "Learning curves", "Settings and versions"):
        assert head in sections(html)
    assert "Calibration" not in sections(html)
    assert "is based on the log only" in html
    assert "not finished" not in html


def test_parameters_are_counted_from_the_weights_file(made, folder):
    (folder / "report.json").unlink()
    cost = read_run(folder).models["student"].cost
    state = made[0].student.state_dict().values()
    assert cost.parameters == sum(each.numel() for each in state)
    assert cost.file_bytes == (folder / "student.safetensors").stat().st_size


def test_a_running_run_is_told_as_far_as_it_is(folder):
    (folder / "report.json").unlink()
    (folder / "student.safetensors").unlink()
    log = (folder / "metrics.jsonl").read_bytes()
    cut = log.index(b'"epoch": 3')
    (folder / "metrics.jsonl").write_bytes(log[:cut])  # within a line: it is being written
    for best in folder.glob("best-*"):
        best.rename(folder / "best-2.safetensors")
    html = report_run(folder).read_text()
    assert "This run is not finished: 2 of 3 epochs are done." in html
    assert read_run(folder).arms[0].trials[0].best_epoch == 2
    assert read_run(folder).models["student"].cost is not None


def test_a_report_of_another_run_counts_for_nothing(folder):
    path = folder / "report.json"
    record = json.loads(path.read_text())
    record["arms"][0]["settings"]["seed"] = 7
    path.write_text(json.dumps(record))
    assert not read_run(folder).measured


def test_values_and_their_misses_survive_the_file(tmp_path):
    values = TensorDataset(INPUTS, INPUTS[:, :1])
    run = tl.fit(
        nn.Linear(4, 1), train=values, val=values, objective=tl.LabelRegression(), epochs=1,
        out=tmp_path / "run",
    )  # fmt: skip
    before = run.report().read_text()
    after = report_run(tmp_path / "run").read_text()
    figure = re.compile(r'aria-label="[^"]*whose true[^"]*"')
    assert figure.findall(before) == figure.findall(after) != []


def test_a_null_in_the_log_is_no_number(tmp_path):
    metrics = {"odd": lambda *_: float("nan")}
    train(tmp_path / "run", metrics=metrics, epochs=1)
    assert '"val/odd": null' in (tmp_path / "run" / "metrics.jsonl").read_text()
    html = report_run(tmp_path / "run").read_text()
    assert "odd" not in html


def test_without_validation_the_last_epoch_is_told(tmp_path):
    run = train(tmp_path / "run", val=None)
    trial = read_run(tmp_path / "run").arms[0].trials[0]
    assert trial.best_epoch == run.best_epoch == 3
    assert "The training loss went from" in report_run(tmp_path / "run").read_text()


def test_a_loaders_examples_are_not_known(tmp_path):
    train(tmp_path / "run", val=DataLoader(DATA, 16), epochs=1)
    assert "On the validation examples" in report_run(tmp_path / "run").read_text()


def damage(name, text):
    return lambda folder: (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (
            lambda folder: (folder / "run.json").unlink(),
            r"run\.json must be as `distill.*FileNotFoundError",
        ),
        (damage("run.json", "{"), r"run\.json must be as `distill.*, got"),
        (damage("run.json", "[]"), r"run\.json must be as `distill.*, got"),
        (damage("run.json", '{"run": {}, "made_with": {}}'), "got KeyError: 'objective'"),
        (
            lambda folder: (folder / "metrics.jsonl").unlink(),
            r"metrics\.jsonl must be as .*FileNotFoundError",
        ),
        (damage("metrics.jsonl", ""), "must have one epoch at least, got none; wait"),
        (damage("metrics.jsonl", '{"kind"\n'), r"metrics\.jsonl must be as `distill"),
        (damage("metrics.jsonl", '{"kind": "epoch"}\n'), "got KeyError: 'epoch'"),
        (damage("report.json", "{"), "report.json must be a record of the format"),
    ],
)
def test_what_is_missing_or_damaged_is_named(harm, message, folder):
    harm(folder)
    with pytest.raises(tl.RunFolderError, match=message):
        report_run(folder, folder / "again.html")
    assert not (folder / "again.html").exists()


def test_a_damaged_record_is_named(folder):
    path = folder / "report.json"
    record = json.loads(path.read_text())
    del record["models"]["student"]["name"]
    path.write_text(json.dumps(record))
    with pytest.raises(
        tl.RunFolderError, match=r"report.json must be a record (?s:.)*models.student.name"
    ):
        read_run(folder)


@pytest.mark.parametrize("content", [b"", b"\xff" * 8, b"\x02" + bytes(7) + b"[]", bytes(30)])
def test_a_damaged_weights_file_is_named(content, folder):
    (folder / "report.json").unlink()
    (folder / "student.safetensors").write_bytes(content)
    with pytest.raises(tl.RunFolderError, match=r"student\.safetensors must be as `distill"):
        read_run(folder)
