"""Random draws made from a seed of their own, at little cost, without a trace outside."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def kept_apart() -> Iterator[Callable[[int], None]]:
    """Yield a function that seeds all generators; in the end put them back as they were.

    The same as `randomness.preserved` and `seed_everything`, for use with every example: a seed
    reaches Python's, numpy's and torch's CPU generators, and those of CUDA where it is in use.
    """
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    try:
        yield _seed if cuda is None else _seed_with_cuda
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)


def mixed(seed: int, place: int) -> int:
    """Return a seed of 63 bits in which neighbouring seeds and places share no sequence."""
    state = (seed * 0x9E3779B97F4A7C15 + place * 0xD1B54A32D192ED03 + 0x632BE59BD9B4E019) % 2**64
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) % 2**64
    return (state ^ (state >> 31)) >> 1


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed & 0xFFFFFFFF)
    torch.default_generator.manual_seed(seed)  # torch.manual_seed takes a hundred times longer


def _seed_with_cuda(seed: int) -> None:
    _seed(seed)
    torch.cuda.manual_seed_all(seed)
