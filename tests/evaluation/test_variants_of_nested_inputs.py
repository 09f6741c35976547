"""Cheaper forms of models whose inputs are dicts, tuples and strings."""

import copy
import sys
from functools import cache

import pytest
import torch
from torch import nn
from torch.ao.quantization import quantize_dynamic
from transformers import BatchEncoding, BertConfig, BertForSequenceClassification

from tutelage.evaluation import latencies, variants
from tutelage.evaluation.variants import Built
from tutelage.layers import observe
from tutelage.wants import OUTPUT

# As in test_variants: relative to the largest output.
CLOSE = {"plain": 0, "compiled": 1e-5, "bf16": 0.05, "int8": 0.05, "onnx": 1e-5}
TOKENS = 7


def bert():
    """A model of transformers, with weights that are large enough for outputs to differ."""
    config = BertConfig(
        vocab_size=50, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=16, num_labels=3, initializer_range=0.1,
    )  # fmt: skip
    return BertForSequenceClassification(config)


def sentences(size, tokens=TOKENS):
    generator = torch.Generator().manual_seed(size)
    lengths = torch.randint(2, tokens + 1, (size, 1), generator=generator)
    mask = (torch.arange(tokens) < lengths).long()
    ids = torch.randint(1, 50, (size, tokens), generator=generator) * mask
    return BatchEncoding({"input_ids": ids, "attention_mask": mask})


class Pair(nn.Module):
    """A model of two tensors, one of numbers and one of classes."""

    def __init__(self):
        super().__init__()
        self.embed, self.first = nn.Embedding(5, 8), nn.Linear(6, 8)
        self.last = nn.Linear(8, 3)

    def forward(self, values, kinds):
        return self.last(torch.tanh(self.first(values) + self.embed(kinds)))


def pairs(size):
    generator = torch.Generator().manual_seed(size)
    values = torch.randn(size, 6, generator=generator)
    return values, torch.randint(0, 5, (size,), generator=generator)


class Nested(nn.Module):
    """A model of a dict with a tuple, a value for the whole batch, and an input that may miss."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, parts, scale, bias=None):
        first, second = parts["both"]
        output = self.layer(first * scale + second)
        return {"logits": output if bias is None else output + bias}


def nested(size):
    generator = torch.Generator().manual_seed(size)
    both = tuple(torch.randn(2, size, 6, generator=generator))
    return {"parts": {"both": both}, "scale": 0.5, "bias": None}


MODELS = {"bert": (bert, sentences), "pair": (Pair, pairs), "nested": (Nested, nested)}


@cache
def forms_of(name):
    make, inputs = MODELS[name]
    torch.manual_seed(0)
    model = make().eval()
    return model, inputs, {each.name: each for each in variants(model, inputs(16))}


@pytest.fixture(params=MODELS)
def built(request):
    return forms_of(request.param)


def output(model, inputs):
    with torch.inference_mode():
        return observe(model, inputs, OUTPUT, "model").logits


def test_all_forms_are_built(built):
    assert [each.reason for each in built[2].values()] == [""] * 5


@pytest.mark.parametrize("name", CLOSE)
def test_outputs_are_close_to_the_models_at_any_batch_size(built, name):
    model, inputs, forms = built
    for size in (1, 2, 5, 16, 40):
        expected = output(model, inputs(size))
        found = output(forms[name].model, inputs(size))
        assert found.dtype == torch.float32
        scale = expected.abs().max().item()
        torch.testing.assert_close(found, expected, rtol=0, atol=CLOSE[name] * scale)


def test_outputs_depend_on_every_input(built):
    """Close outputs prove nothing where all examples have the same one."""
    model, inputs, _ = built
    assert output(model, inputs(16)).std(dim=0).min() > 0.05


def test_no_call_recompiles(built):
    _, inputs, forms = built
    with torch.compiler.set_stance("fail_on_recompile"):
        for size in (1, 3, 16, 40):
            output(forms["compiled"].model, inputs(size))


def test_forms_are_timed_like_models(built):
    _, inputs, forms = built
    models = {name: each.model for name, each in forms.items()}
    times = latencies(models, inputs(16), (1, 8), seconds=0.01, rounds=2)
    assert [len(each) for each in times.values()] == [2] * 5


@pytest.mark.parametrize("name", ["plain", "bf16", "int8", "onnx"])
def test_texts_may_have_another_length(name):
    model, _, forms = forms_of("bert")
    batch = sentences(4, TOKENS + 3)
    expected = output(model, batch)
    atol = CLOSE[name] * expected.abs().max().item()
    torch.testing.assert_close(output(forms[name].model, batch), expected, rtol=0, atol=atol)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_int8_equals_pytorchs_own_quantization():
    model, inputs, forms = forms_of("bert")
    expected = output(quantize_dynamic(copy.deepcopy(model), {nn.Linear}), inputs(5))
    assert torch.equal(output(forms["int8"].model, inputs(5)), expected)


class Letters(nn.Module):
    """A model of strings."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 3)

    def forward(self, texts):
        rows = [[float(len(each)), float(each.count("a"))] for each in texts]
        return self.layer(torch.tensor(rows, dtype=self.layer.weight.dtype))


def failing(*_, **__):
    raise RuntimeError("not here")


def test_a_form_that_cannot_take_strings_says_so(monkeypatch):
    monkeypatch.setattr(torch, "compile", failing)
    forms = {each.name: each for each in variants(Letters(), ["a", "bb", "aca"])}
    assert forms["plain"].model is not None
    assert forms["onnx"].model is None
    assert "ONNX models take tensors" in forms["onnx"].reason


def test_a_batch_of_one_is_enough(monkeypatch):
    monkeypatch.setattr(torch, "compile", failing)
    model = Pair().eval()
    forms = {each.name: each for each in variants(model, pairs(1))}
    torch.testing.assert_close(output(forms["onnx"].model, pairs(9)), output(model, pairs(9)))


class Doubled(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, inputs):
        return 2 * self.model(inputs)


class TestFormsThatDiffer:
    @pytest.fixture(autouse=True)
    def _quick(self, monkeypatch):
        monkeypatch.setattr(torch, "compile", failing)

    def test_outputs_far_from_the_models_are_refused(self, monkeypatch):
        wrong = {"made": lambda model, _: Built(Doubled(model), 0)}
        monkeypatch.setattr(sys.modules["tutelage.evaluation.variants"], "FORMS", wrong)
        (found,) = variants(nn.Sequential(nn.Linear(3, 2)), torch.randn(4, 3))
        assert found.model is None
        assert "outputs must be close to the model's" in found.reason

    def test_infinite_logits_of_the_model_itself_are_accepted(self):
        class Never(nn.Linear):
            def forward(self, inputs):
                keep = torch.tensor([True, False])
                return super().forward(inputs).masked_fill(~keep, -torch.inf)

        forms = {each.name: each for each in variants(Never(3, 2), torch.randn(4, 3))}
        assert forms["bf16"].reason == ""
        assert forms["onnx"].reason == ""
