"""Layers learnt through `distill`: projectors train, are clipped, kept, and thrown away."""

import random
import signal
from functools import partial

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import tutelage as tl
from children import PROGRAMS, Child, start_two

INPUTS = torch.randn(48, 5, generator=torch.Generator().manual_seed(1))
DATA = TensorDataset(INPUTS, torch.arange(48) % 3)
QUIET = tl.Engine(device="cpu", progress=False)
HINT = {"0": "0"}


def student():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))


def teacher():
    torch.manual_seed(2)
    return nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3))


def distill(**changes):
    good = {
        "teacher": teacher(),
        "student": student(),
        "train": DATA,
        "objective": tl.FeatureMatch(HINT),
        "epochs": 2,
        "batch_size": 16,
        "engine": QUIET,
    }
    return tl.distill(**(good | changes))


def by_hand(weight, clip_norm, epochs):
    """The same in plain code: student and projector side by side."""
    ours, theirs = student(), teacher()
    torch.manual_seed(3)
    projector = nn.Linear(4, 6)
    parameters = [*ours.parameters(), *projector.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9)
    norms = []
    for _ in range(epochs):
        for (inputs,) in DataLoader(TensorDataset(INPUTS), 16):
            target, hidden = theirs(inputs).detach(), theirs[0](inputs).detach()
            soft = 4 * nn.functional.kl_div(
                (ours(inputs) / 2).log_softmax(1), (target / 2).softmax(1), reduction="batchmean"
            )
            loss = soft + weight * (projector(ours[0](inputs)) - hidden).square().mean()
            optimizer.zero_grad()
            loss.backward()
            norms.append(nn.utils.clip_grad_norm_(parameters, clip_norm).item())
            optimizer.step()
    return ours, projector, norms


@pytest.mark.parametrize("clip_norm", [0.5, 100.0])
def test_it_equals_a_loop_by_hand_with_the_projector_clipped_and_optimised(clip_norm):
    run = distill(
        train=DataLoader(TensorDataset(INPUTS), 16),
        objective=tl.SoftTargets(2) + 10 * tl.FeatureMatch(HINT),
        epochs=3,
        seed=3,
        optimizer=partial(torch.optim.SGD, lr=0.1, momentum=0.9),
        engine=tl.Engine(device="cpu", progress=False, clip_norm=clip_norm),
    )
    ours, projector, norms = by_hand(10, clip_norm, 3)
    assert (max(norms) > clip_norm) == (clip_norm == 0.5)
    for name, each in ours.state_dict().items():
        torch.testing.assert_close(run.student.state_dict()[name], each, rtol=1e-5, atol=1e-6)
    found = run.objective.terms()[1].objective.projectors[0]
    for name, each in projector.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], each, rtol=1e-5, atol=1e-6)


def test_a_hint_alone_trains_up_to_the_layer_and_no_further():
    before = student().state_dict()
    run = distill(epochs=40, optimizer=partial(torch.optim.Adam, lr=0.01))
    after = run.student.state_dict()
    assert all(not torch.equal(before[name], after[name]) for name in ("0.weight", "0.bias"))
    assert all(torch.equal(before[name], after[name]) for name in ("2.weight", "2.bias"))
    assert run.history[-1]["train/loss"] < 0.7 * run.history[0]["train/loss"]


def test_the_students_file_holds_no_projector(tmp_path):
    run = distill(out=tmp_path)
    assert list(load_file(tmp_path / "student.safetensors")) == sorted(student().state_dict())
    kept = torch.load(tmp_path / "last.pt", weights_only=True)["distiller"]
    projector = run.objective.projectors[0].state_dict()
    assert torch.equal(kept["objective.projectors.0.weight"], projector["weight"])


def test_a_finished_run_gives_student_and_projector_back(tmp_path):
    first = distill(out=tmp_path)
    written = (tmp_path / "last.pt").stat().st_mtime_ns
    again = distill(out=tmp_path, student=nn.Sequential(*student()).requires_grad_())
    assert (tmp_path / "last.pt").stat().st_mtime_ns == written
    assert again.history == first.history
    for ours, theirs in ((again.student, first.student), (again.objective, first.objective)):
        state = theirs.state_dict()
        assert all(torch.equal(each, state[name]) for name, each in ours.state_dict().items())


def test_the_objective_that_was_given_stays_as_it_was():
    objective = tl.FeatureMatch(HINT)
    distill(objective=objective)
    assert not objective.built
    assert list(objective.parameters()) == []


