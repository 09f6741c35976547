"""Cheaper forms of models of one tensor, and of dicts, tuples and strings."""

import copy
import logging
import sys
from functools import cache

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch._dynamo.utils import counters
from torch._inductor import config
from torch.ao.quantization import quantize_dynamic
from torch.utils._pytree import tree_leaves
from transformers import BatchEncoding, BertConfig, BertForSequenceClassification

from tutelage.data import randomness
from tutelage.errors import DataError, ModelError
from tutelage.evaluation import accuracy, agreement, latencies, predict, variants
from tutelage.evaluation.variants import Built, check_close
from tutelage.layers import observe
from tutelage.layers.observe import arguments
from tutelage.wants import OUTPUT

NAMES = ["plain", "compiled", "bf16", "int8", "onnx"]
# Relative to the largest output. bfloat16 has 8 bits of precision, and 8-bit integers as many for
# the whole range of a layer.
CLOSE = {"plain": 0, "compiled": 1e-5, "bf16": 0.05, "int8": 0.05, "onnx": 1e-5}
TOKENS = 7


def convolutions():
    """A trained classifier of digits, in training mode."""
    images, labels = digits()
    model = nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(128, 10),
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images[:1000]), labels[:1000]).backward()
        optimizer.step()
    return model


@cache
def digits():
    data = load_digits()
    return torch.tensor(data.data, dtype=torch.float32) / 16, torch.tensor(data.target)


def images(size):
    return digits()[0][1000 : 1000 + size]


def bert():
    """A model of transformers, with weights that are large enough for outputs to differ."""
    config = BertConfig(
        vocab_size=50, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=16, num_labels=3, initializer_range=0.15,
    )  # fmt: skip
    return BertForSequenceClassification(config)


def sentences(size, tokens=TOKENS):
    generator = torch.Generator().manual_seed(size)
    lengths = torch.randint(2, tokens + 1, (size, 1), generator=generator)
    mask = (torch.arange(tokens) < lengths).long()
    ids = torch.randint(1, 50, (size, tokens), generator=generator) * mask
    return BatchEncoding({"input_ids": ids, "attention_mask": mask})


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


MODELS = {
    "convolutions": (convolutions, images),
    "bert": (bert, sentences),
    "nested": (Nested, nested),
}


