import time
from itertools import groupby

import numpy as np
import pytest
import torch
from torch import nn

from tutelage.errors import ArgumentError
from tutelage.evaluation import latencies
from tutelage.evaluation.latency import _latency


class Counting(nn.Module):
    """A model that notes the size of each batch and the mode that it ran in."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, inputs):
        self.seen.append((len(inputs), self.training, torch.is_inference_mode_enabled()))
        return inputs.sum(dim=1)


def test_each_model_is_timed_at_each_batch_size_in_eval_and_inference_mode():
    models = {"teacher": Counting(), "student": Counting()}
    times = latencies(models, torch.zeros(8, 3), (1, 8), seconds=0.005, rounds=3)
    assert list(times) == ["teacher", "student"]
    for name, model in models.items():
        assert [each.batch_size for each in times[name]] == [1, 8]
        assert {size for size, _, _ in model.seen} == {1, 8}
        assert {modes for _, *modes in map(tuple, model.seen) for modes in [tuple(modes)]} == {
            (False, True)
        }
        assert model.training
        for each in times[name]:
            assert 0 < each.median <= each.percentile_95 < 1
            assert each.per_input == each.median / each.batch_size
            assert each.threads == torch.get_num_threads()


def test_models_are_timed_in_alternation():
    class Noting(Counting):
        order = []  # noqa: RUF012 - one list for both models

        def __init__(self, name):
            super().__init__()
            self.name = name

        def forward(self, inputs):
            self.order.append(self.name)
            return inputs

    models = {name: Noting(name) for name in ("teacher", "student")}
    latencies(models, torch.zeros(4, 3), (4,), seconds=1e-9, rounds=5)
    turns = [name for name, _ in groupby(Noting.order)]
    # Calls before the rounds warm the models up.
    assert turns[-10:] == ["teacher", "student"] * 5


def test_latency_is_seconds_for_a_batch():
    class Sleeping(nn.Module):
        def forward(self, inputs):
            time.sleep(0.002)
            return inputs

    models = {"slow": Sleeping(), "fast": nn.Identity()}
    times = latencies(models, torch.zeros(4, 3), (4,), seconds=0.02)
    assert 0.002 <= times["slow"][0].median < 0.02
    assert times["slow"][0].per_input == times["slow"][0].median / 4
    assert times["fast"][0].median < 0.001


def test_several_inputs():
    times = latencies(
        {"sum": Adding()}, {"a": torch.ones(4, 1), "b": torch.ones(4, 1)}, (2,), 0.002
    )
    assert times["sum"][0].batch_size == 2


class Adding(nn.Module):
    def forward(self, a, b):
        return a + b


def test_median_and_percentile_equal_numpys():
    measured = np.random.default_rng(0).exponential(size=20).tolist()
    latency = _latency(4, measured)
    assert latency.median == pytest.approx(np.median(measured))
    assert latency.percentile_95 == pytest.approx(np.percentile(measured, 95))


def test_the_percentile_of_a_single_measurement():
    assert _latency(1, [0.5]).percentile_95 == 0.5


@pytest.mark.parametrize("sizes", [(9,), (1, 9), (0,)])
def test_batch_sizes_above_the_number_of_inputs_are_refused(sizes):
    with pytest.raises(
        ArgumentError, match=r"`batch_sizes` must lie from 1 to 8, .*got [09]; give"
    ):
        latencies({"model": Counting()}, torch.zeros(8, 3), sizes, seconds=0.001)
