"""Random draws made from a seed of their own, at little cost, without a trace outside."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch


class Draws:
    """Carries out functions whose random draws are each begun from a seed.

    The result is that of `randomness.seed_everything` before each call and `preserved` around them
    all, for Python's, numpy's and torch's CPU generators and those of CUDA where it is in use. The
    cost is less: to seed Python's and numpy's takes longer than torch's, and few augmentations draw
    from them. So they run unseeded beside a twin that began alike, and as long as the two keep step
    nothing was drawn. At the first draw that call is made again, seeded, and from then on all are.
    """

    def __init__(self) -> None:
        self._python = self._numpy = False  # whether they have been drawn from
        self._twins = random.Random(0), np.random.RandomState(0)  # noqa: S311 - no secrets

    @contextmanager
    def apart(self) -> Iterator[Callable[[int, Callable[[], Any]], Any]]:
        """Yield what calls a function under a seed; in the end all generators are as before."""
        python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
        self._begin_alike()
        try:
            yield partial(self._call, cuda is not None)
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
            torch.set_rng_state(cpu)
            if cuda is not None:
                torch.cuda.set_rng_state_all(cuda)

    def _begin_alike(self) -> None:
        for generator in (random, np.random, *self._twins):
            generator.seed(0)

    def _call(self, cuda: bool, seed: int, make: Callable[[], Any]) -> Any:
        torch.default_generator.manual_seed(seed)  # torch.manual_seed takes a hundred times longer
        if cuda:
            torch.cuda.manual_seed_all(seed)
        if self._python:
            random.seed(seed)
        if self._numpy:
            np.random.seed(seed & 0xFFFFFFFF)
        made = make()
        one, other = self._twins
        python = not self._python and random.getrandbits(64) != one.getrandbits(64)
        numpy = not self._numpy and np.random.random_sample() != other.random_sample()
        if not (python or numpy):
            return made
        self._python, self._numpy = self._python or python, self._numpy or numpy
        return self._call(cuda, seed, make)


def mixed(seed: int, place: int) -> int:
    """Return a seed of 63 bits in which neighbouring seeds and places share no sequence."""
    state = (seed * 0x9E3779B97F4A7C15 + place * 0xD1B54A32D192ED03 + 0x632BE59BD9B4E019) % 2**64
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) % 2**64
    return (state ^ (state >> 31)) >> 1
