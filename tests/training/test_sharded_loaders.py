"""Loaders that give each process a part of the data already: nothing is divided twice."""

import pytest
import torch

from children import PROGRAMS, start_two

EVERY = set(range(25))


@pytest.mark.parametrize("kind", ["sampler", "accelerate", "stream", "subset", "iterable", "whole"])
def test_the_processes_learn_from_all_examples_together(kind, tmp_path):
    program = PROGRAMS / "sharded_loaders.py"
    for child in start_two(program, (kind, tmp_path), tmp_path / "errors"):
        child.finish()
    (first, ours), (second, theirs) = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert set(first) | set(second) == EVERY
    repeated = {"sampler": 1, "accelerate": 7, "whole": 1}.get(kind, 0)  # to fill batches
    assert len(first) + len(second) == len(EVERY) + repeated
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
