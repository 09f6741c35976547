"""A run is continued to more epochs where nothing depends on their number."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import tutelage as tl
from tutelage.training import loop
from tutelage.training.checkpointer import end_for_good

X = torch.randn(64, 6, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] > 0).long() + (X[:, 1] > 0).long()
DATA = TensorDataset(X, Y)
TEACHER = nn.Linear(6, 3)


def distill(out, epochs=None, train=DATA, **changes):
    torch.manual_seed(0)
    student = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Linear(8, 3))
    options = {
        "val": DATA,
        "epochs": epochs,
        "objective": 0.5 * tl.HardLabels() + tl.SoftTargets(2),
        "batch_size": 16,
        "optimizer": partial(torch.optim.SGD, lr=0.1, momentum=0.9),
        "engine": tl.Engine(device="cpu", checkpoint_seconds=0, progress=False),
    }
    if train == "loader":
        train = DataLoader(DATA, 16, shuffle=True)
    torch.manual_seed(1)
    return tl.distill(TEACHER, student, train=train, out=out, **options | changes)


def without_seconds(history):
    return [{key: each for key, each in record.items() if key != "seconds"} for record in history]


def last(out):
    kept = torch.load(out / "last.pt", weights_only=True)
    return kept["distiller"] | {
        str(k): v["momentum_buffer"] for k, v in kept["optimizer"]["state"].items()
    }


@pytest.mark.parametrize("kind", ["tensors", "loader", "mixup", "monitor"])
def test_it_ends_with_the_bits_of_a_run_that_was_that_long_from_the_start(kind, tmp_path):
    changes = {
        "tensors": {},
        "loader": {"train": "loader"},
        "mixup": {"transform": tl.data.Mixup()},
        "monitor": {"monitor": tl.Monitor("loss", patience=2)},
    }[kind]
    whole = distill(tmp_path / "whole", 5, **changes)
    for epochs in (2, 3, 5):
        parts = distill(tmp_path / "parts", epochs, **changes)
    assert without_seconds(parts.history) == without_seconds(whole.history)
    assert parts.best_epoch == whole.best_epoch
    expected, found = last(tmp_path / "whole"), last(tmp_path / "parts")
    assert expected.keys() == found.keys()
    assert all(torch.equal(found[name], each) for name, each in expected.items())
    ours, theirs = (
        load_file(tmp_path / part / "student.safetensors") for part in ("parts", "whole")
    )
    assert all(torch.equal(ours[name], each) for name, each in theirs.items())
    assert json.loads((tmp_path / "parts" / "run.json").read_text())["run"]["epochs"] == 5


def test_the_best_epoch_of_the_shorter_run_stays_the_best(tmp_path):
    worst = tl.Monitor("loss", higher_is_better=True)  # the first epoch has the highest loss
    assert distill(tmp_path, 2, monitor=worst).best_epoch == 1
    run = distill(tmp_path, 4, monitor=worst)
    assert run.best_epoch == 1
    assert [record["epoch"] for record in run.history] == [1, 2, 3, 4]


def test_a_kill_just_after_the_folder_was_lengthened_loses_nothing(tmp_path, monkeypatch):
    distill(tmp_path, 2)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop.Loop, "run", killed)
        with pytest.raises(KeyboardInterrupt):
            distill(tmp_path, 4)
    assert not (tmp_path / "student.safetensors").exists()
    assert len(distill(tmp_path, 4).history) == 4


CHANGING = {
    "scheduler": {"scheduler": torch.optim.lr_scheduler.CosineAnnealingLR},
    "schedule": {"objective": tl.schedules.Linear(1, 0) * tl.HardLabels()},
    "temperature": {"objective": tl.HardLabels() + tl.SoftTargets(tl.schedules.Cosine(8, 1))},
}


@pytest.mark.parametrize("name", CHANGING)
def test_what_goes_over_all_epochs_cannot_be_lengthened(name, tmp_path):
    distill(tmp_path, 2, **CHANGING[name])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(tl.RunFolderError, match=r"(?s)epochs: 2 → 4.*no more epochs"):
        distill(tmp_path, 4, **CHANGING[name])
    assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir()}


def test_a_run_cannot_be_shortened_nor_lengthened_with_another_change(tmp_path):
    distill(tmp_path, 2)
    with pytest.raises(tl.RunFolderError, match="epochs: 2 → 1"):
        distill(tmp_path, 1)
    with pytest.raises(tl.RunFolderError, match=r"(?s)epochs: 2 → 4.*seed"):
        distill(tmp_path, 4, seed=1)


STEP = partial(torch.optim.lr_scheduler.StepLR, step_size=1)
COSINE = torch.optim.lr_scheduler.CosineAnnealingLR


@pytest.mark.parametrize(
    ("first", "second", "differs"),
    [(partial(STEP, gamma=0.5), partial(STEP, gamma=0.1), "gamma: 0.5 → 0.1"), (COSINE, None, "")],
    ids=["settings", "none"],
)
def test_a_run_is_not_lengthened_under_another_scheduler(first, second, differs, tmp_path):
    """It would go on with the first one's state, or at the rate where that one ended."""
    distill(tmp_path, 2, scheduler=first)
    with pytest.raises(tl.RunFolderError, match=rf"(?s)epochs: 2 → 4.*scheduler.*{differs}"):
        distill(tmp_path, 4, scheduler=second)
    assert len(distill(tmp_path, 2, scheduler=first).history) == 2


