import copy

import pytest
import torch
from safetensors.torch import save_file, save_model
from torch import nn

from tutelage.data import randomness
from tutelage.errors import ModelError
from tutelage.evaluation import Cost, measure_cost
from tutelage.signals import Batch
from tutelage.teachers import Ensemble, Predictor, Specialists


def plain():
    return nn.Sequential(nn.Linear(5, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))


def tied():
    """Two layers with one weight, as a language model's embedding and head have."""
    model = nn.Sequential(nn.Embedding(50, 8), nn.Linear(8, 50, bias=False))
    model[1].weight = model[0].weight
    return model


def transposed():
    model = nn.Linear(5, 3)
    model.weight = nn.Parameter(torch.randn(5, 3).T)
    return model


def test_parameters_by_hand():
    assert measure_cost(plain()).parameters == 5 * 16 + 16 + 2 * 16 + 16 * 3 + 3


def test_tied_weights_count_once():
    cost = measure_cost(tied())
    assert cost.parameters == 50 * 8
    assert 4 * 50 * 8 < cost.file_bytes < 1.5 * 4 * 50 * 8


def test_file_bytes_are_those_of_a_file_of_the_state_dict(tmp_path):
    model = plain()
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    assert measure_cost(model).file_bytes == (tmp_path / "model.safetensors").stat().st_size


@pytest.mark.parametrize("make", [plain, tied, transposed, lambda: plain().half()])
def test_file_bytes_are_those_of_a_saved_model(make, tmp_path):
    model = make()
    save_model(model, str(tmp_path / "model.safetensors"))
    assert measure_cost(model).file_bytes == (tmp_path / "model.safetensors").stat().st_size


def test_frozen_parameters_count():
    model = plain().requires_grad_(False)
    assert measure_cost(model).parameters == measure_cost(plain()).parameters


class Recurrent(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.layer = kind(4, 8, batch_first=True)

    def forward(self, inputs):
        return self.layer(inputs)[0][:, -1]


def encoder():
    return nn.TransformerEncoderLayer(16, 4, dim_feedforward=32, batch_first=True)


# Operations: two for each multiplication that is added up.
BY_HAND = {
    "linear": (nn.Linear(1000, 1000), (1000,), 2 * 1000 * 1000),
    "convolution": (nn.Conv2d(3, 8, 3, padding=1), (3, 16, 16), 2 * 8 * 16 * 16 * 3 * 9),
    # Four projections of 10 tokens, scores and their sums, two layers.
    "attention": (
        encoder(),
        (10, 16),
        2 * (4 * 10 * 16 * 16 + 2 * 10 * 10 * 16 + 2 * 10 * 16 * 32),
    ),
    "lstm": (Recurrent(nn.LSTM), (6, 4), 2 * 6 * (4 + 8) * 4 * 8),
    "gru": (Recurrent(nn.GRU), (6, 4), 2 * 6 * (4 + 8) * 3 * 8),
    "nothing": (nn.Flatten(), (3, 4), 0),
}


@pytest.mark.parametrize(("model", "shape", "flops"), BY_HAND.values(), ids=BY_HAND)
def test_flops_of_one_input_by_hand(model, shape, flops):
    for batch in (1, 4):
        assert measure_cost(model, torch.randn(batch, *shape)).flops == flops


FLOAT = 4
HELD = {
    "one output": (nn.Linear(1000, 1000), (1000,), 1000),
    "a step's input and output": (
        nn.Sequential(nn.Linear(10, 300), nn.ReLU(), nn.Linear(300, 5)),
        (10,),
        300 + 300,
    ),
    "in place": (nn.Sequential(nn.Linear(10, 300), nn.ReLU(inplace=True)), (10,), 300),
    "a view": (nn.Flatten(), (3, 4), 0),
    "maps": (
        nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(512, 2)),
        (3, 8, 8),
        2 * 8 * 8 * 8,
    ),
}


