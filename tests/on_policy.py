"""Runs of a student that writes its own texts, and what it has written in them."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

import tutelage as tl
from language_models import make, texts
from tutelage.signals import Batch

TEXTS = texts(8)
PROMPTS = [{"input_ids": each["input_ids"][: len(each["input_ids"]) // 3]} for each in TEXTS]
SOFT = tl.RowMean(tl.ReverseKL())
END = 2


class Recorder:
    """A transform that changes nothing and remembers the batches."""

    def __init__(self, draws: int = 0) -> None:
        self.draws, self.batches, self.drawn = draws, [], []

    def __call__(self, batch: Batch) -> Batch:
        self.drawn += torch.rand(self.draws).tolist()
        self.batches.append(batch)
        return batch


def ending(name: str = "Llama", **settings: Any) -> Any:
    """Return a student that ends its texts often."""
    model = make(name, **settings)
    with torch.no_grad():
        model.get_output_embeddings().weight[END] += 0.3
    return model


def sharp(name: str = "Llama", **settings: Any) -> Any:
    """Return a student that prefers some tokens clearly."""
    model = make(name, **settings)
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(20)
    return model


def run(policy: tl.OnPolicy, student: Any = None, **settings: Any) -> tuple[tl.Run, list[Batch]]:
    seen = Recorder(settings.pop("draws", 0))
    engine = tl.Engine(progress=False, device="cpu", **settings.pop("engine", {}))
    settings = {
        "objective": SOFT, "batch_size": 4, "epochs": 1,
        "optimizer": partial(torch.optim.SGD, lr=1.0),
        "teacher": make("Llama", 32, seed=1),
    } | settings  # fmt: skip
    found = tl.distill(
        settings.pop("teacher"), student or ending(), train=policy, engine=engine, transform=seen,
        **settings,
    )  # fmt: skip
    return found, seen.batches


def writing(prompts: Any = PROMPTS, **settings: Any) -> tl.OnPolicy:
    return tl.OnPolicy(prompts, **{"share": 1, "max_new_tokens": 6} | settings)


def pairs(batches: list[Batch]) -> list[tuple[list[int], list[int]]]:
    """Return each written text, and the tokens of it that are learned, without padding."""
    found = []
    for batch in batches:
        mask, learned_of = batch.inputs["attention_mask"].bool(), batch.row_mask
        assert learned_of is not None
        for ids, own, learned in zip(batch.inputs["input_ids"], mask, learned_of, strict=True):
            assert not (learned & ~own).any()
            found.append((ids[own].tolist(), ids[learned].tolist()))
    return found


def index_of(batch: Batch) -> list[int]:
    return [] if batch.index is None else batch.index.tolist()


def is_written(batch: Batch) -> bool:
    return batch.row_mask is not None
