"""Values in their own units, trained as standardised ones."""

import copy

import pytest
import torch
from torch import nn

from tutelage.layers import Rescaled

MEAN, DEVIATION = torch.tensor([13000.0, 0.02]), torch.tensor([12000.0, 1e-3])


def networks():
    torch.manual_seed(0)
    plain = nn.Linear(3, 2)
    return plain, Rescaled(copy.deepcopy(plain), MEAN, DEVIATION)


def test_outputs_are_in_the_units_of_the_values_in_both_modes():
    plain, scaled = networks()
    inputs = torch.randn(5, 3)
    expected = plain(inputs) * DEVIATION + MEAN
    for mode in (True, False):
        torch.testing.assert_close(scaled.train(mode)(inputs), expected)


def test_squared_errors_have_the_gradients_of_standardised_values():
    plain, scaled = networks()
    inputs, target = torch.randn(5, 3), torch.randn(5, 2)
    (plain(inputs) - target).square().mean().backward()
    (scaled(inputs) - (target * DEVIATION + MEAN)).square().mean().backward()
    torch.testing.assert_close(scaled.weight.grad, plain.weight.grad, rtol=1e-3, atol=1e-4)


def test_the_scale_is_saved_with_the_weights_and_copied():
    _, scaled = networks()
    assert set(scaled.state_dict()) == {"weight", "bias", "target_mean", "target_deviation"}
    inputs = torch.randn(5, 3)
    assert torch.equal(copy.deepcopy(scaled).eval()(inputs), scaled.eval()(inputs))
    other = Rescaled(nn.Linear(3, 2), torch.zeros(2), torch.ones(2))
    other.load_state_dict(scaled.state_dict())
    assert torch.equal(other.eval()(inputs), scaled(inputs))


@pytest.mark.parametrize("dtype", [torch.bfloat16])
def test_values_are_float32_under_autocast(dtype):
    _, scaled = networks()
    with torch.autocast("cpu", dtype):
        assert scaled(torch.randn(5, 3)).dtype == torch.float32


def test_it_can_be_exported():
    _, scaled = networks()
    inputs = torch.randn(5, 3)
    program = torch.export.export(scaled.eval(), (inputs,)).module()
    torch.testing.assert_close(program(inputs), scaled(inputs))
