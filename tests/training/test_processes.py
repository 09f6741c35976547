"""Two processes give the result of one, for the same global batches."""

import subprocess
import sys

import pytest
import torch

from children import PROGRAMS, Child, start_two
from compiling import needs_compiler

PROGRAM = PROGRAMS / "two_processes.py"


def one(folder, *arguments):
    """Run the program in one process; return what it wrote."""
    weights = folder / "one.pt"
    Child(PROGRAM, (weights, *arguments), folder / "one.errors").finish()
    return torch.load(weights, weights_only=True)


def two(folder, *arguments, name="two"):
    """Run the program in two processes; return what the main one wrote."""
    weights = folder / f"{name}.pt"
    for child in start_two(PROGRAM, (weights, *arguments), folder / f"{name}.errors"):
        child.finish()
    return torch.load(weights, weights_only=True)


@pytest.fixture(scope="module")
def tensors(tmp_path_factory):
    """What one process makes of tensors."""
    return one(tmp_path_factory.mktemp("tensors"), "tensors")


@pytest.fixture(scope="module")
def validated(tmp_path_factory):
    """The history of one process that validates tensors."""
    folder = tmp_path_factory.mktemp("validated")
    program = PROGRAMS / "shared_validation.py"
    Child(program, ("tensors", folder), folder / "errors").finish()
    return torch.load(folder / "0.pt")[0]


@pytest.mark.parametrize("kind", ["set", "loader", "stream", "mixed", "selective"])
def test_two_processes_equal_one(kind, tmp_path):
    """With labels missing unevenly, a last batch of one example, accumulation and clipping."""
    alone = one(tmp_path, kind)
    equal(two(tmp_path, kind), alone)
    leads = [value for key, value in alone["history"][0].items() if key.startswith("val/lead/")]
    assert (kind == "selective") == any(lead > 0 for lead in leads)


def test_under_torchrun(tensors, tmp_path):
    weights = tmp_path / "two.pt"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [*command, str(PROGRAM), str(weights), "tensors"],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    equal(torch.load(weights, weights_only=True), tensors)


@needs_compiler
def test_two_processes_that_compile_equal_one_that_does_not(tensors, tmp_path):
    equal(two(tmp_path, "compiled"), tensors)


def equal(found, expected):
    """The results of two processes are those of one."""
    for name, tensor in expected["weights"].items():
        torch.testing.assert_close(found["weights"][name], tensor, rtol=0, atol=1e-6)
    for first, second in zip(expected["history"], found["history"], strict=True):
        assert first | {"seconds": 0} == pytest.approx(second | {"seconds": 0}, abs=1e-5)


def test_a_finished_run_of_two_processes_is_taken_up(tmp_path):
    """Both processes read what the main one wrote; nothing is trained again."""
    first, second = (two(tmp_path, "tensors", tmp_path / "run", name=n) for n in ("a", "b"))
    assert first["history"] == second["history"]
    assert all(torch.equal(first["weights"][k], second["weights"][k]) for k in first["weights"])


def test_processes_with_batch_norm_stop_together(tmp_path):
    """Their running statistics differ; validation and patience go by those of the main one."""
    history = two(tmp_path, "norms")["history"]
    losses = [record["val/loss"] for record in history]
    best = losses.index(min(losses))
    assert len(losses) == best + 1 + 2 < 30


@pytest.mark.parametrize("kind", ["tensors", "set", "sampler", "subset", "stream", "loader"])
def test_each_process_validates_its_part(kind, validated, tmp_path):
    """Metrics are those of all examples, each once; copies that fill batches do not count twice."""
    program = PROGRAMS / "shared_validation.py"
    for child in start_two(program, (kind, tmp_path), tmp_path / "errors"):
        child.finish()
    (history, first), (same, second) = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert history == same
    for epoch, alone in zip(history, validated, strict=True):
        repeated = 1 if kind == "sampler" else 0  # which makes its parts equally long
        assert epoch["val/examples"] == 25 + repeated
        if not repeated:
            assert epoch == pytest.approx(alone, abs=1e-6)
    assert max(first, second) <= 2 * 16 + 4  # two epochs, and the batch before the first step
