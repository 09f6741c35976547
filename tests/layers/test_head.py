"""Language models whose output layer is not computed: equal to those whose logits are whole."""

import logging
from copy import deepcopy
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import LlamaForCausalLM

import tutelage as tl
from language_models import VOCABULARY, make, padded, texts
from tutelage.heads import HeadLogits
from tutelage.signals import Batch

OBJECTIVE = tl.HardLabels() + tl.SoftTargets(2)
MODELS = ("Llama", "GPT2", "Gemma", "Gemma2", "Cohere", "Granite", "T5", "Bart", "Bert")


def batch():
    raw = padded(texts())
    return Batch({key: raw[key] for key in ("input_ids", "attention_mask")}, raw["labels"])


def learned(student, teacher, least, objective=OBJECTIVE):
    """Return losses, gradients by name, and the kinds of both outputs."""
    distiller = tl.Distiller(student, teacher, objective, least)
    student.zero_grad()
    losses = distiller(batch())
    losses.total.backward()
    gradients = {
        name: each.grad.clone()
        for name, each in student.named_parameters()
        if each.grad is not None
    }
    kinds = tuple(type(each.output).__name__ for each in (losses.student, losses.teacher))
    return {**losses.parts, "loss": losses.total.detach()}, gradients, kinds


HEADS, LOGITS = ("HeadLogits", "HeadLogits"), ("Tensor", "Tensor")


def check_equal(student, teacher, heads=HEADS, **tolerance):
    """Check that losses and gradients do not depend on whether logits are whole."""
    ours, expected = learned(student, teacher, 0), learned(student, teacher, None)
    assert (ours[2], expected[2]) == (heads, LOGITS)
    torch.testing.assert_close(ours[:2], expected[:2], **tolerance)


@pytest.mark.parametrize("name", MODELS)
def test_losses_and_gradients_are_those_of_whole_logits(name):
    student, teacher = make(name), make(name, 32, seed=1)
    if name == "Bart":
        student.final_logits_bias.normal_()
    check_equal(student, teacher, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "tied"), [("Llama", True), ("Llama", False), ("T5", True)])
def test_tied_and_free_weights(name, tied):
    student = make(name, tie_word_embeddings=tied)
    layer = student.get_output_embeddings()
    assert (layer.weight is student.get_input_embeddings().weight) == tied
    check_equal(student, make(name, 32, seed=1), rtol=1e-5, atol=1e-6)


def test_a_bound_of_logits_counts_where_they_are_large():
    student, teacher = make("Gemma2"), make("Gemma2", 32, seed=1)
    with torch.no_grad():
        student.get_output_embeddings().weight.mul_(300)
    assert student(input_ids=torch.tensor([[5, 6]])).logits.abs().max() > 2.5  # of at most 3
    check_equal(student, teacher, rtol=1e-4, atol=1e-5)


def test_training_mode_with_dropout_of_a_seed():
    student, teacher = make("GPT2", resid_pdrop=0.5), make("GPT2", 32, seed=1)
    student.train()
    found = []
    for least in (0, None):
        # The first pass of a model with a head is a probe, which leaves random states alone.
        torch.manual_seed(7)
        found.append(learned(student, teacher, least)[:2])
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-6)


def test_gradient_checkpointing():
    student = make("Llama").train()
    for enable in ("activation_checkpointing_enable", "gradient_checkpointing_enable"):
        if hasattr(student, enable):  # the second is the name of older versions
            getattr(student, enable)()
            break
    student.config.use_cache = False
    check_equal(student, make("Llama", 32, seed=1), rtol=1e-5, atol=1e-6)


def test_mixed_precision():
    student, teacher = make("Llama"), make("Llama", 32, seed=1)
    with torch.autocast("cpu", torch.bfloat16):
        check_equal(student, teacher, rtol=0.05, atol=0.01)


def test_models_in_low_precision():
    student, teacher = make("Llama").bfloat16(), make("Llama", 32, seed=1).bfloat16()
    check_equal(student, teacher, rtol=0.05, atol=0.01)


def test_the_teacher_of_a_run_has_its_weights_cast_once():
    """`Live` keeps them in autocast's precision while it is ready."""
    student, teacher = make("Llama"), tl.teachers.Live(make("Llama", 32, seed=1))
    with teacher.ready(torch.device("cpu")), torch.autocast("cpu", torch.bfloat16):
        found = [learned(student, teacher, least)[0] for least in (0, 0, None, None)]
    for each in found[1:]:
        torch.testing.assert_close(each, found[0], rtol=0.02, atol=0.01)