@pytest.fixture(scope="module", params=MODELS)
def built(request):
    """A model, a function of its inputs, and its forms by name."""
    make, inputs = MODELS[request.param]
    torch.manual_seed(0)
    model = make().train()
    before, state = copy.deepcopy(model.state_dict()), randomness.capture()["torch"]
    forms = {each.name: each for each in variants(model, inputs(16))}
    assert all(torch.equal(before[name], each) for name, each in model.state_dict().items())
    assert all(part.training for part in model.modules())
    assert all(each.requires_grad for each in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    return model.eval(), inputs, forms


def called(model, inputs):
    """Return what a form itself returns, without gradients."""
    args, kwargs = arguments(inputs)
    with torch.no_grad():
        return model(*args, **kwargs)


def tensors(inputs):
    return [each for each in tree_leaves(arguments(inputs)) if isinstance(each, Tensor)]


def output(model, inputs):
    with torch.inference_mode():
        return observe(model, inputs, OUTPUT, "model").logits


def test_all_forms_are_built_in_order(built):
    model, inputs, forms = built
    assert list(forms) == NAMES
    assert [each.reason for each in forms.values()] == [""] * 5
    assert not any(part.training for each in forms.values() for part in each.model.modules())
    whole = forms["plain"].file_bytes
    assert forms["compiled"].file_bytes == whole
    assert forms["bf16"].file_bytes < whole
    assert all(each.file_bytes > 0 for each in forms.values())
    # Close outputs prove nothing where all examples have the same one.
    assert output(model, inputs(16)).std(dim=0).min() > 0.05


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_close_to_the_models_at_any_batch_size(built, name):
    model, inputs, forms = built
    for size in (1, 2, 15, 16, 40):
        given = inputs(size)
        expected = output(model, given)
        found = called(forms[name].model, given)
        assert isinstance(found, Tensor)  # also of a model that returns an object or a dict
        assert found.dtype == torch.float32
        scale = expected.abs().max().item()
        torch.testing.assert_close(found, expected, rtol=0, atol=CLOSE[name] * scale)
        assert all(map(torch.equal, tensors(given), tensors(inputs(size))))  # none has changed


def test_no_use_of_a_form_recompiles_it(built):
    """Past a limit for each class, PyTorch would run it uncompiled in silence."""
    _, inputs, forms = built
    models = {name: each.model for name, each in forms.items()}
    with torch.compiler.set_stance("fail_on_recompile"):
        for size in (1, 3, 40):
            called(models["compiled"], inputs(size))
            output(models["compiled"], inputs(size))
        times = latencies(models, inputs(16), (1, 8), seconds=0.01, rounds=2)
    assert [len(each) for each in times.values()] == [2] * 5


@pytest.mark.parametrize("built", ["convolutions"], indirect=True)
def test_predictions_equal_the_models_on_real_data(built):
    model, _, forms = built
    inputs, labels = (each[1000:] for each in digits())
    expected = output(model, inputs)
    for each in forms.values():
        found = predict(each.model, inputs)
        assert agreement(found, expected) >= 0.97
        assert accuracy(found, labels) > 0.85


@pytest.mark.parametrize("built", ["bert"], indirect=True)
def test_texts_may_have_another_length(built):
    model, _, forms = built
    batch = sentences(4, TOKENS + 3)
    expected = output(model, batch)
    for name in ("plain", "bf16", "int8", "onnx"):
        atol = CLOSE[name] * expected.abs().max().item()
        torch.testing.assert_close(output(forms[name].model, batch), expected, rtol=0, atol=atol)


@pytest.mark.parametrize("built", ["bert"], indirect=True)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_int8_equals_pytorchs_own_quantization(built):
    model, inputs, forms = built
    expected = output(quantize_dynamic(copy.deepcopy(model), {nn.Linear}), inputs(5))
    assert torch.equal(output(forms["int8"].model, inputs(5)), expected)


def without(name, monkeypatch):
    """Leave out what takes long to build."""

    def fail(*_, **__):
        raise RuntimeError("not here\nand more of it")

    monkeypatch.setattr(torch if name == "compile" else torch.onnx, name, fail)


def reasons(model, inputs):
    return {each.name: each.reason for each in variants(model, inputs) if each.model is None}


class Pair(nn.Module):
    """A model of two tensors, one of numbers and one of classes, with one value an example."""

    def __init__(self):
        super().__init__()
        self.embed, self.first = nn.Embedding(5, 8), nn.Linear(6, 8)
        self.last = nn.Linear(8, 1)

    def forward(self, values, kinds):
        return self.last(torch.tanh(self.first(values) + self.embed(kinds))).flatten()


def pairs(size):
    generator = torch.Generator().manual_seed(size)
    values = torch.randn(size, 6, generator=generator)
    return values, torch.randint(0, 5, (size,), generator=generator)


def test_a_batch_of_one_is_enough_and_one_value_for_each_input_is_a_column(monkeypatch, capfd):
    without("compile", monkeypatch)
    before = logging.root.manager.disable
    model, given = Pair().eval(), pairs(9)
    forms = {each.name: each for each in variants(model, pairs(1))}
    assert [name for name, each in forms.items() if each.model is None] == ["compiled"]
    assert capfd.readouterr() == ("", "")
    assert logging.root.manager.disable == before
    expected = called(model, given).unsqueeze(1)
    for name in ("plain", "bf16", "int8", "onnx"):
        atol = CLOSE[name] * expected.abs().max().item()
        torch.testing.assert_close(called(forms[name].model, given), expected, rtol=0, atol=atol)


def test_a_model_that_is_a_single_layer_is_quantized_too(monkeypatch):
    without("compile", monkeypatch)
    without("export", monkeypatch)
    layer, inputs = nn.Linear(64, 10), torch.randn(2, 64)
    small = next(each.model for each in variants(layer, inputs) if each.name == "int8")
    assert not torch.equal(called(small, inputs), called(layer, inputs))


class Letters(nn.Module):
    """A model of strings."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 3)

    def forward(self, texts):
        rows = [[float(len(each)), float(each.count("a"))] for each in texts]
        return self.layer(torch.tensor(rows, dtype=self.layer.weight.dtype))


def test_a_form_that_cannot_take_strings_says_so(monkeypatch):
    without("compile", monkeypatch)
    forms = {each.name: each for each in variants(Letters(), ["a", "bb", "aca"])}
    assert forms["plain"].model is not None
    assert forms["onnx"].model is None
    assert "ONNX models take tensors" in forms["onnx"].reason


class TestReasons:
    @pytest.fixture(autouse=True)
    def _no_compiler(self, monkeypatch):
        without("compile", monkeypatch)

    @pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
    def test_a_missing_package_names_the_extra(self, monkeypatch, package):
        monkeypatch.setitem(sys.modules, package, None)
        found = reasons(nn.Linear(3, 2), torch.zeros(2, 3))["onnx"]
        assert f"ONNX needs the package {package}, got none; install it" in found

    def test_a_missing_compiler_is_named(self, monkeypatch):
        without("export", monkeypatch)
        found = variants(nn.Linear(3, 2), torch.zeros(2, 3))[1]
        assert (found.name, found.model, found.file_bytes) == ("compiled", None, None)
        assert found.reason.startswith("torch.compile failed with RuntimeError: not here; it needs")
        assert "C++ compiler" in found.reason

    def test_a_model_that_cannot_be_copied_has_no_forms(self):
        model = nn.Linear(3, 2)
        model.kept = model.weight * 2  # a tensor with a history
        found = variants(model, torch.zeros(2, 3))
        assert [each.name for each in found] == NAMES
        assert all(each.model is None for each in found)
        assert found[0].reason.startswith("the model cannot be copied: RuntimeError: Only Tensors")

    def test_a_model_with_data_dependent_control_flow_cannot_be_exported(self, capfd):
        class Deciding(nn.Module):
            def __init__(self):
                super().__init__()
                self.layer = nn.Linear(3, 2)

            def forward(self, inputs):
                return self.layer(inputs if inputs.sum() > 0 else -inputs)

        found = reasons(Deciding(), torch.ones(2, 3))
        assert found.keys() == {"compiled", "onnx"}
        assert "\n" not in found["onnx"]
        assert "\x1b" not in found["onnx"]
        assert found["onnx"].partition(":")[0].isidentifier()
        assert capfd.readouterr() == ("", "")

    def test_other_failures_are_reported_in_one_line(self, monkeypatch):
        without("export", monkeypatch)
        assert reasons(nn.Linear(3, 2), torch.zeros(2, 3))["onnx"] == "RuntimeError: not here"

    def test_without_linear_layers_there_is_no_int8_form(self, monkeypatch):
        without("export", monkeypatch)
        found = reasons(nn.Conv1d(3, 2, 1), torch.zeros(2, 3, 4))["int8"]
        assert found == "the model has no Linear layers, which are the layers that are quantized"

    def test_outputs_of_another_batch_size_are_refused(self, monkeypatch):
        without("export", monkeypatch)
        found = reasons(nn.Sequential(nn.Linear(3, 2), nn.Flatten(0)), torch.zeros(2, 3))
        assert found["bf16"].startswith("it must return a tensor with one row for each of 2 inputs")


def test_a_missing_real_compiler_is_named(monkeypatch, tmp_path, capfd):
    without("export", monkeypatch)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    model = nn.Sequential(nn.Linear(3, 11), nn.Tanh())
    with config.patch({"cpp.cxx": (None, "no-such-compiler")}):
        found = reasons(model, torch.zeros(2, 3))["compiled"]
    assert "No working C++ compiler found" in found
    assert "it needs a C++ compiler, such as g++" in found
    assert capfd.readouterr() == ("", "")


def test_many_models_of_a_class_are_all_compiled(monkeypatch):
    """Beyond a limit for each class, PyTorch leaves models uncompiled in silence."""
    without("export", monkeypatch)
    with torch._dynamo.config.patch(recompile_limit=1):
        for width in (2, 3):
            before = counters["stats"]["unique_graphs"]
            variants(nn.Sequential(nn.Linear(3, width)), torch.zeros(4, 3))
            assert counters["stats"]["unique_graphs"] == before + 2  # a batch of one, and others


@pytest.mark.parametrize("inputs", [{"x": torch.zeros(0, 3)}, torch.zeros(0, 3), torch.tensor(1.0)])
def test_inputs_that_are_not_a_batch_are_refused(inputs):
    with pytest.raises(ModelError, match=r"`inputs` must be a batch of at least one example"):
        variants(nn.Linear(3, 2), inputs)


def test_inputs_that_cannot_be_split_by_example_are_refused():
    with pytest.raises(DataError, match=r"must be tensors .* to be split by example"):
        variants(nn.Linear(3, 2), (torch.zeros(4, 3), torch.zeros(3, 3)))


def test_a_model_that_refuses_the_inputs_is_named():
    with pytest.raises(ModelError, match=r"the model \(Linear\) refused its inputs"):
        variants(nn.Linear(3, 2), torch.zeros(2, 4))


@pytest.mark.parametrize("values", [[torch.nan], [torch.nan, torch.inf], [1.0, torch.nan]])
def test_outputs_that_are_not_finite_are_compared_too(values):
    expected = torch.tensor(values).expand(2, -1)
    check_close(expected.clone(), expected, 2, 0.01)
    with pytest.raises(ModelError, match="must be close to the model's, whose largest is"):
        check_close(torch.full_like(expected, 3.0), expected, 2, 0.01)


class Doubled(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, inputs):
        return 2 * self.model(inputs)


class TestFormsThatDiffer:
    @pytest.fixture(autouse=True)
    def _quick(self, monkeypatch):
        without("compile", monkeypatch)

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
