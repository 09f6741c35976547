"""Runs on data with several answers an example."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import ConcatDataset, TensorDataset

import tutelage as tl
from tutelage.distiller import _tell_width
from tutelage.errors import ArgumentError, ModelError
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
    with pytest.raises(ArgumentError, match="must not be given together"):
        tl.data.unlabelled(images, ids=(2,), values=(2,))


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


class Tagger(nn.Embedding):
    """One logit for each token, in the last dimension or in none."""

    def __init__(self, squeezed: bool) -> None:
        super().__init__(20, 1)
        self.squeezed = squeezed

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        logits = super().forward(input_ids)
        return logits.squeeze(2) if self.squeezed else logits


def texts(*lengths: int) -> list[dict[str, Tensor]]:
    """Return texts of these lengths, with a label of 0 or 1 for each token."""
    generator = torch.Generator().manual_seed(0)
    found = [torch.randint(0, 20, (length,), generator=generator) for length in lengths]
    return [{"input_ids": ids, "labels": (ids > 9).long()} for ids in found]


SETTINGS: dict[str, Any] = {
    "objective": tl.BinaryLabels(),
    "epochs": 1,
    "batch_size": 2,
    "engine": tl.Engine(device="cpu", progress=False),
}


def test_logits_over_candidates_whose_number_varies() -> None:
    """Of a reranker or a model of multiple choice: the batch's examples have as many, `[B, L]`."""
    uneven = texts(3, 3, 5, 5)
    choices = [{**each, "labels": torch.tensor(at % 3)} for at, each in enumerate(uneven)]
    settings = SETTINGS | {"objective": tl.HardLabels() + tl.SoftTargets(2)}
    run = tl.distill(Tagger(True), Tagger(True), train=choices, val=choices, **settings)
    assert 0 <= run.history[0]["val/accuracy"] <= 1


def test_data_without_labels_is_validated_on_the_teacher_alone() -> None:
    examples = torch.randn(8, 4)
    train = torch.utils.data.TensorDataset(examples, torch.arange(8) % 3)
    run = tl.distill(
        torch.nn.Linear(4, 3),
        torch.nn.Linear(4, 3),
        train=train,
        val=examples,
        **SETTINGS | {"objective": 0.5 * tl.HardLabels() + 0.5 * tl.SoftTargets(2)},
    )
    assert {"val/loss", "val/agreement"} <= run.history[0].keys()


def test_a_row_mask_is_of_an_output_with_positions() -> None:
    examples = [{**each, "row_mask": torch.ones(4).bool()} for each in texts(4, 4)]
    tl.fit(Tagger(False), train=examples, **SETTINGS)
    with pytest.raises(ModelError, match=r"each of the positions of `row_mask`, .* of whole exam"):
        tl.fit(Tagger(True), train=examples, **SETTINGS)


def test_classes_that_are_second_are_told_by_labels_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Without labels they would be read as positions, whose number changes."""

    class Channels(nn.Conv1d):
        def __init__(self) -> None:
            super().__init__(2, 3, 1)

    def collate(examples: list[Tensor]) -> Tensor:
        return torch.stack(examples)

    signals = [torch.randn(2, length) for length in (6, 6, 8, 8)]
    loader = torch.utils.data.DataLoader(signals, 2, collate_fn=collate)  # type: ignore[arg-type]
    settings = {**SETTINGS, "objective": tl.SoftTargets(2), "train": loader}
    _tell_width.cache_clear()
    tl.distill(Channels(), Channels(), **settings)
    assert re.search("has (6 and then 8|8 and then 6) classes", caplog.text)


def test_heads_of_several_tasks_may_have_several_widths() -> None:
    class Tasks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.heads = nn.ModuleList([nn.Linear(6, 3), nn.Linear(6, 4)])

        def forward(self, inputs: Tensor, task: Tensor) -> Tensor:
            return self.heads[int(task[0])](inputs)

    distiller = tl.Distiller(Tasks(), Tasks(), tl.SoftTargets(2))
    for task in (0, 1, 0):
        inputs = {"inputs": torch.randn(5, 6), "task": torch.full((5,), task)}
        assert distiller(Batch(inputs)).total > 0
