"""Evaluation reads no larger batches than training: whatever was trained fits into memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import tutelage as tl
from tutelage.results import models

IMAGE = 3 * 16 * 16 * 4  # bytes
AT_ONCE = 3


def images(count: int, seed: int) -> TensorDataset:
    torch.manual_seed(seed)
    x = torch.randn(count, 3, 16, 16)
    return TensorDataset(x, (x.mean(dim=(1, 2, 3)) > 0).long())


class Counting(nn.Module):
    """Notes how many images it is given at once."""

    sizes: ClassVar[set[int]] = set()

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 2, 16), nn.Flatten())

    def forward(self, x: Tensor) -> Tensor:
        self.sizes.add(len(x))
        return self.layers(x)


@pytest.fixture(autouse=True)
def _few_at_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(models, "_MOST_BYTES", AT_ONCE * IMAGE + 1)
    Counting.sizes.clear()
    yield
    assert Counting.sizes
    assert max(Counting.sizes) <= AT_ONCE


def test_of_a_study() -> None:
    study = tl.study(
        Counting(), Counting, train=images(12, 0), val=images(10, 1), test=images(11, 2),
        arms={"soft": tl.SoftTargets(2)}, controls={}, seeds=1, epochs=1,
        training=tl.Training(batch_size=AT_ONCE), progress=False,
    )  # fmt: skip
    timed = study.results.models["teacher"].latencies
    assert [each.batch_size for each in timed] == [1, AT_ONCE]


def test_of_a_runs_report(tmp_path: Path) -> None:
    run = tl.distill(
        Counting(), Counting(), objective=tl.HardLabels(), train=images(12, 0), val=images(10, 1),
        epochs=1, batch_size=AT_ONCE,
    )  # fmt: skip
    run.report(tmp_path / "report.html")
