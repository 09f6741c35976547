import copy
import logging
import sys

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch._dynamo.utils import counters
from torch._inductor import config

from tutelage.data import randomness
from tutelage.errors import DataError, ModelError
from tutelage.evaluation import accuracy, agreement, latencies, variants
from tutelage.evaluation.variants import check_close

NAMES = ["plain", "compiled", "bf16", "int8", "onnx"]
# bfloat16 has 8 bits of precision, and 8-bit integers as many for the whole range of a layer.
CLOSE = {"plain": 0, "compiled": 1e-5, "bf16": 0.05, "int8": 0.05, "onnx": 1e-5}


def perceptron():
    return nn.Sequential(nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10))


def convolutions():
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(128, 10),
    )


def trained(model, images, labels):
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
    return model.train()


@pytest.fixture(scope="module", params=[perceptron, convolutions])
def digits(request):
    data = load_digits()
    images = torch.tensor(data.data, dtype=torch.float32) / 16
    labels = torch.tensor(data.target)
    torch.manual_seed(0)
    return trained(request.param(), images[:1000], labels[:1000]), images[1000:], labels[1000:]


@pytest.fixture(scope="module")
def built(digits):
    model, images, _ = digits
    before, state = copy.deepcopy(model.state_dict()), randomness.capture()["torch"]
    forms = {each.name: each for each in variants(model, images[:16])}
    assert all(torch.equal(before[name], each) for name, each in model.state_dict().items())
    assert all(part.training for part in model.modules())
    assert all(each.requires_grad for each in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    return forms


def outputs(model, inputs):
    with torch.no_grad():
        return model(inputs)


def test_all_forms_are_built_in_order(built):
    assert list(built) == NAMES
    assert [each.reason for each in built.values()] == [""] * 5
    for each in built.values():
        assert isinstance(each.model, nn.Module)
        assert not any(part.training for part in each.model.modules())


@pytest.mark.parametrize("name", NAMES)
class TestEach:
    @pytest.mark.parametrize("batch", [1, 2, 15, 16, 100])
    def test_outputs_are_close_to_the_models_at_any_batch_size(self, digits, built, name, batch):
        model, images, _ = digits
        expected = outputs(copy.deepcopy(model).eval(), images[:batch])
        found = outputs(built[name].model, images[:batch])
        assert found.dtype == torch.float32
        scale = expected.abs().max().item()
        torch.testing.assert_close(found, expected, rtol=0, atol=CLOSE[name] * scale)

    def test_no_call_recompiles(self, digits, built, name):
        with torch.compiler.set_stance("fail_on_recompile"):
            for mode in (torch.no_grad, torch.inference_mode):
                for batch in (1, 3, 16, 100):
                    with mode():
                        built[name].model(digits[1][:batch])

    def test_predictions_equal_the_models_on_real_data(self, digits, built, name):
        model, images, labels = digits
        expected = outputs(copy.deepcopy(model).eval(), images)
        found = outputs(built[name].model, images)
        assert agreement(found, expected) >= 0.97
        assert accuracy(found, labels) > 0.85

    def test_inputs_do_not_change(self, digits, built, name):
        images = digits[1][:16].clone()
        outputs(built[name].model, images)
        assert torch.equal(images, digits[1][:16])


def test_fewer_bits_give_smaller_files(built):
    whole = built["plain"].file_bytes
    assert built["compiled"].file_bytes == whole
    assert built["bf16"].file_bytes < whole
    assert all(each.file_bytes > 0 for each in built.values())


def test_forms_are_timed_like_models(digits, built):
    models = {name: each.model for name, each in built.items()}
    times = latencies(models, digits[1], (1, 8), seconds=0.01, rounds=2)
    assert [len(each) for each in times.values()] == [2] * 5


def test_a_model_that_is_a_single_layer_is_quantized_too(monkeypatch):
    without("compile", monkeypatch)
    without("export", monkeypatch)
    layer, inputs = nn.Linear(64, 10), torch.randn(2, 64)
    small = next(each.model for each in variants(layer, inputs) if each.name == "int8")
    assert not torch.equal(outputs(small, inputs), outputs(layer, inputs))


def without(name, monkeypatch):
    """Leave out what takes long to build."""

    def fail(*_, **__):
        raise RuntimeError("not here\nand more of it")

    monkeypatch.setattr(torch if name == "compile" else torch.onnx, name, fail)


def reasons(model, inputs):
    return {each.name: each.reason for each in variants(model, inputs) if each.model is None}


class TestReasons:
    @pytest.fixture(autouse=True)
    def _no_compiler(self, monkeypatch):
        without("compile", monkeypatch)

    @pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
    def test_a_missing_package_names_the_extra(self, monkeypatch, package):
        monkeypatch.setitem(sys.modules, package, None)
        found = reasons(nn.Linear(3, 2), torch.zeros(2, 3))["onnx"]
        assert found == f"{package} is not installed; install it with pip install 'tutelage[onnx]'"

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


def test_nothing_is_printed_and_logging_is_restored(monkeypatch, capfd):
    without("compile", monkeypatch)
    before = logging.root.manager.disable
    assert reasons(nn.Linear(3, 2), torch.zeros(2, 3)).keys() == {"compiled"}
    assert capfd.readouterr() == ("", "")
    assert logging.root.manager.disable == before


def test_only_the_output_of_a_model_is_returned():
    class Several(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 2)

        def forward(self, inputs):
            return {"inputs": inputs, "logits": self.layer(inputs)}

    model, inputs = Several(), torch.randn(4, 3)
    for each in variants(model, inputs):
        assert each.reason == ""
        expected = outputs(model.layer, inputs)
        torch.testing.assert_close(outputs(each.model, inputs), expected, rtol=0, atol=0.05)


def test_one_value_for_each_input_is_a_column(monkeypatch):
    without("compile", monkeypatch)
    model, inputs = nn.Sequential(nn.Linear(3, 1), nn.Flatten(0)), torch.randn(4, 3)
    for each in variants(model, inputs):
        if each.name != "compiled":
            expected = outputs(model, inputs).unsqueeze(1)
            torch.testing.assert_close(outputs(each.model, inputs), expected, rtol=0, atol=0.05)


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
