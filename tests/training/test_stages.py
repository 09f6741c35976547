"""Stages: the runs that they stand for, one after another, as one run."""

import signal
from functools import partial

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import TensorDataset
from torchmetrics.classification import MulticlassRecall
from typer.testing import CliRunner

import tutelage as tl
from children import PROGRAMS, Child
from tutelage.cli import app
from tutelage.reports.page import render
from tutelage.reports.report import record_page
from tutelage.training.record import read_run
from tutelage.training.stages import _SEEDS_APART

INPUTS = torch.randn(48, 5, generator=torch.Generator().manual_seed(1))
DATA = TensorDataset(INPUTS, torch.arange(48) % 3)
QUIET = tl.Engine(device="cpu", progress=False)
HINT, SOFT = tl.FeatureMatch({"0": "0"}), tl.SoftTargets(2)


def student():
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Dropout(0.1), nn.Linear(4, 4), nn.Linear(4, 3)
    )


def teacher():
    torch.manual_seed(2)
    return nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 6), nn.Linear(6, 3))


def common(**changes):
    return {"train": DATA, "val": DATA, "batch_size": 16, "seed": 3, "engine": QUIET} | changes


def two_stages():
    return [tl.Stage(HINT, 2, name="hint"), tl.Stage(SOFT, 3, ["3", "4"], name="answer")]


def distill(stages=None, **changes):
    ours = changes.pop("student", None) or student()
    return tl.distill(teacher(), ours, stages=stages or two_stages(), **common(**changes))


def equal(one, other):
    state = other.state_dict()
    return all(torch.equal(each, state[name]) for name, each in one.state_dict().items())


def without_seconds(history):
    return [{key: value for key, value in each.items() if key != "seconds"} for each in history]


class TestEqualToTheCallsByHand:
    @pytest.fixture(params=[None, "folder"])
    def run(self, request, tmp_path):
        return distill(out=tmp_path / "run" if request.param else None)

    def test_weights_history_and_best_epoch(self, run):
        ours = student()
        first = tl.distill(teacher(), ours, objective=HINT, epochs=2, **common())
        for part in (0, 1):
            ours[part].requires_grad_(requires_grad=False)
        second = tl.distill(
            teacher(), ours, objective=SOFT, epochs=3, **common(seed=3 + _SEEDS_APART)
        )
        assert equal(run.student, second.student)
        expected = without_seconds(first.history + second.history)
        steps = first.history[-1]["step"]
        for place, record in enumerate(expected):
            later = place >= 2
            record |= {"epoch": place + 1, "step": record["step"] + steps * later}
            record["stage"] = "2-answer" if later else "1-hint"
        assert without_seconds(run.history) == expected
        assert run.best_epoch == 2 + second.best_epoch
        assert [record["seconds"] for record in run.history] == sorted(
            record["seconds"] for record in run.history
        )

    def test_it_is_told_as_one_run(self, run):
        assert run.settings["epochs"] == 5
        assert run.settings["seed"] == 3
        assert run.settings["objective"] == f"{HINT}; then {SOFT}"
        assert run.settings["stages"]["epochs"] == {"1-hint": 2, "2-answer": 3}
        assert set(run.settings["stages"]["frozen"]) == {"1-hint", "2-answer"}
        assert not run.student.training
        assert run.objective.terms()[0].name == "soft_targets"


def test_an_objective_of_two_stages_keeps_its_projectors():
    shared, ends = tl.FeatureMatch({"0": "0"}), []

    class Ending(torch.optim.SGD):
        """Tells the projector's weights at its first step."""

        def step(self, closure=None):
            if not self.state:
                ends.append([each.clone() for each in self.param_groups[0]["params"]])
            return super().step(closure)

    make = partial(Ending, lr=0.05, momentum=0.5)
    run = distill([tl.Stage(shared, 2), tl.Stage(shared + SOFT, 1)], optimizer=make, val=None)
    first, second = ends[0][-2:], ends[-1][-2:]
    assert [each.shape for each in first] == [each.shape for each in second]
    assert not torch.equal(first[0], second[0])  # it had learnt before the second stage began
    assert not shared.built
    alone = distill([tl.Stage(shared, 2)], optimizer=make, val=None)
    assert torch.equal(alone.objective.projectors[0].weight, second[0])
    assert run.objective.terms()[0].objective.projectors[0].weight.shape == (6, 4)


