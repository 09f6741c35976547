"""What the tests of the demo share."""

import pytest
import torch

from tutelage.demo import DemoSettings, run_demo


@pytest.fixture(autouse=True, scope="module")
def _short():
    """Train as the demo does, since threads wait for each other; time the models but briefly."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        time_briefly(patch)
        yield
    torch.set_num_threads(before)


def time_briefly(patch):
    """Let a study time its models but briefly."""
    patch.setattr("tutelage.studies.conclude._SECONDS", 0.002)
    patch.setattr("tutelage.studies.conclude._ROUNDS", 2)


@pytest.fixture(autouse=True)
def _words_of_pages(charts_undrawn):
    """Few of these tests look at a chart."""


@pytest.fixture(scope="session")
def settings():
    return DemoSettings(seeds=2, steps=24, teacher_epochs=1)


@pytest.fixture(scope="session")
def results(settings):
    with pytest.MonkeyPatch.context() as patch:
        time_briefly(patch)
        return run_demo(settings)