def test_stages_cannot_be_lengthened(tmp_path):
    for epochs in (1, 2):
        stages = [tl.Stage(tl.SoftTargets(2), epochs), tl.Stage(tl.HardLabels(), 1)]
        arguments = {"train": DATA, "stages": stages, "out": tmp_path}
        if epochs == 1:
            tl.distill(TEACHER, nn.Linear(6, 3), **arguments)
            continue
        with pytest.raises(tl.RunFolderError, match="differs in"):
            tl.distill(TEACHER, nn.Linear(6, 3), **arguments)


def test_a_run_that_ended_for_good_is_returned_and_not_lengthened(tmp_path):
    done = distill(tmp_path, 2)
    assert last(tmp_path)
    foreign = tmp_path / "weights" / "last.pt"
    foreign.parent.mkdir()
    foreign.write_bytes(b"of another library")
    end_for_good(tmp_path)
    assert foreign.read_bytes() == b"of another library"
    assert torch.load(tmp_path / "last.pt", weights_only=True)["optimizer"] is None
    with pytest.raises(tl.RunFolderError, match="its optimizer's state was not kept"):
        distill(tmp_path, 3)
    again = distill(tmp_path, 2)
    assert again.history == done.history
    assert again.best_epoch == done.best_epoch
    for name, each in again.student.state_dict().items():
        assert torch.equal(each, done.student.state_dict()[name])


def test_a_run_that_is_not_finished_keeps_all(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop.Loop, "_validate", interrupted)
        with pytest.raises(KeyboardInterrupt):
            distill(tmp_path, 2)
    end_for_good(tmp_path)
    assert last(tmp_path)
    assert len(distill(tmp_path, 2).history) == 2


def test_settings_may_be_numbers_of_numpy(tmp_path):
    """As of a sweep over np.logspace; a checkpoint with one could not be read again."""
    stages = [
        tl.Stage(tl.HardLabels(), np.int64(2), monitor=tl.Monitor("loss", patience=np.int64(2)))
    ]
    arguments = {"objective": None, "stages": stages}
    optimizer = partial(torch.optim.SGD, lr=np.float64(0.1), momentum=np.float64(0.9))
    first, again = (distill(tmp_path, optimizer=optimizer, **arguments) for _ in range(2))
    assert again.history == first.history
    engine = tl.Engine(device="cpu", accumulation=np.int64(2), progress=False)
    distill(tmp_path / "longer", np.int64(1), engine=engine)
    engine = tl.Engine(device="cpu", accumulation=2, progress=False)
    assert len(distill(tmp_path / "longer", 2, engine=engine).history) == 2
