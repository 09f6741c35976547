"""Under autocast, weights of a frozen teacher are cast once, and outputs stay equal to the bit."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tutelage.signals import Batch
from tutelage.teachers import Live
from tutelage.teachers._cast_weights import CastWeights
from tutelage.wants import OUTPUT, Fields

CPU = torch.device("cpu")


class Tied(nn.Module):
    """An embedding that is the output layer as well: only the latter is cast."""

    def __init__(self):
        super().__init__()
        self.embedding, self.body = nn.Embedding(9, 8), nn.Linear(8, 8)
        self.head = nn.Linear(8, 9, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, ids):
        return self.head(self.body(self.embedding(ids)).mean(dim=1))


class Scaled(nn.Linear):
    """Computes with its weight outside of what autocast casts."""

    def forward(self, x):
        return F.linear(x, self.weight.tanh(), self.bias)


class ReadsItsLayer(nn.Module):
    """Computes with the weight of a plain linear layer outside of what autocast casts."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 6)

    def forward(self, x):
        return F.linear(x, self.layer.weight.exp().cumsum(0), self.layer.bias)


class InFloat32(nn.Module):
    """Computes a layer outside of autocast, which fails with a weight of low precision."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        x = self.first(x)
        with torch.autocast("cpu", enabled=False):
            return self.last(x.float())


X = torch.randn(8, 6)
IMAGES = torch.randn(4, 3, 9, 9)
MODELS = {
    "linear": (lambda: nn.Sequential(nn.Linear(6, 7), nn.LayerNorm(7), nn.Linear(7, 3)), X),
    "convolutions": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.ConvTranspose2d(8, 2, 3)
        ),
        IMAGES,
    ),
    "transformer": (
        lambda: nn.TransformerEncoderLayer(6, 2, 12, batch_first=True), torch.randn(4, 5, 6)
    ),
    "tied": (Tied, torch.randint(9, (4, 5))),
    "scaled": (lambda: Scaled(6, 6), X),
    "reads": (ReadsItsLayer, X),
    "in float32": (InFloat32, X),
    "lstm": (lambda: nn.Sequential(nn.LSTM(6, 4)), X),
}  # fmt: skip


def ask(teacher, inputs, fields=OUTPUT):
    with torch.autocast("cpu", torch.bfloat16):
        return teacher.signals(Batch(inputs), fields)


@pytest.mark.parametrize("name", MODELS)
def test_outputs_are_equal_to_the_bit(name):
    make, inputs = MODELS[name]
    model = make()
    if name == "lstm":
        try:  # PyTorch has no LSTM in bfloat16 on a CPU without AVX-512
            with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
                model(inputs)
        except RuntimeError as error:
            pytest.skip(f"PyTorch itself: {str(error)[:80]}")
    expected = ask(Live(model), inputs).output
    before = {name: each.clone() for name, each in model.state_dict().items()}
    teacher = Live(model)
    with teacher.ready(CPU):
        for _ in range(3):
            assert torch.equal(ask(teacher, inputs).output, expected)
    after = model.state_dict()
    assert all(torch.equal(after[name], each) for name, each in before.items())
    assert all(isinstance(each, nn.Parameter) for each in model.parameters())


@pytest.mark.parametrize(
    ("name", "cast"), [("linear", True), ("tied", True), ("reads", False), ("in float32", False)]
)
def test_it_is_used_where_it_is_exact(name, cast, monkeypatch):
    used = []
    in_use = CastWeights.in_use
    monkeypatch.setattr(CastWeights, "in_use", lambda self: used.append(self) or in_use(self))
    make, inputs = MODELS[name]
    teacher = Live(make())
    with teacher.ready(CPU):
        ask(teacher, inputs)
        used.clear()
        ask(teacher, inputs)
        assert bool(used) is cast
        teacher.signals(Batch(inputs), OUTPUT)  # without autocast
        assert len(used) == cast
    ask(teacher, inputs)  # after the run
    assert len(used) == cast


def test_weights_that_change_in_a_run_are_cast_again():
    model = nn.Linear(6, 3)
    teacher = Live(model)
    with teacher.ready(CPU):
        before = ask(teacher, X).output
        with torch.no_grad():
            model.weight.mul_(2)
        after = ask(teacher, X).output
        model.load_state_dict(nn.Linear(6, 3).state_dict())
        loaded = ask(teacher, X).output
    assert not torch.equal(before, after)
    assert torch.equal(loaded, ask(Live(model), X).output)


def test_a_parameter_of_another_kind_of_layer_is_left_out():
    assert len(CastWeights(Tied(), torch.bfloat16).weights) == 2


def test_features_are_equal_too():
    model = nn.Sequential(nn.Linear(6, 7), nn.ReLU(), nn.Linear(7, 3))
    fields = Fields(features=frozenset({"0"}))
    expected = ask(Live(model), X, fields).features["0"]
    teacher = Live(model)
    with teacher.ready(CPU):
        for _ in range(2):
            assert torch.equal(ask(teacher, X, fields).features["0"], expected)


def test_random_numbers_are_the_same():
    class Noisy(nn.Linear):
        def forward(self, x):
            return super().forward(x) + torch.rand(())

    def outputs(ready):
        torch.manual_seed(3)
        teacher = Live(Noisy(6, 3))
        if not ready:
            return [ask(teacher, X).output for _ in range(3)]
        with teacher.ready(CPU):
            return [ask(teacher, X).output for _ in range(3)]

    assert all(map(torch.equal, outputs(True), outputs(False)))


def test_a_model_that_fails_gets_its_weights_back():
    class Failing(nn.Sequential):
        fails = False

        def forward(self, x):
            if self.fails:
                raise ValueError("no")
            return super().forward(x)

    model = Failing(nn.Linear(6, 3))
    teacher, weight = Live(model), model[0].weight
    with teacher.ready(CPU):
        ask(teacher, X)
        model.fails = True
        with pytest.raises(Exception, match="no"):
            ask(teacher, X)
    assert model[0].weight is weight


def test_a_model_without_such_weights_runs_once():
    calls = []

    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, x):
            calls.append(x)
            return x.sum(dim=1) * self.scale

    teacher = Live(Sum())
    with teacher.ready(CPU):
        ask(teacher, X)
        ask(teacher, X)
    assert len(calls) == 2
