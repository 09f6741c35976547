"""The device of the tests that are about devices: an NVIDIA GPU, or what a variable names.

`TUTELAGE_TEST_DEVICE=cpu` runs them on the CPU, which shows that they are right as programs.
"""

import os

import pytest
import torch

DEVICE = os.environ.get("TUTELAGE_TEST_DEVICE", "cuda")
ON_CUDA = DEVICE.startswith("cuda")

cuda = [
    pytest.mark.cuda,
    pytest.mark.skipif(
        ON_CUDA and not torch.cuda.is_available(),
        reason="no NVIDIA GPU here; TUTELAGE_TEST_DEVICE=cpu runs this on the CPU",
    ),
]
"""What a file of such tests has as its `pytestmark`."""

OTHERS = [
    "cpu",
    pytest.param(
        "cuda:1",
        marks=pytest.mark.skipif(torch.cuda.device_count() < 2, reason="no second NVIDIA GPU here"),
    ),
]
"""Where a teacher may be that is not on the student's device."""


def device_of(module):
    """Return the kind of device that a module's parameters are on."""
    return next(module.parameters()).device
