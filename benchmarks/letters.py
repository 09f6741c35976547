"""Letter recognition in three domains: data, students and specialists.

The folder that TUTELAGE_DATA names holds tabular/letter_recognition.parquet: 20,000 rows of 16
features of printed capitals. A domain is a random rotation of the 16 standardised features. The
first 15,000 rows are sampled for training, the next 1,000 are for validation, the last 4,000 for
the test; validation and test rows appear in every domain.
"""

from __future__ import annotations

import os
import sys
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from sklearn.svm import SVC
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

import tutelage as tl
from mnist import RUNS, adamw, warm_cosine
from tutelage.teachers import Ensemble
from tutelage.teachers.averages import mean_of_probabilities

FEATURES, LETTERS = 16, 26
POOL, VAL = slice(0, 15_000), slice(15_000, 16_000)
TEST = slice(16_000, 20_000)
DOMAINS = ("first", "second", "third")
ENGINE = tl.Engine(device="cpu", precision="bf16", progress=False, checkpoint_seconds=120)
DECAY = 0.3
"""Weight decay with labels."""
MIXUP = tl.data.Mixup()
MIXUP_AND_NOISE = tl.data.Chain([MIXUP, tl.data.Noise(0.1)])
NETS = 3
"""Networks of a specialist, beside a support vector machine."""


@cache
def rows() -> tuple[Tensor, Tensor]:
    """Return the standardised features `[20000, 16]` and the letters, 0 to 25."""
    folder = os.environ.get("TUTELAGE_DATA")
    if not folder:
        sys.exit("TUTELAGE_DATA must name the folder with tabular/letter_recognition.parquet")
    table = pq.read_table(Path(folder) / "tabular" / "letter_recognition.parquet")
    columns = [table[f"f{number}"].to_numpy() for number in range(FEATURES)]
    values = np.stack(columns, axis=1).astype(np.float32)
    values = (values - values[POOL].mean(axis=0)) / values[POOL].std(axis=0)
    letters = [ord(each) - ord("A") for each in table["letter"].to_pylist()]
    return torch.from_numpy(values), torch.tensor(letters)


@cache
def rotations() -> dict[str, Tensor]:
    """Return each domain's rotation, `[16, 16]`."""
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.linalg.qr(torch.randn(FEATURES, FEATURES, generator=generator))[0]
        for name in DOMAINS
    }


def turned(name: str, chosen: Any) -> TensorDataset:
    """Return rows in a domain's rotation."""
    values, letters = rows()
    return TensorDataset(values[chosen] @ rotations()[name], letters[chosen])


def everywhere(part: slice) -> tl.data.Domains:
    """Return the same rows in every domain."""
    return tl.data.domains({name: turned(name, part) for name in DOMAINS})


def labelled(seed: int, each: int) -> tl.data.Domains:
    """Sample rows for each domain by a seed; no row is in two of them."""
    order = torch.randperm(POOL.stop, generator=torch.Generator().manual_seed(seed))
    parts = order[: each * len(DOMAINS)].split(each)
    sets = zip(DOMAINS, parts, strict=True)
    return tl.data.domains({name: turned(name, part) for name, part in sets})


def mlp(width: int, hidden: int = 3, outputs: int = LETTERS) -> nn.Sequential:
    """Return 16-width-…-width-outputs with ReLU."""
    layers: list[nn.Module] = []
    for before in (FEATURES, *[width] * (hidden - 1)):
        layers += [nn.Linear(before, width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, outputs))


class SupportVectors(nn.Module):
    """A fitted scikit-learn SVC with an RBF kernel, as a module: the same decision values.

    Args:
        model: Of three classes or more, with `decision_function_shape="ovr"`.
    """

    def __init__(self, model: SVC) -> None:
        super().__init__()
        classes = len(model.classes_)
        first, second = torch.triu_indices(classes, classes, offset=1)
        ends = np.cumsum(model.n_support_)
        dual = torch.from_numpy(model.dual_coef_).float()
        weights = torch.zeros(dual.shape[1], len(first))
        for pair, (one, other) in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
            of_one = slice(ends[one] - model.n_support_[one], ends[one])
            of_other = slice(ends[other] - model.n_support_[other], ends[other])
            weights[of_one, pair] = dual[other - 1, of_one]
            weights[of_other, pair] = dual[one, of_other]
        self.gamma = float(model.gamma)
        self.vectors = nn.Buffer(torch.from_numpy(model.support_vectors_).float())
        self.weights = nn.Buffer(weights)
        self.intercept = nn.Buffer(torch.from_numpy(model.intercept_).float())
        self.first = nn.Buffer(F.one_hot(first, classes).float())
        self.second = nn.Buffer(F.one_hot(second, classes).float())

    def forward(self, inputs: Tensor) -> Tensor:
        """Return votes and, below one, confidences: `[batch, classes]`."""
        kernel = torch.exp(-self.gamma * torch.cdist(inputs, self.vectors).square())
        pairs = kernel @ self.weights + self.intercept
        won = (pairs > 0).float()
        votes = won @ self.first + (1 - won) @ self.second
        sums = pairs @ (self.first - self.second)
        return votes + sums / (3 * (sums.abs() + 1))