def test_each_stage_may_have_its_own_optimiser_schedule_and_monitor():
    made = []

    def optimizer(name):
        def make(parameters):
            made.append(name)
            return torch.optim.SGD(parameters, lr=0.1)

        return make

    def scheduler(optimizer, steps):
        made.append(steps)
        return torch.optim.lr_scheduler.ConstantLR(optimizer)

    stages = [
        tl.Stage(SOFT, 1, optimizer=optimizer("one"), scheduler=scheduler),
        tl.Stage(SOFT, 2, monitor="loss"),
    ]
    run = distill(stages, optimizer=optimizer("all"), monitor="accuracy")
    assert made == ["one", 3, "all"]
    assert "loss" in run.settings["stages"]["monitor"]["2-stage"]


def test_the_runs_metrics_and_monitor_do_not_bind_a_stage_without_output():
    metrics = {"mine": lambda outputs, labels: float(len(outputs) == len(labels))}
    history = distill(metrics=metrics, monitor="accuracy").history
    assert ["val/mine" in record for record in history] == [False, False, True, True, True]


def test_a_stages_monitor_may_be_a_metric_that_tells_its_own_direction():
    metric = MulticlassRecall(3)
    [record] = distill([tl.Stage(SOFT, 1, monitor="recall")], metrics={"recall": metric}).history
    assert 0 <= record["val/recall"] <= 1


class TestFolder:
    def test_a_finished_call_returns_what_is_there(self, tmp_path):
        first = distill(out=tmp_path)
        times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/last.pt")}
        assert len(times) == 2
        fresh = student()
        again = distill(out=tmp_path, student=fresh)
        assert again.student is fresh
        assert equal(again.student, first.student)
        assert again.history == first.history
        assert again.best_epoch == first.best_epoch
        assert {path: path.stat().st_mtime_ns for path in times} == times
        saved = load_file(tmp_path / "student.safetensors")
        assert all(torch.equal(saved[name], each) for name, each in fresh.state_dict().items())

    @pytest.mark.parametrize(
        ("stages", "message"),
        [
            (two_stages()[:1], r"stages: \['1-hint', '2-answer'\] → \['1-hint'\]"),
            (two_stages()[::-1], "stages.0: '1-hint' → '1-answer'"),
            ([tl.Stage(HINT, 3, name="hint"), two_stages()[1]], "epochs: 5 → 6"),
            (
                [tl.Stage(HINT, 3, name="hint"), tl.Stage(SOFT, 2, ["3", "4"], "answer")],
                "epochs: 2 → 3",
            ),
            (
                [two_stages()[0], tl.Stage(tl.SoftTargets(3), 3, ["3", "4"], "answer")],
                "objective: ",
            ),
            ([two_stages()[0], tl.Stage(SOFT, 3, name="answer")], "frozen: '4 parameters"),
        ],
        ids=["fewer", "order", "epochs", "same sum", "objective", "trainable"],
    )
    def test_another_list_in_the_same_folder_is_refused(self, stages, message, tmp_path):
        distill(out=tmp_path)
        before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        with pytest.raises(tl.RunFolderError, match=f"(?s)differs in.*{message}"):
            distill(stages, out=tmp_path)
        assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def test_blocks_of_one_size_are_told_apart(self, tmp_path):
        ours = nn.Sequential(nn.Linear(5, 5), nn.Linear(5, 5), nn.Linear(5, 3))
        distill([tl.Stage(SOFT, 1, ["0"])], out=tmp_path, student=ours)
        with pytest.raises(tl.RunFolderError, match="frozen: "):
            distill([tl.Stage(SOFT, 1, ["1"])], out=tmp_path, student=ours)

    def test_a_run_at_once_and_one_in_stages_do_not_mix(self, tmp_path):
        distill(out=tmp_path / "staged")
        plain = {"objective": SOFT, "epochs": 3} | common()
        with pytest.raises(tl.RunFolderError, match="stages: "):
            tl.distill(teacher(), student(), out=tmp_path / "staged", **plain)
        tl.distill(teacher(), student(), out=tmp_path / "plain", **plain)
        with pytest.raises(tl.RunFolderError, match="stages: "):
            distill(out=tmp_path / "plain")


