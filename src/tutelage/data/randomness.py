"""Random states of Python, numpy and torch: seeded, captured, restored and left undisturbed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch

State = dict[str, Any]
"""Plain numbers, tuples and tensors, so that `torch.load(weights_only=True)` reads it."""


def seed_everything(seed: int) -> None:
    """Seed Python's, numpy's and torch's generators, on all devices."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def capture() -> State:
    """Return the state of all generators."""
    numpy = np.random.get_state(legacy=False)
    state: State = {
        "python": random.getstate(),
        "numpy": (
            torch.from_numpy(numpy["state"]["key"].astype(np.int64)),
            int(numpy["state"]["pos"]),
            int(numpy["has_gauss"]),
            float(numpy["gauss"]),
        ),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def restore(state: State) -> None:
    """Set all generators to a captured state."""
    random.setstate(state["python"])
    keys, *rest = state["numpy"]
    np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if "cuda" in state:
        torch.cuda.set_rng_state_all(state["cuda"])


@contextmanager
def preserved() -> Iterator[None]:
    """Restore all generators on exit, whatever is drawn inside."""
    state = capture()
    try:
        yield
    finally:
        restore(state)


class SeededCalls:
    """Calls functions, each under a seed of its own, and restores the generators afterwards.

    The results equal those of `seed_everything` before each call and `preserved` around all calls,
    at lower cost. Seeding Python's and numpy's generators takes longer than torch's, and few
    augmentations draw from them. So these two are not seeded at first, but compared with a copy
    after each call; while both give the same numbers, nothing was drawn. At the first difference
    the call is repeated with a seed, and from then on both are seeded for every call.
    """

    def __init__(self) -> None:
        self._python = self._numpy = False  # whether they have been drawn from
        self._copies = random.Random(0), np.random.RandomState(0)  # noqa: S311 - no secrets

    @contextmanager
    def seeded(self) -> Iterator[Callable[[int, Callable[[], Any]], Any]]:
        """Yield a function that calls another under a seed; restore all generators on exit."""
        python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
        self._seed_copies()
        try:
            yield partial(self._call, cuda is not None)
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
            torch.set_rng_state(cpu)
            if cuda is not None:
                torch.cuda.set_rng_state_all(cuda)

    def _seed_copies(self) -> None:
        for generator in (random, np.random, *self._copies):
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
        python_copy, numpy_copy = self._copies
        python = not self._python and random.getrandbits(64) != python_copy.getrandbits(64)
        numpy = not self._numpy and np.random.random_sample() != numpy_copy.random_sample()
        if not (python or numpy):
            return made
        self._python, self._numpy = self._python or python, self._numpy or numpy
        return self._call(cuda, seed, make)


def mixed_seed(seed: int, number: int) -> int:
    """Return a seed of 63 bits from two numbers; neighbouring numbers give unrelated seeds."""
    state = (seed * 0x9E3779B97F4A7C15 + number * 0xD1B54A32D192ED03 + 0x632BE59BD9B4E019) % 2**64
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) % 2**64
    return (state ^ (state >> 31)) >> 1
