"""Measures of language models, against plain references."""

import math

import pytest
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import tutelage as tl
from tutelage.evaluation import (
    acceptance_rate,
    bits_per_byte,
    generation_speed,
    perplexity,
    speculative_speedup,
)

WORDS = ["<s>", "<unk>", "the", "cat", "sat", "on", "a", "mat", "é", "dog"]


def llama(seed=0):
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(WORDS), hidden_size=16, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=2, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        model.lm_head.weight *= 10
    return model


def tokenizer():
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    found = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    found.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=found, bos_token="<s>", unk_token="<unk>")


def texts(prompts=False):
    generator = torch.Generator().manual_seed(0)
    found = [{"input_ids": torch.randint(10, (n,), generator=generator)} for n in (2, 7, 5, 3)]
    for each in found if prompts else ():
        each["labels"] = each["input_ids"].where(torch.arange(len(each["input_ids"])) > 1, -100)
    return found


def losses(model, data):
    """The loss of each token that counts, text by text."""
    found = []
    for each in data:
        labels = each.get("labels", each["input_ids"])
        with torch.no_grad():
            logits = model(input_ids=each["input_ids"][None]).logits[0, :-1]
        known = labels[1:] != -100
        if not bool(known.any()):
            known[:] = True
        values = F.cross_entropy(logits, each["input_ids"][1:], reduction="none")
        found.append(values[known & (labels[1:] != -100)])
    return torch.cat(found)


@pytest.mark.parametrize("prompts", [False, True])
def test_perplexity(prompts):
    data = texts(prompts)
    expected = losses(llama(), data).mean().exp().item()
    assert perplexity(llama(), data) == pytest.approx(expected, rel=1e-5)
    assert perplexity(llama(), data, batch_size=1) == pytest.approx(expected, rel=1e-5)


def test_an_infinite_perplexity():
    model = llama()
    with torch.no_grad():
        model.lm_head.weight *= 1e6
    assert perplexity(model, texts(False)) == math.inf


@pytest.mark.parametrize("window", [512, 3])
def test_bits_per_byte(window):
    model, words = llama(), tokenizer()
    written = ["the cat sat on a mat", "é dog", "the"]
    nats, size = 0.0, 0
    for text in written:
        ids = words(text, add_special_tokens=False)["input_ids"]
        size += len(text.encode())
        for first in range(0, len(ids), window):
            part = torch.tensor([[0, *ids[first : first + window]]])
            with torch.no_grad():
                logits = model(input_ids=part).logits[0, :-1]
            nats += F.cross_entropy(logits, part[0, 1:], reduction="sum").item()
    found = bits_per_byte(model, words, written, window=window)
    assert found == pytest.approx(nats / math.log(2) / size, rel=1e-5)


def test_acceptance_rate():
    student, teacher, data = llama(1), llama(0), texts()
    found = []
    for each in data:
        ids = each["input_ids"][None]
        with torch.no_grad():
            q, p = (m(input_ids=ids).logits[0, :-1].softmax(1) for m in (student, teacher))
        found.append(torch.minimum(p, q).sum(1))
    expected = torch.cat(found).mean().item()
    assert acceptance_rate(student, teacher, data) == pytest.approx(expected, rel=1e-5)
    assert acceptance_rate(teacher, teacher, data) == pytest.approx(1, abs=1e-6)


def test_the_speedup_is_that_of_simulated_drafts():
    generator = torch.Generator().manual_seed(0)
    alpha, cost, length, rounds = 0.7, 0.2, 3, 40_000
    accepted = torch.rand(rounds, length, generator=generator) < alpha
    written = accepted.cumprod(dim=1).sum(dim=1) + 1  # and one of the teacher's own
    expected = written.double().mean().item() / (length * cost + 1)
    assert speculative_speedup(alpha, cost, length) == pytest.approx(expected, rel=0.01)
    assert speculative_speedup(1.0, 0.0, 4) == 5
    assert speculative_speedup(0.0, 0.0, 4) == 1


def test_generation_is_timed():
    found = generation_speed(llama(), [3, 4, 5], new_tokens=6, batch_sizes=(1, 4), rounds=2)
    assert [each.batch_size for each in found] == [1, 4]
    assert all(each.first_token > 0 and each.tokens_per_second > 0 for each in found)


def test_bad_arguments_are_refused():
    model, words = llama(), tokenizer()
    with pytest.raises(tl.ArgumentError, match="`texts` must have tokens"):
        bits_per_byte(model, words, [])
    words.bos_token = words.eos_token = None
    with pytest.raises(tl.ArgumentError, match="token of beginnings or ends"):
        bits_per_byte(model, words, ["the"])
    for arguments in ((1.5, 0.1, 4), (0.5, -1, 4), (0.5, 0.1, 0)):
        with pytest.raises(tl.ArgumentError):
            speculative_speedup(*arguments)
    with pytest.raises(tl.ModelError, match="with `generate`"):
        generation_speed(torch.nn.Linear(2, 2), [1])
    with pytest.raises(tl.ArgumentError, match="`new_tokens`"):
        generation_speed(model, [1], new_tokens=1)
    with pytest.raises(tl.TutelageError):
        perplexity(model, [{"input_ids": torch.tensor([1]), "labels": torch.tensor([-100])}])
