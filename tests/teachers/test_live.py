import copy

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertModel

from compiling import compilers_warnings
from tutelage.errors import ModelError
from tutelage.layers import Output, Prepared
from tutelage.references.hugging_face import Pooled
from tutelage.signals import Batch
from tutelage.teachers import Live, Predictor, as_teacher
from tutelage.wants import OUTPUT, Fields

X = torch.randn(8, 3, generator=torch.Generator().manual_seed(1))


class Stumbling(nn.Module):
    def forward(self, inputs):
        raise ValueError("no")


class Shifted(nn.Module):
    """Adds what is no parameter."""

    def __init__(self, shift):
        super().__init__()
        self.shift = shift

    def forward(self, inputs):
        return inputs + self.shift


class ShiftedBack(Shifted):
    def forward(self, inputs):
        return inputs - self.shift


class Caching(nn.Linear):
    """Keeps a table from one call to the next, as rotary positions do."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.table_cache = {}
        self._last, self.calls = None, 0
        self.register_buffer("grown", torch.zeros(0), persistent=False)

    def forward(self, inputs):
        self._last = super().forward(inputs)
        self._count(len(inputs))
        self.table_cache[len(inputs)] = self.grown = torch.ones(len(inputs))
        return self._last

    def _count(self, number):
        self.calls += number


class Noting(nn.Linear):
    """Notes the sizes that it was given in a list without an underscore."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.seen, self.scales, self.shift = [], [1.0], torch.zeros(2)

    def forward(self, inputs):
        self.seen.append(len(inputs))
        return self.shift.add(super().forward(inputs)) * self.scales[0]


def noisy():
    """A teacher whose outputs differ in training mode: dropout and batch statistics."""
    model = nn.Sequential(nn.Linear(3, 16), nn.BatchNorm1d(16), nn.Dropout(0.5), nn.Linear(16, 4))
    with torch.no_grad():
        model[1].running_mean.normal_()
    return model


def ask(model, inputs=X):
    return Live(model).signals(Batch(inputs), OUTPUT).output


def state(model):
    return copy.deepcopy(model.state_dict())


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def test_the_output_in_train_mode_is_that_in_eval_mode():
    model = noisy()
    with torch.no_grad():
        expected = copy.deepcopy(model).eval()(X)
    model.train()
    torch.testing.assert_close(ask(model), expected, rtol=0, atol=0)
    torch.testing.assert_close(ask(model), expected, rtol=0, atol=0)


def test_nothing_of_the_module_changes():
    model = noisy().train()
    model[3].eval()
    model[0].weight.requires_grad_(False)
    before = state(model)
    modes = [part.training for part in model.modules()]
    ask(model)
    assert same(before, model.state_dict())
    assert [part.training for part in model.modules()] == modes
    assert [each.requires_grad for each in model.parameters()] == [False] + [True] * 5
    assert all(each.grad is None for each in model.parameters())


def test_nothing_of_the_module_changes_when_it_raises():
    model = nn.Sequential(noisy(), Stumbling()).train()
    before = state(model)
    with pytest.raises(ModelError, match=r"the teacher \(Sequential\) refused .*ValueError: no"):
        ask(model)
    assert all(part.training for part in model.modules())
    assert same(before, model.state_dict())
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


def test_the_output_is_a_plain_tensor_that_autograd_may_save():
    weight = torch.ones(4, requires_grad=True)
    output = ask(noisy())
    assert not output.requires_grad
    assert not output.is_inference()
    # Multiplication saves the other factor for the backward pass.
    (output * weight).sum().backward()
    torch.testing.assert_close(weight.grad, output.sum(dim=0))


def test_the_output_is_not_overwritten_by_the_next():
    buffer = torch.zeros(2, 2)

    class Reusing(nn.Module):
        def forward(self, inputs):
            return buffer.copy_(inputs)

    first = ask(Reusing(), torch.ones(2, 2))
    ask(Reusing(), torch.zeros(2, 2))
    assert first.tolist() == [[1.0, 1.0], [1.0, 1.0]]


def test_nothing_runs_if_nothing_is_required():
    assert Live(Stumbling()).signals(Batch(X), Fields()).output is None


def test_ready_sets_eval_mode_and_restores_the_former():
    model = noisy().train()
    with Live(model).ready(torch.device("cpu")):
        assert not any(part.training for part in model.modules())
    assert all(part.training for part in model.modules())


def test_ready_moves_to_the_device_and_back():
    class Recording(nn.Linear):
        moves = ()

        def to(self, device):
            self.moves = (*self.moves, device)
            return self

    model = Recording(3, 4)
    with Live(model).ready(torch.device("meta")):
        assert model.moves == (torch.device("meta"),)
    assert model.moves == (torch.device("meta"), torch.device("cpu"))


