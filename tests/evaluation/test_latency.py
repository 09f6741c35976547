import time
from itertools import groupby

import numpy as np
import pytest
import torch
from torch import nn
from transformers import BatchEncoding

from tutelage.errors import ArgumentError, DataError
from tutelage.evaluation import latencies
from tutelage.evaluation.cost import _latency
from tutelage.layers import observe
from tutelage.signals import Batch
from tutelage.teachers import Predictor, Specialists
from tutelage.wants import OUTPUT


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


class Taking(nn.Module):
    """A model of any inputs that notes how it was called."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def forward(self, *args, **kwargs):
        self.calls.append((args, kwargs))
        return torch.zeros(2, 1)


PART = torch.arange(8.0).reshape(4, 2)
NESTED = {
    "dict": {"a": PART, "b": PART + 1},
    "dict of nested parts": {"a": {"b": PART}, "c": (PART, [PART])},
    "mapping of a tokenizer": BatchEncoding({"a": PART, "b": PART + 1}),
    "tuple": (PART, PART + 1),
    "list": [PART, PART + 1],
    "tuple with a dict": (PART, {"a": PART}),
    "strings": ["one", "two", "three", "four"],
    "strings among tensors": {"a": PART, "texts": ["one", "two", "three", "four"]},
    "one value for all": {"a": PART, "scale": 2.0, "flag": None},
}


@pytest.mark.parametrize("inputs", NESTED.values(), ids=NESTED)
def test_a_model_is_timed_by_calls_as_the_evaluation_calls_it(inputs):
    timed, observed = Taking(), Taking()
    latencies({"model": timed}, inputs, (2,), 0.001)
    observe(observed, Batch(inputs)[:2].inputs, OUTPUT, "model")
    assert repr(timed.calls[-1]) == repr(observed.calls[0])
    assert len(timed.calls) > 1


def test_inputs_are_the_same_for_each_model_and_do_not_change():
    class Working(nn.Module):
        def forward(self, inputs):
            return inputs.add_(1)

    inputs, second = torch.zeros(4, 3), Taking()
    latencies({"first": Working(), "second": second}, inputs, (4,), 0.001)
    assert torch.equal(inputs, torch.zeros(4, 3))
    assert all(torch.equal(args[0], inputs) for args, _ in second.calls)


def test_a_teacher_of_domains_is_timed_with_the_domains_of_the_batch():
    photo, sketch = Counting(), Counting()
    teacher = Specialists({"photo": photo, "sketch": sketch})
    batch = Batch(torch.zeros(4, 3), domain=["sketch", "photo", "sketch", "sketch"])
    times = latencies({"teacher": teacher}, batch, (1, 4), 0.001)
    assert [each.batch_size for each in times["teacher"]] == [1, 4]
    assert {size for size, *_ in sketch.seen} == {1, 3}
    assert {size for size, *_ in photo.seen} == {1}
    with pytest.raises(DataError, match="specialists need each example's domain"):
        latencies({"teacher": teacher}, batch.inputs, (1, 4), 0.001)


def test_a_teacher_that_is_no_module_is_timed():
    def slow(inputs):
        time.sleep(0.002)
        return inputs[:, :1]

    times = latencies({"teacher": Predictor(slow)}, torch.zeros(4, 3), (4,), 0.02)
    assert 0.002 <= times["teacher"][0].median < 0.02


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


def test_measurements_are_at_least_one():
    with pytest.raises(ArgumentError, match="`rounds` must be at least 1, got 0"):
        latencies({"model": Counting()}, torch.zeros(8, 3), [1], rounds=0)
