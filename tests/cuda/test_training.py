"""Training on a device: teachers elsewhere, mixed precision, captured layers, interrupted runs."""

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import tutelage as tl
from boxes import Boxes, Finder, overlap
from devices import DEVICE, ON_CUDA, OTHERS, cuda, device_of
from tutelage.training.checkpointer import Checkpointer

pytestmark = cuda
SOFT = 0.5 * tl.HardLabels() + tl.SoftTargets(2)
LAYERS = tl.FeatureMatch({"0": "0"}) + tl.RKD() + tl.SoftTargets(2)


def data():
    torch.manual_seed(1)
    inputs = torch.randn(160, 12)
    return TensorDataset(inputs, inputs[:, :4].argmax(dim=1))


def network(width):
    return nn.Sequential(nn.Linear(12, width), nn.ReLU(), nn.Dropout(0.1), nn.Linear(width, 4))


def models():
    torch.manual_seed(0)
    return network(32), network(8)


def distill(teacher, student, device=DEVICE, objective=SOFT, out=None, optimizer=None, **engine):
    return tl.distill(
        teacher,
        student,
        train=data(),
        val=data(),
        objective=objective,
        epochs=6,
        batch_size=32,
        optimizer=optimizer or adam,
        out=out,
        engine=tl.Engine(device=device, progress=False, **engine),
    )


def adam(parameters):
    return torch.optim.Adam(parameters, lr=0.01)


def weights(run):
    return {name: each.detach().cpu().clone() for name, each in run.student.state_dict().items()}


def without_dropout(model):
    model[2].p = 0.0
    return model


def test_it_learns_what_the_cpu_learns():
    """Without dropout, which draws from each device's own generator."""
    there, here = (
        weights(distill(*map(without_dropout, models()), device=device))
        for device in (DEVICE, "cpu")
    )
    for name, each in here.items():
        torch.testing.assert_close(there[name], each, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("other", OTHERS)
def test_a_teacher_on_another_device_is_moved_for_the_run_and_back(other):
    alike, student = models()
    expected = weights(distill(alike.to(DEVICE), student))
    teacher, student = models()
    teacher.to(other)
    run = distill(teacher, student)
    assert device_of(teacher) == torch.device(other)
    assert device_of(run.student).type == torch.device(DEVICE).type
    for name, each in weights(run).items():
        torch.testing.assert_close(each, expected[name], rtol=1e-5, atol=1e-6)


@pytest.mark.skipif(not ON_CUDA, reason="needs two devices")
@pytest.mark.parametrize("other", OTHERS)
def test_a_loop_of_your_own_is_told_of_a_teacher_on_another_device(other):
    teacher, student = models()
    distiller = tl.Distiller(student.to(DEVICE), teacher.to(other), SOFT)
    inputs, labels = (each[:8].to(DEVICE) for each in data().tensors)
    with pytest.raises(tl.ModelError, match="device"):
        distiller(tl.Batch(inputs, labels))


@pytest.mark.parametrize("objective", [SOFT, LAYERS], ids=["outputs", "layers"])
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_learns_and_keeps_full_precision_weights(precision, objective):
    teacher, student = models()
    run = distill(teacher, student, objective=objective, precision=precision)
    losses = [record["train/loss"] for record in run.history]
    assert losses[-1] < losses[0]
    assert all(each.dtype == torch.float32 for each in run.student.parameters())
    assert all(each.isfinite().all() for each in run.student.parameters())
    assert all(each.dtype == torch.float32 for each in teacher.parameters())


def test_captured_layers_and_their_projector_are_on_the_device():
    teacher, student = models()
    run = distill(teacher, student, objective=LAYERS)
    assert {each.device.type for each in run.objective.parameters()} == {torch.device(DEVICE).type}
    assert run.history[-1]["train/loss"] < run.history[0]["train/loss"]


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_an_interrupted_run_ends_as_one_that_was_not(precision, tmp_path, monkeypatch):
    """With dropout: the device's generator is restored as well, and a gradient scaler's state."""
    save, saved = Checkpointer.save, []

    def stop_after_some(self):
        save(self)
        saved.append(self)
        if len(saved) == 17:
            raise KeyboardInterrupt

    common = {"checkpoint_seconds": 0, "precision": precision}
    expected = weights(distill(*models(), out=tmp_path / "whole", **common))
    with monkeypatch.context() as patched:
        patched.setattr(Checkpointer, "save", stop_after_some)
        with pytest.raises(KeyboardInterrupt):
            distill(*models(), out=tmp_path / "run", **common)
    found = weights(distill(*models(), out=tmp_path / "run", **common))
    for name, each in expected.items():
        exact = {"rtol": 0, "atol": 1e-5 if ON_CUDA else 0}  # kernels may add in another order
        torch.testing.assert_close(found[name], each, **exact)


def test_validation_and_predictions_come_from_the_device():
    teacher, student = models()
    run = distill(teacher.to(DEVICE), student)
    found = tl.evaluation.predict(run.student, data())
    accuracy = tl.evaluation.accuracy(found, data().tensors[1])
    assert accuracy == pytest.approx(run.history[run.best_epoch - 1]["val/accuracy"], abs=0.01)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_detector_and_its_boxes_are_on_the_device(precision):
    student = Finder(4, seed=2)
    run = tl.distill(
        Finder(6, seed=1),
        student,
        train=Boxes(8),
        val=Boxes(5),
        objective=tl.OwnLoss() + tl.FeatureMatch({"neck": "neck"}),
        epochs=2,
        batch_size=4,
        metrics={"overlap": overlap},
        monitor="loss",
        engine=tl.Engine(device=DEVICE, precision=precision, progress=False),
    )
    assert device_of(student).type == torch.device(DEVICE).type
    assert run.history[-1]["val/loss"] > 0
    assert tl.evaluation.predict(student, Boxes(3))[0]["boxes"].device.type == "cpu"
