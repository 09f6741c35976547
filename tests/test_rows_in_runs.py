"""Runs on data with several answers an example."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import ConcatDataset, TensorDataset

import tutelage as tl
from tutelage.errors import ArgumentError
from tutelage.signals import Batch


def test_images_without_labels_join_those_with_labels() -> None:
    images, labels = torch.randn(4, 3, 2, 2), torch.randint(0, 3, (4, 2, 2))
    labelled = TensorDataset(images, labels)
    both = ConcatDataset([labelled, tl.data.unlabelled(images + 1, ids=(2, 2))])
    run = tl.distill(
        nn.Conv2d(3, 3, 1),
        nn.Conv2d(3, 3, 1),
        train=both,
        objective=tl.HardLabels() + tl.SoftTargets(),
        epochs=1,
        batch_size=8,
    )
    assert run.history[0]["train/soft_targets"] > 0
    for wrong in ({"ids": "2"}, {"ids": (0,)}, {"ids": (2,), "values": (2,)}):
        with pytest.raises(ArgumentError, match="must"):
            tl.data.unlabelled(images, **wrong)  # type: ignore[arg-type]


def some_labels() -> TensorDataset:
    """Images with different numbers of labelled pixels, one of them without any."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (8, 4, 4), generator=generator)
    for number in range(8):
        labels[number].flatten()[2 * number :] = -100
    return TensorDataset(torch.randn(8, 3, 4, 4, generator=generator), labels)


def trained(**settings: Any) -> dict[str, Tensor]:
    """Return the weights after two epochs."""
    torch.manual_seed(0)
    student, teacher = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
    objective = tl.HardLabels() + tl.SoftTargets(2)
    engine = tl.Engine(progress=False, **settings.pop("engine", {}))
    run = tl.distill(
        teacher, student, train=some_labels(), objective=objective, epochs=2, engine=engine,
        optimizer=partial(torch.optim.SGD, lr=0.5), **settings,
    )  # fmt: skip
    return run.student.state_dict()


def test_accumulated_pieces_make_one_batch() -> None:
    whole = trained(batch_size=8)
    pieces = trained(batch_size=2, engine={"accumulation": 4})
    for name, weight in whole.items():
        torch.testing.assert_close(pieces[name], weight)


def test_selective_closes_the_rows_of_a_domain() -> None:
    images, labels = some_labels().tensors
    domains = ["day", "night"] * 4
    objective = tl.Selective(tl.SoftTargets(2))
    objective.closed = frozenset({"night"})
    student, teacher = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
    both = Batch(images, labels, domain=domains)
    found = tl.Distiller(student, teacher, objective)(both).total
    day = Batch(images[::2], labels[::2])
    expected = tl.Distiller(student, teacher, tl.SoftTargets(2))(day).total / 2
    torch.testing.assert_close(found, expected)
