import copy

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from tutelage.data import randomness
from tutelage.errors import DataError, ModelError
from tutelage.evaluation import predict

X = torch.randn(11, 5, generator=torch.Generator().manual_seed(1))
SET = TensorDataset(X, torch.arange(11))


def model():
    return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 3))


@pytest.mark.parametrize("batch_size", [1, 4, 256])
def test_outputs_are_those_of_the_model_in_eval_mode_in_the_order_of_the_data(batch_size):
    network = model()
    with torch.no_grad():
        expected = copy.deepcopy(network).eval()(X)
    torch.testing.assert_close(predict(network, SET, batch_size), expected)


def test_the_model_does_not_change():
    network = model().train()
    network[1].eval()
    before = copy.deepcopy(network.state_dict())
    predict(network, SET)
    assert [part.training for part in network.modules()] == [True, True, False, True, True]
    assert all(torch.equal(before[name], each) for name, each in network.state_dict().items())


def test_the_random_state_does_not_change():
    network = model()
    before = randomness.capture()["torch"]
    predict(network, DataLoader(SET, 4))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_loader_and_a_model_without_parameters():
    outputs = predict(nn.Flatten(), DataLoader(SET, 4))
    assert torch.equal(outputs, X)


def test_empty_data_is_refused():
    with pytest.raises(DataError, match="`data` must have at least one example"):
        predict(model(), TensorDataset(X[:0]))


def test_a_model_that_refuses_the_inputs_is_named():
    with pytest.raises(ModelError, match=r"the model \(Linear\) refused its inputs"):
        predict(nn.Linear(7, 2), SET)


def test_outputs_in_an_order_that_nobody_knows_are_refused():
    with pytest.raises(DataError, match=r"order that is known.* a DataLoader with RandomSampler"):
        predict(nn.Linear(4, 2), DataLoader(SET, 4, shuffle=True))
    for _ in range(6):  # two of two examples are often in the same order
        with pytest.raises(DataError, match="RandomSampler"):
            predict(nn.Linear(4, 2), DataLoader(TensorDataset(X[:2]), 1, shuffle=True))


def test_outputs_are_in_the_order_of_a_sampler_that_draws_nothing():
    outputs = predict(nn.Flatten(), DataLoader(SET, 2, sampler=[3, 1, 0]))
    assert torch.equal(outputs, X[[3, 1, 0]])