class TestKilled:
    def run(self, out, step=0):
        program = PROGRAMS / "killed_layers.py"
        return Child(program, (out, "stages", step), out.with_suffix(".errors"))

    def finish(self, out):
        self.run(out).finish()
        kept = torch.load(out / "2-answer" / "last.pt", weights_only=True)
        return load_file(out / "student.safetensors") | kept["distiller"]

    def test_in_the_middle_of_the_second_stage(self, tmp_path):
        whole, out = self.finish(tmp_path / "whole"), tmp_path / "run"
        assert self.run(out, step=2 * 8 + 12).wait() == -signal.SIGKILL
        kept = torch.load(out / "2-answer" / "last.pt", weights_only=True)
        assert kept["state"]["step"] == 11
        assert not kept["finished"]
        first = (out / "1-hint" / "last.pt").stat().st_mtime_ns
        self.report_of_what_is_there(out)
        found = self.finish(out)
        assert (out / "1-hint" / "last.pt").stat().st_mtime_ns == first
        assert found.keys() == whole.keys()
        for name, tensor in whole.items():
            assert torch.equal(found[name], tensor), name

    def report_of_what_is_there(self, out):
        done = CliRunner().invoke(app, ["report", str(out)])
        assert done.exit_code == 0, done.output
        html = (out / "report.html").read_text()
        assert "This run is not finished" in html
        assert "of 5 epochs are done" in html


class TestTrainable:
    def test_the_others_are_frozen_and_afterwards_as_they_were(self):
        ours = student()
        ours[4].bias.requires_grad_(requires_grad=False)
        flags = [each.requires_grad for each in ours.parameters()]
        before = {name: each.clone() for name, each in ours.state_dict().items()}
        distill([tl.Stage(SOFT, 1, ["3", "4"])], student=ours)
        changed = {
            name for name, each in ours.state_dict().items() if not torch.equal(each, before[name])
        }
        assert changed == {"3.weight", "3.bias", "4.weight"}  # nor the statistics of batch norm
        assert [each.requires_grad for each in ours.parameters()] == flags

    def test_flags_come_back_after_an_error(self):
        ours = student()
        broken = TensorDataset(INPUTS.clone().fill_(float("nan")))
        with pytest.raises(tl.NonFiniteError):
            distill([tl.Stage(SOFT, 1, ["4"])], student=ours, train=broken, val=None)
        assert all(each.requires_grad for each in ours.parameters())

    def test_an_unknown_path_is_found_before_the_first_stage_trains(self):
        ours = student()
        before = {name: each.clone() for name, each in ours.state_dict().items()}
        stages = [tl.Stage(SOFT, 1), tl.Stage(SOFT, 1, ["4", "hed"])]
        with pytest.raises(tl.ArgumentError, match=r"the student .* has no layer 'hed'; .*'4'"):
            distill(stages, student=ours)
        assert all(torch.equal(each, before[name]) for name, each in ours.state_dict().items())

    @pytest.mark.parametrize(
        ("stage", "message"),
        [
            (tl.Stage(tl.FeatureMatch({"9": "0"}), 1), r"student .* has no layer '9'"),
            (tl.Stage(tl.FeatureMatch({"0": "9"}), 1), r"teacher .* has no layer '9'"),
        ],
    )
    def test_so_are_the_layers_of_a_later_objective(self, stage, message, tmp_path):
        with pytest.raises(tl.ArgumentError, match=message):
            distill([tl.Stage(SOFT, 1), stage], out=tmp_path / "run")
        assert not (tmp_path / "run").exists()


class TestReport:
    def test_of_a_finished_run(self, tmp_path):
        run = distill(out=tmp_path)
        html = run.report().read_text()
        assert "1-hint" in html
        assert "; then " in html
        account = read_run(tmp_path)
        assert account.measured
        assert account.finished
        trial = account.arms[0].trials[0]
        losses = [record["train/loss"] for record in run.history]
        assert list(trial.curves["train/loss"].values) == losses
        assert trial.best_epoch == run.best_epoch
        assert "not finished" not in render(record_page(read_run(tmp_path)))

    def test_of_a_run_without_a_folder(self, tmp_path):
        assert "; then " in distill().report(tmp_path / "page.html").read_text()

    def test_of_a_folder_whose_second_stage_has_not_begun(self, tmp_path):
        distill(out=tmp_path)
        (tmp_path / "student.safetensors").unlink()
        (tmp_path / "2-answer" / "metrics.jsonl").write_text("")
        account = read_run(tmp_path)
        assert account.arms[0].trials[0].epochs == 2
        assert not account.finished
        assert "2 of 5 epochs are done" in render(record_page(read_run(tmp_path)))
