"""Several texts in one row: each as if it were alone."""

import logging

import pytest
import torch
import transformers

import tutelage as tl
from language_models import VOCABULARY, make, texts
from tutelage.layers.observe import call, observe
from tutelage.signals import Batch
from tutelage.wants import OUTPUT

_MODELS = ("Llama", "GPT2", "Gemma", "Gemma2", "Cohere", "Granite")


def packed(examples, form, pad=2):
    """Return a row with all texts and then padding; and its labels."""
    lengths = [len(each["input_ids"]) for each in examples]
    joined = {
        key: torch.cat([*(each[key] for each in examples), torch.full((pad,), fill)])[None]
        for key, fill in {"input_ids": 0, "labels": -100}.items()
    }
    padding = torch.zeros(pad, dtype=torch.long)
    positions = torch.cat([*(torch.arange(n) for n in lengths), padding])[None]
    numbers = torch.cat([*(torch.full((n,), 1 + k) for k, n in enumerate(lengths)), padding])[None]
    masks = {
        "positions": {"position_ids": positions},
        "positions and mask": {"position_ids": positions, "attention_mask": (numbers > 0).long()},
        "numbered mask": {"attention_mask": numbers},
        "both": {"position_ids": positions, "attention_mask": numbers},
    }
    return Batch({"input_ids": joined["input_ids"], **masks[form]}, joined["labels"])


def loss(student, teacher, objective, batch, least):
    return tl.Distiller(student, teacher, objective, least)(batch).total


@pytest.mark.parametrize("least", [0, None], ids=["head", "logits"])
@pytest.mark.parametrize("form", ["positions", "positions and mask", "numbered mask", "both"])
@pytest.mark.parametrize("name", _MODELS)
def test_the_loss_of_a_packed_row_is_that_of_its_texts_alone(name, form, least):
    student, teacher, examples = make(name), make(name, seed=1), texts(4)
    for objective in (tl.HardLabels(), tl.SoftTargets(2)):
        alone = [
            loss(student, teacher, objective, Batch({"input_ids": ids[None]}, labels[None]), least)
            for ids, labels in (each.values() for each in examples)
        ]
        counts = [int((each["labels"] != -100).sum()) for each in examples]
        expected = sum(one * n for one, n in zip(alone, counts, strict=True)) / sum(counts)
        found = loss(student, teacher, objective, packed(examples, form), least)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_packed_rows_beside_others_that_are_padded_on_either_side():
    model, (first, second, third, _) = make("Llama"), [each["input_ids"] for each in texts(4)]
    size = len(first) + len(second)
    rows, masks, places = [], [], []
    for left, ids in ((0, torch.cat([first, second])), (size - len(third), third), (0, third)):
        room = (left, size - len(ids) - left)
        rows.append(torch.nn.functional.pad(ids, room))
        masks.append(torch.nn.functional.pad(torch.ones_like(ids), room))
        places.append(slice(left, left + len(ids)))
    masks[0][len(first) :] = 2
    inputs = {"input_ids": torch.stack(rows), "attention_mask": torch.stack(masks)}
    found = observe(model, inputs, OUTPUT, "student").output
    alone = [model(input_ids=each[None]).logits[0] for each in (first, second, third)]
    expected = [torch.cat(alone[:2]), alone[2], alone[2]]
    for row, place, ours in zip(found, places, expected, strict=True):
        torch.testing.assert_close(row[place], ours, rtol=1e-5, atol=1e-6)


def test_a_model_in_which_texts_mix_is_told_once(caplog):
    settings = {"vocab_size": VOCABULARY, "hidden_size": 16, "n_layer": 2, "n_head": 2}
    model = transformers.BloomForCausalLM(transformers.BloomConfig(**settings)).train()
    batch = packed(texts(4), "numbered mask")
    with caplog.at_level(logging.WARNING, "tutelage"):
        for _ in range(2):
            loss(model, None, tl.HardLabels(), batch, None)
    (message,) = [each.getMessage() for each in caplog.records if "packed row" in each.getMessage()]
    assert message.startswith("BloomForCausalLM does not keep the texts of a packed row apart")
    assert model.training


@pytest.mark.parametrize("name", _MODELS)
def test_a_model_that_keeps_texts_apart_is_not_warned_of(name, caplog):
    with caplog.at_level(logging.WARNING, "tutelage"):
        loss(make(name).train(), None, tl.HardLabels(), packed(texts(4), "positions"), None)
    assert not caplog.records


def test_padding_on_the_left_is_no_text(caplog):
    ids, mask = torch.randint(3, VOCABULARY, (2, 6)), torch.ones(2, 6).long()
    mask[0, :3] = 0
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    batch = Batch({"input_ids": ids, "attention_mask": mask, "position_ids": positions})
    model = make("GPT2")
    with caplog.at_level(logging.WARNING, "tutelage"):
        found = loss(model, None, tl.HardLabels(), batch, None)
    alone = [loss(model, None, tl.HardLabels(), Batch({"input_ids": each[None]}), None)
             for each in (ids[0, 3:], ids[1])]  # fmt: skip
    torch.testing.assert_close(found, sum(alone) / 2, rtol=1e-5, atol=1e-6)
    assert not caplog.records


@pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
)  # of peft
def test_adapters_keep_texts_apart(caplog):
    peft = pytest.importorskip("peft")
    settings = peft.LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"])
    model = peft.get_peft_model(make("Llama"), settings)
    examples = texts(4)
    with caplog.at_level(logging.WARNING, "tutelage"):
        found = loss(model, None, tl.HardLabels(), packed(examples, "both"), None)
    expected = loss(make("Llama"), None, tl.HardLabels(), packed(examples, "both"), None)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert not caplog.records


def test_language_models_are_called_without_a_cache():
    inputs = {"input_ids": torch.tensor([[5, 6, 7]])}
    assert call(make("Llama"), inputs, "teacher").past_key_values is None
    assert call(make("Llama"), {**inputs, "use_cache": True}, "teacher").past_key_values
