"""Two processes under torchrun give the result of one, for the same global batches."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from compiling import needs_compiler

PROGRAM = Path(__file__).parents[1] / "programs" / "two_processes.py"


def run(weights: Path, *arguments: str, processes: int):
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    command = [sys.executable, *(launcher if processes > 1 else []), str(PROGRAM), str(weights)]
    done = subprocess.run(
        [*command, *arguments], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return torch.load(weights, weights_only=True)


@pytest.mark.parametrize("kind", ["tensors", "set", "loader", "stream", "mixed", "selective"])
def test_two_processes_equal_one(kind, tmp_path):
    """With labels missing unevenly, a last batch of one example, accumulation and clipping."""
    one = run(tmp_path / "one.pt", kind, processes=1)
    equal(run(tmp_path / "two.pt", kind, processes=2), one)
    leads = [value for key, value in one["history"][0].items() if key.startswith("val/lead/")]
    assert (kind == "selective") == any(lead > 0 for lead in leads)


@needs_compiler
def test_two_processes_that_compile_equal_one_that_does_not(tmp_path):
    one = run(tmp_path / "one.pt", "tensors", processes=1)
    equal(run(tmp_path / "two.pt", "compiled", processes=2), one)


def equal(two, one):
    """The results of two processes are those of one."""
    for name, tensor in one["weights"].items():
        torch.testing.assert_close(two["weights"][name], tensor, rtol=0, atol=1e-6)
    for first, second in zip(one["history"], two["history"], strict=True):
        del first["seconds"], second["seconds"]
        assert first == pytest.approx(second, abs=1e-5)


def test_a_finished_run_of_two_processes_is_taken_up(tmp_path):
    """Both processes read what the main one wrote; nothing is trained again."""
    out = str(tmp_path / "run")
    first = run(tmp_path / "first.pt", "tensors", out, processes=2)
    second = run(tmp_path / "second.pt", "tensors", out, processes=2)
    assert first["history"] == second["history"]
    assert all(torch.equal(first["weights"][k], second["weights"][k]) for k in first["weights"])


def test_processes_with_batch_norm_stop_together(tmp_path):
    """Their running statistics differ; validation and patience go by those of the main one."""
    history = run(tmp_path / "weights.pt", "norms", processes=2)["history"]
    losses = [record["val/loss"] for record in history]
    best = losses.index(min(losses))
    assert len(losses) == best + 1 + 2 < 30