@pytest.mark.parametrize(("model", "shape", "numbers"), HELD.values(), ids=HELD)
def test_memory_of_one_input_by_hand(model, shape, numbers):
    for batch in (1, 4):
        assert measure_cost(model, torch.randn(batch, *shape)).activation_bytes == FLOAT * numbers


def test_tensors_that_are_kept_use_memory_until_freed():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(100, 100) for _ in range(3))

        def forward(self, inputs):
            first = self.layers[0](inputs)
            return first + self.layers[2](self.layers[1](first))

    assert measure_cost(Residual(), torch.randn(1, 100)).activation_bytes == FLOAT * 300


def test_an_encoder_uses_at_least_the_memory_of_its_widest_layer():
    """Its fast path is one operation, which hides all that it holds."""
    held = measure_cost(encoder(), torch.randn(1, 10, 16)).activation_bytes
    assert held >= FLOAT * 10 * 32


def test_half_precision_halves_the_bytes():
    model = nn.Linear(100, 50).bfloat16()
    assert measure_cost(model, torch.zeros(1, 100).bfloat16()).activation_bytes == 2 * 50


def test_without_inputs_the_model_does_not_run():
    cost = measure_cost(nn.Linear(5, 3))
    assert cost == Cost(18, cost.file_bytes, None, None)


def test_several_inputs():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(5, 3)

        def forward(self, a, b):
            return self.layer(a + b)

    for inputs in ({"a": torch.ones(4, 5), "b": torch.ones(4, 5)}, (torch.ones(4, 5),) * 2):
        assert measure_cost(Two(), inputs).flops == 2 * 5 * 3


def test_teachers_together_cost_what_they_all_do_and_specialists_one_of_them_at_a_time():
    first, second = nn.Linear(5, 3), nn.Linear(5, 3, bias=False)
    batch = Batch(torch.ones(4, 5), domain=["b"] * 4)
    team = measure_cost(Ensemble([first, second]), batch)
    routed = measure_cost(Specialists({"a": first, "b": second}), batch)
    assert team.parameters == routed.parameters == 18 + 15
    assert team.flops == 2 * routed.flops == 2 * (2 * 5 * 3)
    assert routed.activation_bytes >= FLOAT * 3
    assert measure_cost(Ensemble([first, second])).flops is None


def test_a_teacher_that_is_no_module_has_no_size():
    with pytest.raises(ModelError, match=r"must be made of PyTorch modules.*got Predictor"):
        measure_cost(Predictor(lambda inputs: inputs), torch.ones(2, 5))


def test_inputs_without_a_tensor():
    class Letters(nn.Linear):
        def forward(self, texts):
            return super().forward(torch.tensor([[float(len(each))] for each in texts]))

    cost = measure_cost(Letters(1, 3), ["one", "two"])
    assert cost.flops == 2 * 3


def test_inputs_do_not_change():
    class Working(nn.Module):
        def forward(self, inputs):
            return inputs.add_(1)

    inputs = torch.zeros(1, 3)
    assert measure_cost(Working(), inputs).activation_bytes == 0
    assert torch.equal(inputs, torch.zeros(1, 3))


def test_model_kernels_and_random_state_do_not_change():
    model = nn.Sequential(plain(), nn.Dropout()).train()
    before = copy.deepcopy(model.state_dict())
    state = randomness.capture()["torch"]
    switches = [torch.backends.mkldnn.enabled, torch.backends.mha.get_fastpath_enabled()]
    measure_cost(model, torch.randn(4, 5, generator=torch.Generator()))
    assert all(part.training for part in model.modules())
    assert all(torch.equal(before[name], each) for name, each in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert switches == [torch.backends.mkldnn.enabled, torch.backends.mha.get_fastpath_enabled()]


def test_an_error_of_the_model_is_reported_and_kernels_are_restored():
    before = torch.backends.mkldnn.enabled
    with pytest.raises(ModelError, match=r"the model \(Linear\) refused its inputs"):
        measure_cost(nn.Linear(5, 3), torch.zeros(2, 4))
    assert torch.backends.mkldnn.enabled == before