@pytest.fixture
def _one_process(tmp_path):
    dist.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1
    )
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("_one_process")
def test_distributed_data_parallel():
    student, teacher = make("Llama"), make("Llama", 32, seed=1)
    expected = learned(student, teacher, None)[1]
    student.zero_grad()
    wrapped = DistributedDataParallel(tl.Distiller(student, teacher, OBJECTIVE, 0))
    wrapped(batch()).total.backward()
    ours = {name: each.grad for name, each in student.named_parameters()}
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-6)


def test_beside_layers_that_are_compared():
    student, teacher = make("Llama"), make("Llama", seed=1)
    objective = OBJECTIVE + tl.FeatureMatch({"model.layers.0": "model.layers.1"})
    for each in (0, None):
        distiller = tl.Distiller(student, teacher, objective, each)
        distiller.build(batch())
    found = [learned(student, teacher, least, distiller.objective) for least in (0, None)]
    assert [each[2] for each in found] == [HEADS, LOGITS]
    torch.testing.assert_close(found[0][:2], found[1][:2], rtol=1e-5, atol=1e-6)


class Largest(TorchDispatchMode):
    """Notes the number of elements of the largest tensor that an operation returns."""

    size = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        for each in found if isinstance(found, (tuple, list)) else (found,):
            if isinstance(each, torch.Tensor) and each.is_floating_point():
                self.size = max(self.size, each.numel())
        return found


@pytest.mark.parametrize(("least", "whole"), [(0, False), (None, True)])
def test_logits_of_all_rows_never_exist_nor_their_gradient(least, whole, monkeypatch):
    classes, rows = 4000, 6 * 32
    monkeypatch.setattr("tutelage.heads._LOGITS_AT_ONCE", {"cpu": 16 * classes})
    student = make("Llama", vocab_size=classes)
    teacher = make("Llama", 16, seed=1, vocab_size=classes)
    ids = torch.randint(3, classes, (6, 32))
    source = [{"input_ids": each} for each in ids]
    distiller = tl.Distiller(student, teacher, OBJECTIVE, least)
    distiller(Batch({"input_ids": ids[:1, :8]}))  # the probe
    with Largest() as largest:
        distiller(Batch({"input_ids": ids})).total.backward()
        in_training = largest.size
    engine = tl.Engine(progress=False, chunk_logits_from=least)
    with Largest() as largest:
        tl.distill(
            teacher, student, train=source, val=source, objective=OBJECTIVE, epochs=1, batch_size=6,
            engine=engine,
        )  # fmt: skip
    for size in (in_training, largest.size):
        assert (size >= (rows - 6) * classes) == whole
        assert whole or size <= max(16 * classes, classes * 16)  # a chunk, or the weight


class Adapted(nn.Linear):
    """A head that LoRA has changed."""

    def forward(self, hidden):
        return super().forward(hidden) + 0.1 * hidden.sum(dim=-1, keepdim=True)


@pytest.mark.parametrize("change", ["adapted", "hook", "small", "off", "wrapped", "objective"])
def test_where_the_head_is_not_all_there_is_logits_are_whole(change, caplog):
    student, teacher, least, objective = make("Llama"), make("Llama", 32, seed=1), 0, OBJECTIVE
    layer = student.lm_head
    if change == "adapted":
        student.lm_head = Adapted(16, VOCABULARY, bias=False)
        student.lm_head.weight = layer.weight
    elif change == "hook":
        layer.register_forward_hook(lambda _, __, output: 2 * output)
    elif change == "small":
        least = VOCABULARY + 1
    elif change == "off":
        least = None
    elif change == "wrapped":
        student = tl.layers.Output(student, "logits")
    else:
        objective = tl.DIST()
    found = learned(student, teacher, least, objective)
    assert found[2][0] == "Tensor"
    expected = learned(student, teacher, None, objective)
    torch.testing.assert_close(found[:2], expected[:2], rtol=1e-5, atol=1e-6)
    assert not caplog.records


@pytest.mark.parametrize("change", [lambda z: z / 2, lambda z: 30 * torch.tanh(z / 30)])
def test_what_a_model_does_with_its_logits_unknown_to_us_is_noticed(change, caplog, monkeypatch):
    """Also a bound that does not show at the size that logits have at the start."""
    student, teacher = make("Llama"), make("Llama", 32, seed=1)
    forward = type(student).forward

    def changed(self, *args, **kwargs):
        found = forward(self, *args, **kwargs)
        if self is student:
            found.logits = change(found.logits)
        return found

    monkeypatch.setattr(type(student), "forward", changed)
    with caplog.at_level(logging.WARNING, "tutelage"):
        for _ in range(2):
            found = learned(student, teacher, 0)
    assert found[2] == ("Tensor", "HeadLogits")
    [record] = caplog.records
    text = record.getMessage()
    assert "logits of LlamaForCausalLM are computed whole" in text
    assert "'lm_head': they differ by up to" in text
    torch.testing.assert_close(found[:2], learned(student, teacher, None)[:2])


