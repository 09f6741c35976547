"""Loaders that give each process a part of the data already: nothing is divided twice."""

import pytest
import torch

from children import PROGRAMS, start_two

EVERY = set(range(25))
KINDS = ["sampler", "accelerate", "stream", "subset", "iterable", "whole"]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What each of two processes learns from each kind of loader."""
    folder = tmp_path_factory.mktemp("sharded")
    for child in start_two(PROGRAMS / "sharded_loaders.py", (folder, *KINDS), folder / "errors"):
        child.finish()
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("kind", KINDS)
def test_the_processes_learn_from_all_examples_together(kind, found):
    (first, ours), (second, theirs) = (each[kind] for each in found)
    assert set(first) | set(second) == EVERY
    repeated = {"sampler": 1, "accelerate": 7, "whole": 1}.get(kind, 0)  # to fill batches
    assert len(first) + len(second) == len(EVERY) + repeated
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
