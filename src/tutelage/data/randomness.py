"""Seed, capture and restore the random states of Python, numpy and torch."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch

from tutelage.data.fingerprint import content
from tutelage.data.sets import held_datasets

State = dict[str, Any]
"""Plain numbers, tuples and tensors, so that `torch.load(weights_only=True)` reads it."""


def seed_everything(seed: int) -> None:
    """Seed Python's, numpy's and torch's generators, on all devices."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def seed_augmentation(seed: int) -> None:
    """Seed the CPU's generators, and CUDA's if in use; faster than `seed_everything`."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)


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


def equal(one: State, other: State) -> bool:
    """Tell whether no random number was drawn between two captured states."""
    return content(one) == content(other)


@contextmanager
def preserved() -> Iterator[None]:
    """Restore all generators on exit."""
    state = capture()
    try:
        yield
    finally:
        restore(state)


@contextmanager
def undisturbed(dataset: Any) -> Iterator[None]:
    """Restore all generators, and the attributes of a data set and of those inside it, on exit.

    This also drops a file that was opened when the first example was loaded: worker processes must
    not inherit it.
    """
    own = [vars(each) for each in _nested(dataset) if hasattr(each, "__dict__")]
    before = list(map(dict, own))
    generators = [_restore(value) for each in own for value in each.values()]
    try:
        with preserved():
            yield
    finally:
        for attributes, each in zip(own, before, strict=True):
            attributes.clear()
            attributes.update(each)
        for each in generators:
            each()


def _nested(dataset: Any) -> Iterator[Any]:
    yield dataset
    for each in held_datasets(dataset).values():
        yield from _nested(each)


def _restore(value: Any) -> Any:
    """Return a function that restores the present state of a random generator; else nothing."""
    if isinstance(value, (torch.Generator, np.random.RandomState)):
        return partial(value.set_state, value.get_state())
    if isinstance(value, np.random.Generator):
        return partial(setattr, value.bit_generator, "state", value.bit_generator.state)
    if isinstance(value, random.Random):
        return partial(value.setstate, value.getstate())
    return int


def mixed_seed(seed: int, number: int) -> int:
    """Return a seed of 63 bits from two numbers; neighbouring numbers give unrelated seeds."""
    state = (seed * 0x9E3779B97F4A7C15 + number * 0xD1B54A32D192ED03 + 0x632BE59BD9B4E019) % 2**64
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) % 2**64
    return (state ^ (state >> 31)) >> 1
