"""Blocks that are kept by what they do on some data."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
    ViTConfig,
    ViTForImageClassification,
)

import language_models
import tutelage as tl
from tokenizing import tokenizer
from tutelage.references import load_model
from tutelage.students import block_influence, every_nth_layer, least_loss, most_influential

SIZES = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}


def llama(layers=4):
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=30, num_hidden_layers=layers, num_key_value_heads=2, **SIZES)
    return LlamaForCausalLM(config).eval()


def gpt2():
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(vocab_size=30, n_embd=16, n_layer=4, n_head=2)).eval()


def bert():
    torch.manual_seed(0)
    config = BertConfig(vocab_size=30, num_hidden_layers=4, **SIZES)
    return BertForSequenceClassification(config).eval()


def texts(count=10):
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(2, 9, (count,), generator=generator).tolist()
    return [{"input_ids": torch.randint(30, (n,), generator=generator)} for n in lengths]


@pytest.mark.parametrize("make", [llama, gpt2, bert])
def test_is_the_definition_over_all_tokens_without_padding(make):
    """Against the hidden states that transformers returns, text by text, without padding."""
    model, found = make(), {}
    with torch.no_grad():
        for text in texts():
            ids = text["input_ids"][None]
            states = list(model(input_ids=ids, output_hidden_states=True).hidden_states)
            for number in range(4):
                before, after = states[number], states[number + 1]
                found.setdefault(number, []).append(F.cosine_similarity(before, after, dim=2)[0])
    expected = [1 - torch.cat(found[number]).mean().item() for number in range(4)]
    last = make is not bert  # whose last state a final norm has changed
    ours = list(block_influence(model, texts()).values())
    assert ours[: 4 - last] == pytest.approx(expected[: 4 - last], abs=1e-5)
    assert len(ours) == 4


@pytest.mark.parametrize(
    ("name", "path"), [("T5", "decoder.block"), ("Bart", "model.decoder.layers")]
)
def test_a_decoder_is_measured_on_the_tokens_before_its_labels(name, path):
    """Text by text, without padding, from hidden states before and after each block."""
    sizes = {"num_decoder_layers": 3} if name == "T5" else {"decoder_layers": 3, "init_std": 0.5}
    model, data, found = language_models.make(name, **sizes), [], {0: [], 1: []}
    for number, text in enumerate(texts()):
        answer = torch.arange(3, 5 + number % 4)
        data.append({**text, "labels": answer})
        before = model.prepare_decoder_input_ids_from_labels(labels=answer[None])
        with torch.no_grad():
            states = model(
                input_ids=text["input_ids"][None], decoder_input_ids=before,
                output_hidden_states=True,
            ).decoder_hidden_states  # fmt: skip
        for block, values in found.items():
            values.append(F.cosine_similarity(states[block], states[block + 1], dim=2)[0])
    expected = [1 - torch.cat(values).mean().item() for values in found.values()]
    ours = list(block_influence(model, data, path).values())
    assert ours[:2] == pytest.approx(expected, abs=1e-5)


def test_of_pixels_and_of_vectors():
    torch.manual_seed(0)
    images = torch.randn(5, 3, 4, 4)
    maps = nn.Sequential(*[nn.Conv2d(3, 3, 3, padding=1) for _ in range(2)]).eval()
    with torch.no_grad():
        first = maps[0](images)
    expected = 1 - F.cosine_similarity(images, first, dim=1).mean().item()
    assert block_influence(maps, TensorDataset(images))["0"] == pytest.approx(expected, abs=1e-6)
    rows = torch.randn(5, 3)
    layers = nn.Sequential(*[nn.Linear(3, 3) for _ in range(2)])
    found = block_influence(layers, DataLoader(TensorDataset(rows), 2))
    with torch.no_grad():
        expected = 1 - F.cosine_similarity(rows, layers[0](rows), dim=1).mean().item()
    assert found["0"] == pytest.approx(expected, abs=1e-6)


def test_vision_transformers_work():
    torch.manual_seed(0)
    config = ViTConfig(num_hidden_layers=4, image_size=8, patch_size=4, **SIZES)
    model = ViTForImageClassification(config).eval()
    data = [{"pixel_values": torch.randn(3, 8, 8)} for _ in range(4)]
    student, layer_map = most_influential(model, data, keep=2)
    assert student.config.num_hidden_layers == len(layer_map) == 2


def test_the_blocks_that_do_nothing_are_left_out(tmp_path):
    model = llama()
    with torch.no_grad():
        for number in (1, 2):  # blocks that add nothing to what they are given
            model.model.layers[number].self_attn.o_proj.weight.zero_()
            model.model.layers[number].mlp.down_proj.weight.zero_()
    influence = block_influence(model, texts())
    assert [name for name, value in influence.items() if value < 1e-6] == [
        "model.layers.1", "model.layers.2",
    ]  # fmt: skip
    student, layer_map = most_influential(model, texts(), keep=2)
    assert list(layer_map.values()) == ["model.layers.0", "model.layers.3"]
    by_loss = least_loss(model, texts(), keep=2)
    assert by_loss.layer_map == layer_map
    ids = texts()[0]["input_ids"][None]
    torch.testing.assert_close(student(input_ids=ids).logits, model(input_ids=ids).logits)
    student.save_pretrained(tmp_path)
    again = LlamaForCausalLM.from_pretrained(tmp_path)
    torch.testing.assert_close(again(input_ids=ids).logits, model(input_ids=ids).logits)


def test_least_loss_is_the_greedy_choice():
    """Against all choices, computed by hand, of the divergence from the teacher's outputs."""
    model, data = gpt2(), texts()

    def divergence(kept):
        student = copy.deepcopy(model)
        student.transformer.h = nn.ModuleList([student.transformer.h[k] for k in kept])
        student.config.n_layer = len(kept)
        totals = []
        with torch.no_grad():
            for each in data:
                ids = each["input_ids"][None]
                ours, theirs = (
                    m(input_ids=ids, use_cache=False).logits[0] for m in (student, model)
                )
                rows = F.kl_div(ours.log_softmax(1), theirs.softmax(1), reduction="none").sum(1)
                totals.append(rows.mean().item())
        return math.fsum(totals) / len(totals)

    left = [0, 1, 2, 3]
    for _ in range(2):
        rests = [[each for each in left if each != out] for out in left]
        left = min(rests, key=divergence)
    found = least_loss(model, data, keep=2)
    assert list(found.layer_map.values()) == [f"transformer.h.{each}" for each in left]


