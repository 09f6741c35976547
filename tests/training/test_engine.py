"""The engine finds the device that PyTorch's name means, or says what there is instead."""

import os
import subprocess
import sys

import pytest
import torch
from torch.utils.data import TensorDataset

import tutelage as tl
from tutelage.training import engine as engine_module


@pytest.fixture
def machine(monkeypatch):
    """Let the machine seem to have accelerators, as PyTorch would tell."""
    for name in ("LOCAL_RANK", "ACCELERATE_TORCH_DEVICE", "ACCELERATE_USE_CPU"):
        monkeypatch.delenv(name, raising=False)

    def has(kind, number):
        found = torch.device(kind)
        monkeypatch.setattr(torch.accelerator, "is_available", lambda: number > 0)
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda *_: found)
        monkeypatch.setattr(torch.accelerator, "device_count", lambda: number)

    has("cuda", 0)
    return has


def device(name=None):
    return tl.Engine(device=name).torch_device()


@pytest.mark.parametrize(
    ("name", "found"),
    [(None, "cuda"), ("cpu", "cpu"), ("cuda", "cuda"), ("cuda:0", "cuda:0"), ("cuda:1", "cuda:1")],
)
def test_devices_by_name_on_a_machine_that_has_them(name, found, machine):
    machine("cuda", 2)
    assert device(name) == torch.device(found)


@pytest.mark.parametrize("kind", ["mps", "xpu"])
def test_devices_of_other_makers(kind, machine):
    machine(kind, 1)
    assert device() == device(kind) == torch.device(kind)


@pytest.mark.usefixtures("machine")
def test_without_an_accelerator_it_is_the_cpu():
    assert device() == device("cpu") == torch.device("cpu")


@pytest.mark.parametrize(
    ("present", "name", "message"),
    [
        (0, "cuda", r"\(cpu\), got 'cuda'"),
        (2, "cuda:2", r"\(cpu, cuda:0, cuda:1\), got 'cuda:2'"),
        (2, "xpu", r"\(cpu, cuda:0, cuda:1\), got 'xpu'"),
        (0, "mps", r"\(cpu\), got 'mps'"),
    ],
)
def test_a_device_that_is_not_there_is_refused_with_what_there_is(present, name, message, machine):
    machine("cuda", present)
    engine = tl.Engine(device=name)  # which may be made for another machine
    with pytest.raises(tl.ArgumentError, match=message):
        engine.torch_device()
    data = TensorDataset(torch.randn(4, 2), torch.tensor([0, 1, 0, 1]))
    with pytest.raises(tl.ArgumentError, match=message):
        tl.fit(torch.nn.Linear(2, 2), train=data, epochs=1, engine=engine)


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cuda:-1", "", "meta", 0, torch.device("cpu")])
def test_a_name_that_pytorch_does_not_know_is_refused_at_once(name):
    with pytest.raises(tl.ArgumentError, match="PyTorch's name of a device"):
        tl.Engine(device=name)


@pytest.mark.parametrize(("rank", "own"), [("0", "cuda:0"), ("1", "cuda:1"), ("5", "cuda:1")])
def test_under_torchrun_each_process_has_its_own(rank, own, machine, monkeypatch):
    machine("cuda", 2)
    monkeypatch.setenv("LOCAL_RANK", rank)
    assert device() == device("cuda") == device(own) == torch.device(own)
    other = "cuda:1" if own == "cuda:0" else "cuda:0"
    with pytest.raises(tl.ArgumentError, match=f"{own}, under torchrun, got '{other}'"):
        device(other)


def test_the_environment_of_accelerate_is_heeded_where_no_device_is_named(machine, monkeypatch):
    machine("cuda", 2)
    monkeypatch.setenv("ACCELERATE_TORCH_DEVICE", "cuda:1")
    assert (device(), device("cuda:0")) == (torch.device("cuda:1"), torch.device("cuda:0"))
    monkeypatch.delenv("ACCELERATE_TORCH_DEVICE")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    assert device() == torch.device("cpu")


@pytest.mark.parametrize("name", ["cuda", "cuda:1"])
def test_accelerate_is_given_the_device(name, machine, monkeypatch):
    """Up to the Accelerator itself, which needs no kernel of the device to be made."""
    machine("cuda", 2)
    monkeypatch.setenv("ACCELERATE_TORCH_DEVICE", "cpu")
    with tl.Engine(device=name).accelerator(None) as made:
        assert made.device == torch.device(name)
    assert os.environ["ACCELERATE_TORCH_DEVICE"] == "cpu"
    with tl.Engine(device="cpu").accelerator(None) as made:
        assert made.device == torch.device("cpu")


def test_an_accelerator_set_up_for_the_cpu_is_not_taken_for_a_gpu(machine, monkeypatch):
    machine("cuda", 1)
    monkeypatch.setattr(
        engine_module, "patch_environment", lambda **_: engine_module.nullcontext()
    )  # as it is in a process group that was made for the CPU
    with (
        pytest.raises(tl.ArgumentError, match="set up with, cpu, got 'cuda'"),
        tl.Engine(device="cuda").accelerator(None),
    ):
        pass


def test_processes_without_accelerators_train_together():
    """By themselves they would each train on all data, without a word."""
    program = (
        "import os, tutelage as tl\n"
        "with tl.Engine().accelerator(None) as made:\n"
        "    print(made.num_processes, made.device, made.distributed_type)\n"
        "import torch; torch.distributed.destroy_process_group()\n"
    )
    ranks = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | ranks | where | {"CUDA_VISIBLE_DEVICES": ""},
        check=True, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.stdout.split() == ["1", "cpu:0", "DistributedType.MULTI_CPU"]


def test_a_tracker_without_its_package_is_named(monkeypatch):
    monkeypatch.setattr(engine_module, "get_available_trackers", list)
    data = TensorDataset(torch.randn(4, 2), torch.tensor([0, 1, 0, 1]))
    engine = tl.Engine(trackers=("comet_ml",))
    with pytest.raises(tl.ArgumentError, match="packages are installed, got 'comet_ml'"):
        tl.fit(torch.nn.Linear(2, 2), train=data, epochs=1, engine=engine)


def test_an_unknown_tracker_is_refused_with_the_known_ones():
    with (
        pytest.raises(tl.ArgumentError, match=r"tensorboard.*got 'tensorbord'"),
        tl.Engine(trackers=("tensorbord",)).accelerator(None),
    ):
        pass
