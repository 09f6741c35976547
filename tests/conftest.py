"""What all tests share."""

import os

# One thread for each process: the tests themselves run side by side, one worker on each core.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import functools
import random
from contextlib import suppress
from html import escape
from importlib import import_module

import numpy as np
import pytest
import torch
from hypothesis import settings

from tutelage.evaluation import cost

# What was written survives the death of a process, which is all that tests try; a power cut they do
# not, so that none needs to wait for the disk.
os.fsync = lambda _: None

collect_ignore = ["programs"]  # run as programs by the tests, and importing each other as such

# For devices that are not there, `torch.manual_seed` keeps a traceback each time: a millisecond.
for device in (torch.cuda, torch.xpu, torch.mtia):
    if not device.is_available():
        device.manual_seed_all = lambda _: None

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


@pytest.fixture(autouse=True, scope="session")
def _briefly_timed():
    """Time models but for a moment: tests of pages and studies do not look at how fast they are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cost, "_loops", lambda timer, _, loops=cost._loops: loops(timer, 1e-3))
        yield


@pytest.fixture(autouse=True, scope="session")
def _onnx_functions_read_once():
    """Keep the exporter's table of functions, which it parses anew for each file of ONNX."""
    export = torch.onnx.export

    def with_kept_table(*args, **kwargs):
        with suppress(ImportError, AttributeError):  # another version of PyTorch
            module = import_module("torch.onnx._internal.exporter._registration")
            make = module.ONNXRegistry.from_torchlib
            if not hasattr(make, "cache_info"):
                module.ONNXRegistry.from_torchlib = staticmethod(functools.cache(make))
        return export(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.onnx, "export", with_kept_table)
        yield


def pytest_xdist_auto_num_workers():
    """Run as many tests at once as this process may use cores, whatever the machine has."""
    allowed = getattr(os, "sched_getaffinity", None)  # Linux only
    return min(len(allowed(0)) if allowed else os.cpu_count() or 1, 16)


@pytest.fixture
def charts_drawn():
    """Draw charts in a test of a module that does without."""


@pytest.fixture
def charts_undrawn(request, monkeypatch):
    """Give charts their description but no drawing, which takes longer than the rest of a page.

    They are drawn where they, or whole pages, are looked at.
    """

    def described(_, description):
        return f'<svg aria-label="{escape(description)}"></svg>'

    if "charts_drawn" not in request.fixturenames:
        monkeypatch.setattr("tutelage.reports.figures.to_svg", described)