class TestFingerprint:
    def test_equal_weights_have_equal_fingerprints(self):
        model = noisy()
        assert Live(model).fingerprint() == Live(copy.deepcopy(model)).fingerprint()
        assert Live(model).fingerprint() == Live(model.train()).fingerprint()

    @pytest.mark.parametrize("name", ["0.weight", "1.running_mean", "3.bias"])
    def test_a_changed_weight_or_buffer_changes_it(self, name):
        model = noisy()
        before = Live(model).fingerprint()
        model.state_dict()[name].view(-1)[0] += 1e-6
        assert Live(model).fingerprint() != before

    def test_shapes_names_and_dtypes_change_it(self):
        tensor = torch.zeros(6)
        models = [nn.Module() for _ in range(4)]
        models[0].register_buffer("a", tensor)
        models[1].register_buffer("b", tensor)
        models[2].register_buffer("a", tensor.reshape(2, 3))
        models[3].register_buffer("a", tensor.to(torch.int32))
        assert len({Live(model).fingerprint() for model in models}) == 4

    def test_any_dtype_and_shape(self):
        model = nn.Module()
        for name, tensor in {
            "brief": torch.ones(2, dtype=torch.bfloat16),
            "scalar": torch.tensor(1),
            "nothing": torch.empty(0, 3),
            "strided": torch.ones(3, 2).T,
            "flags": torch.tensor([True]),
        }.items():
            model.register_buffer(name, tensor)
        assert Live(model).fingerprint().startswith("Module ")

    def test_the_settings_of_wrappers_change_it(self):
        """Of each of several, also inside of another module."""
        encoder = nn.Linear(3, 3)
        wrapped = [
            Output(encoder, "a"),
            Output(encoder, "b"),
            Output(encoder, lambda found: found[0]),
            Pooled(encoder, "mean"),
            Pooled(encoder, "first"),
            Prepared(Output(encoder, "a"), torch.abs),
            Prepared(Output(encoder, "b"), torch.abs),
            Prepared(Pooled(encoder, "mean"), torch.abs),
            Prepared(Pooled(encoder, "first"), torch.abs),
        ]
        prints = [Live(each).fingerprint() for each in wrapped]
        prints += [Live(nn.Sequential(each)).fingerprint() for each in wrapped]
        assert len({*prints}) == len(prints)
        assert prints[0] == Live(Output(copy.deepcopy(encoder), "a")).fingerprint()

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            (nn.LeakyReLU(0.1), nn.LeakyReLU(0.2)),
            (nn.ReLU(), nn.GELU()),
            (nn.AvgPool1d(3, padding=1), nn.AvgPool1d(3, padding=1, stride=1)),
            (Shifted(0.0), Shifted(1.0)),
            (Shifted(0.0), ShiftedBack(0.0)),
            (Shifted(torch.zeros(3)), Shifted(torch.ones(3))),
        ],
    )
    def test_what_changes_outputs_but_no_weight_changes_it(self, one, other):
        encoder = nn.Linear(3, 3)
        prints = [Live(nn.Sequential(encoder, each)).fingerprint() for each in (one, other)]
        assert prints[0] != prints[1]
        assert prints[0] == Live(nn.Sequential(encoder, copy.deepcopy(one))).fingerprint()

    def test_use_and_freezing_do_not_change_it(self):
        model = Caching(3, 3)
        before = Live(model).fingerprint()
        model(torch.zeros(2, 3))
        model.requires_grad_(requires_grad=False)
        assert model.table_cache
        assert Live(model).fingerprint() == before

    def test_a_list_that_grows_with_each_call_is_no_part_of_it(self):
        model = Noting(3, 2)
        before = Live(model).fingerprint()
        ask(model)
        assert len(model.seen) == 1
        assert Live(model).fingerprint() == before

    @compilers_warnings
    def test_a_compiled_model_is_the_same_model(self):
        model = noisy()
        own = Live(model).fingerprint().split()[-1]
        assert Live(torch.compile(model)).fingerprint().split()[-1] == own

    def test_a_model_of_transformers_saved_and_loaded_is_the_same_model(self, tmp_path):
        known = {"vocab_size": 8, "hidden_size": 4, "num_hidden_layers": 1, "intermediate_size": 4}
        model = BertModel(BertConfig(**known, num_attention_heads=2)).eval()
        model.save_pretrained(tmp_path)
        loaded = BertModel.from_pretrained(tmp_path)
        assert Live(loaded).fingerprint() == Live(model).fingerprint()
        other = BertModel(BertConfig(**known, num_attention_heads=4))
        other.load_state_dict(model.state_dict())
        assert Live(other).fingerprint() != Live(model).fingerprint()


def test_a_module_becomes_a_live_teacher_and_a_teacher_stays():
    model, predictor = noisy(), Predictor(len)
    teacher = as_teacher(model)
    assert isinstance(teacher, Live)
    assert teacher.module is model
    assert as_teacher(predictor) is predictor


@pytest.mark.parametrize("teacher", [None, len])
def test_anything_else_is_refused(teacher):
    with pytest.raises(
        ModelError, match=rf"got {type(teacher).__name__}; wrap a callable .*Predic"
    ):
        as_teacher(teacher)


class Forces(nn.Module):
    """The gradient of an energy, computed by autograd within the forward pass."""

    def __init__(self):
        super().__init__()
        self.energy = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))

    def forward(self, inputs):
        with torch.enable_grad():
            inputs = inputs.detach().requires_grad_()
            energy = self.energy(inputs).sum()
            return torch.autograd.grad(energy, inputs, create_graph=True)[0]


def test_a_module_may_use_autograd_in_its_forward_pass():
    module = Forces()
    output = Live(module).signals(Batch(X), OUTPUT).output
    torch.testing.assert_close(output, module(X).detach())
    assert not output.requires_grad


def test_weights_changed_through_data_are_used_under_autocast():
    """As averages of weights are often updated."""
    module = nn.Linear(3, 2)
    teacher = Live(module)
    found = []
    with teacher.ready(torch.device("cpu")):
        for _ in range(2):
            with torch.autocast("cpu", torch.bfloat16):
                found.append(teacher.signals(Batch(X), OUTPUT).output)
            module.weight.data.mul_(2)
            module.bias.data.mul_(2)
    torch.testing.assert_close(found[1], 2 * found[0])