class Flat(LlamaForCausalLM):
    """A model that calls its head in a way of its own."""

    by_name = False

    def forward(self, **inputs):
        hidden = self.model(**inputs).last_hidden_state
        if self.by_name:
            return SimpleNamespace(logits=self.lm_head(input=hidden))
        rows = self.lm_head(hidden.flatten(0, 1))
        return SimpleNamespace(logits=rows.unflatten(0, hidden.shape[:2]))


@pytest.mark.parametrize("by_name", [False, True])
def test_a_head_that_is_called_in_another_way_gives_whole_logits(by_name, caplog):
    student, teacher = make("Llama"), make("Llama", 32, seed=1)
    expected = learned(student, teacher, None)
    student.__class__, student.by_name = Flat, by_name
    with caplog.at_level(logging.WARNING, "tutelage"):
        found = learned(student, teacher, 0)
    assert found[2] == ("Tensor", "HeadLogits")
    assert "it is called several times, not at all, or in a way of its own" in caplog.text
    torch.testing.assert_close(found[:2], expected[:2], rtol=1e-5, atol=1e-6)


def test_inputs_that_are_not_of_examples_give_whole_logits(caplog):
    student = make("Llama")
    raw = batch()
    inputs = {**raw.inputs, "cache_position": torch.arange(raw.inputs["input_ids"].shape[1])}
    distiller = tl.Distiller(student, None, tl.HardLabels(), 0)
    expected = tl.Distiller(student, None, tl.HardLabels(), None)(raw).total
    with caplog.at_level(logging.WARNING, "tutelage"):
        found = distiller(Batch(inputs, raw.labels))
    torch.testing.assert_close(found.total, expected)
    assert "it cannot be called for a few positions (DataError: the inputs of a" in caplog.text


def test_a_copy_and_changed_settings_are_probed_anew():
    student, teacher = make("Granite"), make("Llama", 32, seed=1)
    check_equal(student, teacher, rtol=1e-5, atol=1e-6)
    student.config.logits_scaling = 2.0
    check_equal(student, teacher, rtol=1e-5, atol=1e-6)
    check_equal(deepcopy(student), teacher, rtol=1e-5, atol=1e-6)


def test_vocabularies_of_two_sizes_are_refused():
    student, teacher = make("Llama"), make("Llama", vocab_size=VOCABULARY + 8)
    for least in (0, None):
        with pytest.raises(tl.ModelError, match=r"same number of classes, got 64 .* and 72"):
            learned(student, teacher, least)


def test_several_teachers_give_logits():
    student = make("Llama")
    teachers = [make("Llama", 16, seed=1), make("Llama", 32, seed=2)]
    check_equal(student, teachers, heads=("HeadLogits", "Tensor"), rtol=1e-5, atol=1e-6)


class Own(nn.Module):
    """A model of one's own that returns its head."""

    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.body, self.head = nn.Linear(5, 4), nn.Linear(4, 6)

    def forward(self, inputs):
        return tl.HeadLogits(torch.tanh(self.body(inputs)), self.head.weight, self.head.bias)


class Whole(Own):
    def forward(self, inputs):
        return super().forward(inputs).logits()


@pytest.mark.parametrize("metrics", [None, {"largest": lambda output, _: output.max()}])
def test_a_model_of_ones_own_may_return_its_head(metrics):
    data = torch.utils.data.TensorDataset(torch.randn(8, 5), torch.arange(8) % 6)
    found = [
        tl.distill(
            kind(0), kind(1), train=data, val=data, objective=OBJECTIVE, epochs=2, batch_size=4,
            metrics=metrics, engine=tl.Engine(progress=False),
        )
        for kind in (Own, Whole)
    ]  # fmt: skip
    ours, expected = ([dict(each, seconds=0) for each in run.history] for run in found)
    for one, other in zip(ours, expected, strict=True):
        assert one == pytest.approx(other, rel=1e-5)


def test_head_logits_of_a_model_are_its_logits():
    model = make("Cohere")
    ids = torch.tensor([[5, 6, 7]])
    fields = tl.Fields(output=True, head_from=0)
    output = tl.layers.observe(model, {"input_ids": ids}, fields, "model").output
    assert isinstance(output, HeadLogits)
    torch.testing.assert_close(output.logits(), model(input_ids=ids).logits)
