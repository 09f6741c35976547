from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tutelage.evaluation import measure_cost
from tutelage.evaluation.cost import Allocations

FLOAT = 4
NONE = nn.Identity()


def peak(run, model=NONE, inputs=()):
    with torch.no_grad(), Allocations(model, inputs) as seen:
        run()
    return seen.peak


def held(model, inputs):
    return measure_cost(model, inputs).activation_bytes


def test_peak_of_linear_layers_is_that_of_the_largest_input_and_output():
    model = nn.Sequential(nn.Linear(1000, 1000), nn.ReLU(), nn.Linear(1000, 10))
    for batch in (1, 8):
        assert held(model, torch.zeros(batch, 1000)) == 8000


def test_in_place_operations_allocate_nothing():
    outside = nn.Sequential(nn.Linear(8, 500), nn.ReLU())
    inside = nn.Sequential(nn.Linear(8, 500), nn.ReLU(inplace=True))
    assert held(outside, torch.zeros(1, 8)) == 2 * FLOAT * 500
    assert held(inside, torch.zeros(1, 8)) == FLOAT * 500


def test_views_of_a_tensor_count_once():
    def run():
        whole = torch.zeros(100)
        return whole.view(10, 10), whole[3:], whole.view(10, 10).T, whole.expand(5, 100)

    assert peak(run) == FLOAT * 100


def test_freed_tensors_are_not_counted():
    def run():
        for _ in range(5):
            torch.zeros(100)

    assert peak(run) == FLOAT * 100


def test_tensors_that_are_kept_add_up():
    assert peak(lambda: [torch.zeros(100) for _ in range(5)]) == FLOAT * 500


def test_weights_buffers_and_inputs_are_not_counted():
    model, inputs = nn.BatchNorm1d(50), (torch.zeros(4, 50), {"more": torch.zeros(7)})

    def run():
        return (
            model.weight.view(5, 10),
            model.running_mean[:3],
            inputs[0].add_(1).flatten(),
            inputs[1]["more"].detach(),
        )

    assert peak(run, model, inputs) == 0


@pytest.mark.parametrize(
    ("dtype", "size"), [(torch.float64, 8), (torch.bfloat16, 2), (torch.bool, 1)]
)
def test_bytes_depend_on_the_dtype(dtype, size):
    assert peak(lambda: torch.zeros(100, dtype=dtype)) == 100 * size


def test_all_outputs_of_an_operation_are_counted():
    assert peak(lambda: torch.randn(100).sort()) == 100 * (FLOAT + FLOAT + 8)


class Adding(nn.Module):
    def forward(self, a, b):
        return a + b


@pytest.mark.parametrize("pack", [lambda a, b: (a, b), lambda a, b: {"a": a, "b": b}])
def test_several_inputs(pack):
    assert held(Adding(), pack(torch.zeros(3, 20), torch.zeros(3, 20))) == FLOAT * 20


@given(st.lists(st.integers(1, 40), min_size=2, max_size=6), st.integers(1, 40))
def test_more_layers_never_use_less_memory(widths, last):
    layers = [nn.Linear(a, b) for a, b in zip(widths, [*widths[1:], last], strict=True)]
    few, more = nn.Sequential(*layers[:-1]), nn.Sequential(*layers)
    inputs = torch.zeros(2, widths[0])
    assert held(few, inputs) <= held(more, inputs)
    assert measure_cost(few, inputs).flops < measure_cost(more, inputs).flops


@given(st.lists(st.integers(1, 40), min_size=2, max_size=6))
def test_peak_of_a_chain_is_its_largest_pair_of_neighbours(widths):
    layers = [nn.Linear(a, b) for a, b in pairwise(widths)]
    made = [0, *widths[1:]]  # the input is not counted
    expected = max(a + b for a, b in pairwise(made))
    assert held(nn.Sequential(*layers), torch.zeros(2, widths[0])) == FLOAT * expected