def support_vectors(own: TensorDataset) -> SupportVectors:
    """Return a support vector machine of one domain's labels."""
    inputs, labels = (each.numpy() for each in own.tensors)
    settings: dict[str, Any] = {"C": 10, "gamma": 0.05}
    return SupportVectors(SVC(**settings).fit(inputs, labels)).eval()


def net_of_one(name: str, own: TensorDataset, seed: int, outputs: int = LETTERS) -> nn.Module:
    """Return a network of 512 units trained on labels with mixup and noise.

    Width, decay, epochs and learning rate were chosen in a few trials on other samples of rows.
    """
    torch.manual_seed(seed)
    run = tl.fit(
        mlp(512, outputs=outputs), train=own, epochs=300, batch_size=64, transform=MIXUP_AND_NOISE,
        optimizer=adamw(2e-3, DECAY), scheduler=warm_cosine, engine=ENGINE, seed=seed,
        out=RUNS / "specialists" / f"{name}-seed{seed}",
    )  # fmt: skip
    return run.student


def parts(name: str, own: TensorDataset, seed: int) -> list[nn.Module]:
    """Return the members of a specialist: networks and a support vector machine."""
    nets = [net_of_one(f"{name}-{net}", own, NETS * seed + net) for net in range(NETS)]
    return [*nets, support_vectors(own)]


WEIGHTS = (*[2] * NETS, NETS)
"""Weights of the members, in their order."""


def specialist(name: str, own: TensorDataset, seed: int) -> Ensemble:
    """Return a specialist for one domain."""
    return Ensemble(parts(name, own, seed), weights=WEIGHTS, average=mean_of_probabilities)


class Average(nn.Module):
    """The same, as a module: logarithms of the members' mean probabilities.

    Args:
        members: As `parts` returns them.
    """

    def __init__(self, members: list[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits."""
        weighted = zip(WEIGHTS, self.members, strict=True)
        whole = torch.stack([weight * each(inputs).softmax(dim=1) for weight, each in weighted])
        return (whole.sum(dim=0) / sum(WEIGHTS)).clamp(min=1e-12).log()


class Guided(nn.Module):
    """Specialists for rows of unknown domain, as the student sees them.

    Logarithms of the specialists' mean probabilities, weighted by a network's predicted domain:
    about the best that a student of these specialists can reach.

    Args:
        guide: A network that predicts the domain.
        specialists: One for each domain, as `Average`.
    """

    def __init__(self, guide: nn.Module, specialists: list[Average]) -> None:
        super().__init__()
        self.guide, self.specialists = guide, nn.ModuleList(specialists)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits."""
        weights = self.guide(inputs).softmax(dim=1)
        found = torch.stack([each(inputs).softmax(dim=1) for each in self.specialists], dim=1)
        return (weights.unsqueeze(2) * found).sum(dim=1).clamp(min=1e-12).log()


def guide(data: tl.data.Domains, seed: int) -> nn.Module:
    """Return a network that predicts the domain, trained on the labelled rows."""
    inputs = torch.cat([own.tensors[0] for own in data.sets.values()])
    numbers = [torch.full((len(own),), k) for k, own in enumerate(data.sets.values())]
    torch.manual_seed(seed)
    run = tl.fit(
        mlp(512, outputs=len(numbers)), train=TensorDataset(inputs, torch.cat(numbers)),
        epochs=200, batch_size=128, transform=MIXUP_AND_NOISE, optimizer=adamw(3e-3, DECAY),
        scheduler=warm_cosine, engine=ENGINE, seed=seed,
        out=RUNS / "specialists" / f"letters-guide-seed{seed}",
    )  # fmt: skip
    return run.student


optimizer = adamw(3e-3, DECAY)
student = partial(mlp, 512)
wide = partial(mlp, 1024)
