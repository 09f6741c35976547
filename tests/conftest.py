"""What all tests share."""

import random

import numpy as np
import pytest
import torch
from hypothesis import settings

collect_ignore = ["programs"]  # run as programs by the tests, and importing each other as such

# The same examples at every run: a failure is one of the change at hand, never of the draw.
settings.register_profile(
    "tutelage", deadline=None, max_examples=30, derandomize=True, database=None
)
settings.load_profile("tutelage")


@pytest.fixture(autouse=True)
def _seeded():
    """Begin every test from the same random state, so that none depends on those before it."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