def test_step_by_step_with_stored_outputs_of_the_whole_is_the_same(tmp_path):
    model, data = gpt2(), texts()
    targets = tl.label(model, data, out=tmp_path, dtype="float32")
    first = least_loss(model, data, keep=3, reference=targets)
    second = least_loss(first.student, data, keep=2, reference=targets)
    at_once = least_loss(model, data, keep=2)
    assert [first.layer_map[each] for each in second.layer_map.values()] == [
        *at_once.layer_map.values()
    ]


def test_least_loss_on_labels():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Sequential(*[nn.Linear(4, 4) for _ in range(3)]), nn.Linear(4, 2))
    inputs = torch.randn(20, 4)
    labels = model(inputs).argmax(1)
    data = TensorDataset(inputs, labels)
    found = least_loss(model, data, keep=2, objective=tl.HardLabels())
    losses = {}
    for out in range(3):
        rest = [model[0][k] for k in range(3) if k != out]
        losses[out] = F.cross_entropy(model[1](nn.Sequential(*rest)(inputs)), labels).item()
    gone = min(losses, key=losses.get)
    assert list(found.layer_map.values()) == [f"0.{k}" for k in range(3) if k != gone]


def test_blocks_that_cannot_be_removed_are_kept():
    """The first block of a T5's decoder has the position biases of all."""
    torch.manual_seed(0)
    config = T5Config(vocab_size=30, d_model=16, d_kv=8, d_ff=32, num_layers=3, num_heads=2)
    model = T5ForConditionalGeneration(config).eval()
    data = [{**each, "decoder_input_ids": torch.tensor([0, 4, 5])} for each in texts()]
    found = least_loss(model, data, keep=1, path="decoder.block")
    assert list(found.layer_map.values()) == ["decoder.block.0"]


def test_blocks_without_which_the_student_does_not_run_are_kept():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 4))
    found = least_loss(model, TensorDataset(torch.randn(9, 4)), keep=2)
    assert list(found.layer_map.values()) == ["0", "2"]
    with pytest.raises(tl.ModelError, match="the student must run, with a finite loss"):
        least_loss(model, TensorDataset(torch.randn(9, 4)), keep=1)


def test_the_teacher_is_not_changed():
    model = llama()
    model.train()
    before = copy.deepcopy(model.state_dict())
    state = torch.get_rng_state()
    most_influential(model, texts(), keep=2)
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert len(model.model.layers) == 4


def test_bad_arguments_are_refused():
    model = llama()
    for keep in (0, 5, 1.5):
        with pytest.raises(tl.ArgumentError, match=r"`keep`"):
            most_influential(model, texts(), keep=keep)
    narrowing = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    with pytest.raises(tl.ModelError, match="of the shape of its input"):
        block_influence(narrowing, TensorDataset(torch.randn(3, 4)))
    with pytest.raises(tl.TutelageError):
        block_influence(model, [])
    with pytest.raises(tl.ModelError, match="refused its inputs"):
        block_influence(model, TensorDataset(torch.randn(3, 4)))
    broken = nn.Sequential(*[nn.Linear(2, 2) for _ in range(2)])
    broken[0].weight.data.fill_(torch.nan)
    with pytest.raises(tl.NonFiniteError, match="block '0'"):
        block_influence(broken, TensorDataset(torch.randn(3, 2)))


def test_most_influential_and_every_second_agree_on_the_form():
    model = bert()
    ours, every = most_influential(model, texts(), keep=2), every_nth_layer(model, 2)
    assert list(ours.layer_map) == list(every.layer_map)


def test_padding_of_texts_that_a_model_tokenises_itself_does_not_count(tmp_path):
    model = bert()
    model.save_pretrained(tmp_path)
    words = tokenizer()
    words.save_pretrained(tmp_path)
    raw = ["the cat sat", "the very dog ran", "cat"]
    prepared = load_model("teacher", f"hf:{tmp_path}")
    tokens = [{"input_ids": words(each)["input_ids"]} for each in raw]
    expected = list(block_influence(model, tokens).values())
    assert list(block_influence(prepared, raw).values()) == pytest.approx(expected, abs=1e-6)


def test_a_teacher_without_a_finite_loss_is_refused():
    broken = gpt2()
    broken.transformer.wte.weight.data[0] = torch.nan
    with pytest.raises(tl.ModelError, match="with a finite loss, without one"):
        least_loss(broken, texts(), keep=2)


def test_data_of_padding_alone_is_refused():
    data = [{**each, "attention_mask": torch.zeros_like(each["input_ids"])} for each in texts()]
    with pytest.raises(tl.DataError, match="must have tokens that are no padding"):
        block_influence(llama(), data)