def test_without_an_output_the_loss_chooses_the_best_epoch():
    run = distill(val=DATA, epochs=3)
    assert {key for key in run.history[0] if key.startswith("val/")} == {"val/loss"}
    losses = [record["val/loss"] for record in run.history]
    assert run.best_epoch == 1 + losses.index(min(losses))


def test_projectors_are_drawn_from_the_seed_and_the_global_state_is_left():
    loader, weights = DataLoader(TensorDataset(INPUTS), 48), []
    for seed in (3, 3, 4):
        ours, theirs = student(), teacher()
        torch.manual_seed(10 + len(weights))
        run = tl.distill(
            theirs, ours, train=loader, objective=tl.FeatureMatch(HINT), epochs=1, seed=seed,
            optimizer=partial(torch.optim.SGD, lr=1e-9), engine=QUIET,
        )  # fmt: skip
        weights.append(run.objective.projectors[0].weight)
    assert torch.equal(weights[0], weights[1])
    assert not torch.allclose(weights[0], weights[2])


def test_the_global_state_is_left_as_it_was():
    ours, theirs = student(), teacher()
    before = torch.get_rng_state()
    tl.distill(
        theirs, ours, train=DATA, objective=tl.FeatureMatch(HINT), epochs=1, engine=QUIET
    )  # fmt: skip
    assert torch.equal(torch.get_rng_state(), before)


def test_an_optimiser_without_the_projector_is_refused():
    ours = student()
    with pytest.raises(tl.ArgumentError, match="must hold the objective's own parameters"):
        distill(student=ours, optimizer=lambda _: torch.optim.SGD(ours.parameters(), lr=0.1))


class TestKilled:
    def run(self, out, step=0):
        program = PROGRAMS / "killed_layers.py"
        return Child(program, (out, "features", step), out.with_suffix(".errors"))

    def finish(self, out):
        self.run(out).finish()
        kept = torch.load(out / "last.pt", weights_only=True)
        assert kept["finished"]
        moments = {
            f"{name} of {place}": each[name]
            for place, each in kept["optimizer"]["state"].items()
            for name in ("exp_avg", "exp_avg_sq")
        }
        return kept["distiller"] | moments

    def test_student_projector_and_their_momenta_end_bit_for_bit_as_without(self, tmp_path):
        whole, out = self.finish(tmp_path / "whole"), tmp_path / "run"
        step = random.Random().randrange(2, 32)
        assert self.run(out, step).wait() == -signal.SIGKILL
        kept = torch.load(out / "last.pt", weights_only=True)
        assert kept["state"]["step"] == step - 1
        found = self.finish(out)
        assert found.keys() == whole.keys()
        assert any(name.startswith("objective.") for name in whole)
        for name, tensor in whole.items():
            assert torch.equal(found[name], tensor), f"{name} differs, killed in step {step}"


def test_two_processes_equal_one(tmp_path):
    """Where the output is not wanted too, so that a part of the student gets no gradient."""
    program = PROGRAMS / "two_layers.py"
    for child in [
        Child(program, [tmp_path / "1.pt"], tmp_path / "1.errors"),
        *start_two(program, [tmp_path / "2.pt"], tmp_path / "2.errors"),
    ]:
        child.finish()
    one, two = (torch.load(tmp_path / f"{count}.pt", weights_only=True) for count in (1, 2))
    for what in ("hint", "staged", "projector"):
        for name, tensor in one[what].items():
            torch.testing.assert_close(two[what][name], tensor, rtol=0, atol=1e-6)
    for ours, theirs in zip(one["history"], two["history"], strict=True):
        del ours["seconds"], theirs["seconds"]
        assert ours.pop("stage", "") == theirs.pop("stage", "")
        assert ours == pytest.approx(theirs, abs=1e-5)
    assert not torch.equal(one["hint"]["0.weight"], one["first"]["0.weight"])
    assert torch.equal(one["hint"]["2.weight"], one["first"]["2.weight"])
    assert not torch.equal(one["staged"]["2.weight"], one["hint"]["2.weight"])


def test_metrics_are_refused_where_no_output_is_wanted():
    with pytest.raises(tl.ArgumentError, match="does not require"):
        tl.distill(
            nn.Sequential(nn.Linear(5, 3)),
            nn.Sequential(nn.Linear(5, 3)),
            train=DATA,
            val=DATA,
            objective=tl.FeatureMatch({"0": "0"}),
            epochs=1,
            metrics={"accuracy of mine": tl.evaluation.accuracy},
        )
