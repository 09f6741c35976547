"""Two processes give the result of one, for the same global batches."""

import subprocess
import sys

import pytest
import torch

from children import PROGRAMS, Child, start_two
from compiling import has_compiler, needs_compiler

ALIKE = ["tensors", "set", "loader", "stream", "mixed", "selective", "unused"]
VALIDATED = ["tensors", "set", "sampler", "subset", "stream", "loader"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What one process learns from each kind of data."""
    folder = tmp_path_factory.mktemp("alone")
    Child(PROGRAMS / "two_processes.py", (folder / "one.pt", *ALIKE), folder / "errors").finish()
    return dict(torch.load(folder / "one.pt", weights_only=True))


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """The runs of two processes that `torchrun` started in turn: kinds and results."""
    results = tmp_path_factory.mktemp("together") / "two.pt"
    kinds = [*ALIKE, "norms", "kept", "kept", *(["compiled"] if has_compiler() else [])]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [*command, str(PROGRAMS / "two_processes.py"), str(results), *kinds],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "find_unused_parameters" not in done.stderr  # which PyTorch advises against
    return torch.load(results, weights_only=True)


@pytest.fixture(scope="module")
def validated(tmp_path_factory):
    """What one process, and each of two, finds by validating each kind of data."""
    program, found = PROGRAMS / "shared_validation.py", []
    folder = tmp_path_factory.mktemp("one")
    Child(program, (folder, "tensors"), folder / "errors").finish()
    found.append(torch.load(folder / "0.pt"))
    folder = tmp_path_factory.mktemp("two")
    for child in start_two(program, (folder, *VALIDATED), folder / "errors"):
        child.finish()
    return [*found, *(torch.load(folder / f"{rank}.pt") for rank in range(2))]


@pytest.mark.parametrize("kind", ALIKE)
def test_two_processes_equal_one(kind, alone, together):
    """With labels missing unevenly, a last batch of one example, accumulation and clipping."""
    equal(dict(together)[kind], alone[kind])
    leads = [v for key, v in alone[kind]["history"][0].items() if key.startswith("val/lead/")]
    assert (kind == "selective") == any(lead > 0 for lead in leads)


@needs_compiler
def test_two_processes_that_compile_equal_one_that_does_not(alone, together):
    equal(dict(together)["compiled"], alone["tensors"])


def equal(found, expected):
    """The results of two processes are those of one."""
    for name, tensor in expected["weights"].items():
        torch.testing.assert_close(found["weights"][name], tensor, rtol=0, atol=1e-6)
    for first, second in zip(expected["history"], found["history"], strict=True):
        assert first | {"seconds": 0} == pytest.approx(second | {"seconds": 0}, abs=1e-5)


def test_a_finished_run_of_two_processes_is_taken_up(together):
    """Both processes read what the main one wrote; nothing is trained again."""
    first, second = (each for kind, each in together if kind == "kept")
    assert first["history"] == second["history"]  # and its seconds
    assert all(torch.equal(first["weights"][k], second["weights"][k]) for k in first["weights"])


def test_processes_with_batch_norm_stop_together(together):
    """Their running statistics differ; validation and patience go by those of the main one."""
    losses = [record["val/loss"] for record in dict(together)["norms"]["history"]]
    best = losses.index(min(losses))
    assert len(losses) == best + 1 + 2 < 30


@pytest.mark.parametrize("kind", VALIDATED)
def test_each_process_validates_its_part(kind, validated):
    """Metrics are those of all examples, each once; copies that fill batches do not count twice."""
    (one, _), *two = validated
    (history, first), (same, second) = (found[kind] for found, _ in two)
    assert history == same
    for epoch, alone in zip(history, one["tensors"][0], strict=True):
        repeated = 1 if kind == "sampler" else 0  # which makes its parts equally long
        assert epoch["val/examples"] == 25 + repeated
        if not repeated:
            assert epoch == pytest.approx(alone, abs=1e-6)
    assert max(first, second) <= 2 * 16 + 4  # two epochs, and the batch before the first step


def test_processes_refuse_a_monitor_together(validated):
    """Whatever labels are in their own parts of the batch that is validated at first."""
    known = "'f1' must be one of ['accuracy', 'loss']"
    assert all(known in refusal for _, refusal in validated)
