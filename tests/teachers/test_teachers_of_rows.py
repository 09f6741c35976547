"""Teachers with several answers an example: combined, routed, stored."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import tutelage as tl
from tutelage.coarse import CoarseLogits
from tutelage.data import Indexed
from tutelage.errors import ModelError
from tutelage.signals import Batch
from tutelage.teachers import (
    AnyTeacher,
    Ensemble,
    Specialist,
    Specialists,
    Stored,
    as_teacher,
    ask,
    by_label_confidence,
    mean_of_probabilities,
)
from tutelage.wants import OUTPUT

CLASSES = 4
IMAGES, SIZE = 6, (4, 5)


def segmenter(seed: int, classes: int = CLASSES, stride: int = 1) -> nn.Module:
    """A model of pixels."""
    torch.manual_seed(seed)
    return nn.Conv2d(3, classes, 3, padding=1, stride=stride)


def images(void: bool = True) -> tuple[Tensor, Tensor]:
    """Images and the classes of their pixels, some without."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(IMAGES, 3, *SIZE, generator=generator)
    labels = torch.randint(0, CLASSES, (IMAGES, *SIZE), generator=generator)
    if void:
        labels[torch.rand(labels.shape, generator=generator) < 0.3] = -100
    return pixels, labels


def flat(maps: Tensor, labels: Tensor) -> Tensor:
    """Return `[batch, classes, height, width]` at the labelled pixels, one after another."""
    return maps.movedim(1, -1)[labels != -100]


def test_an_ensemble_averages_the_probabilities_of_rows() -> None:
    pixels, labels = images()
    first, second = segmenter(0), segmenter(1)
    teacher = Ensemble([first, second], average=mean_of_probabilities)
    found = ask(teacher, Batch(pixels, labels), OUTPUT).logits
    both = torch.stack([flat(each(pixels), labels).softmax(-1) for each in (first, second)])
    assert torch.allclose(found.softmax(-1), both.mean(0), atol=1e-6)


def test_teachers_are_weighed_by_the_labels_of_rows() -> None:
    pixels, labels = images()
    first, second = segmenter(0), segmenter(1)
    teacher = Ensemble([first, second], weights=by_label_confidence)
    found = ask(teacher, Batch(pixels, labels), OUTPUT).logits
    logits = torch.stack([flat(each(pixels), labels) for each in (first, second)])
    weights = by_label_confidence(logits, Batch(pixels, labels[labels != -100]))
    assert torch.allclose(found, (weights[..., None] * logits).sum(0), atol=1e-6)


def test_teachers_of_other_resolutions_are_averaged_at_that_of_the_labels() -> None:
    pixels, labels = images()
    teacher = Ensemble([segmenter(0), segmenter(1, stride=2)])
    assert ask(teacher, Batch(pixels, labels), OUTPUT).logits.shape[1:] == (CLASSES,)
    with pytest.raises(ModelError, match="for the same positions"):
        ask(teacher, Batch(pixels), OUTPUT)


def test_specialists_answer_for_the_rows_of_their_own_images() -> None:
    pixels, labels = images()
    day, night = segmenter(0), segmenter(1)
    domains = ["day", "night", "night", "day", "night", "day"]
    teacher = Specialists({"day": day, "night": night})
    found = ask(teacher, Batch(pixels, labels, domain=domains), OUTPUT)
    whole = torch.stack(
        [
            (day if name == "day" else night)(each[None])[0]
            for name, each in zip(domains, pixels, strict=True)
        ]
    )
    assert torch.allclose(found.logits, flat(whole, labels), atol=1e-6)
    assert found.rows is not None
    assert torch.equal(found.rows.mask, labels != -100)


def test_specialists_of_some_classes_teach_rows() -> None:
    pixels, labels = images()
    members = {
        "day": Specialist(segmenter(0, 3), labels=[0, 1]),
        "night": Specialist(segmenter(1, 3), labels=[3, 2]),
    }
    domains = ["day", "night"] * 3
    found = ask(Specialists(members), Batch(pixels, labels, domain=domains), OUTPUT)
    targets = found.targets
    assert isinstance(targets, CoarseLogits)
    owners = (labels != -100).nonzero()[:, 0]
    assert torch.equal(targets.ids[:, 0], torch.where(owners % 2 == 0, 0, 3))
    student = segmenter(2)
    losses = tl.Distiller(student, Specialists(members), tl.SoftTargets(2))(
        Batch(pixels, labels, domain=domains)
    )
    values = tl.objectives.soft_targets(flat(student(pixels), labels), targets, 2)
    expected = torch.stack([values[owners == each].mean() for each in range(IMAGES)]).mean()
    assert torch.allclose(losses.total, expected, atol=1e-6)


def losses_of(teacher: AnyTeacher, batch: Batch, objective: tl.Objective) -> Tensor:
    """Return the loss of a fixed student."""
    return tl.Distiller(segmenter(2), as_teacher(teacher), objective)(batch).total


@pytest.mark.parametrize("void", [True, False])
@pytest.mark.parametrize("top_k", [None, CLASSES])
def test_a_store_gives_the_rows_of_the_live_teacher(
    tmp_path: Path, top_k: int | None, void: bool
) -> None:
    pixels, labels = images(void)
    data = TensorDataset(pixels, labels)
    store = tl.label(segmenter(0), data, out=tmp_path, dtype="float32", batch_size=4, top_k=top_k)
    order = torch.tensor([4, 0, 5])
    batch = Batch(pixels[order], labels[order], index=order)
    live = losses_of(segmenter(0), batch, tl.SoftTargets(2))
    assert torch.allclose(losses_of(store, batch, tl.SoftTargets(2)), live, atol=1e-5)


def test_a_store_keeps_the_best_classes_of_each_pixel(tmp_path: Path) -> None:
    pixels, labels = images()
    data = TensorDataset(pixels, labels)
    store = tl.label(segmenter(0), data, out=tmp_path, dtype="float32", top_k=2)
    batch = Batch(pixels, labels, index=torch.arange(IMAGES))
    targets = ask(Stored(store), batch, OUTPUT).targets
    assert isinstance(targets, CoarseLogits)
    logits = flat(segmenter(0)(pixels), labels)
    assert torch.equal(targets.ids, logits.topk(2, dim=1).indices)
    probabilities = torch.cat([targets.logits, targets.other[:, None]], 1).softmax(1)[:, :2]
    assert torch.allclose(probabilities, logits.softmax(1).topk(2, dim=1).values, atol=1e-6)


def test_a_store_of_sampled_classes_of_pixels_is_unbiased(tmp_path: Path) -> None:
    pixels, labels = images(void=False)
    data = TensorDataset(pixels, labels)
    store = tl.label(
        segmenter(0), data, out=tmp_path, sampled_classes=64, temperature=2, batch_size=4
    )
    batch = Batch(pixels, labels, index=torch.arange(IMAGES))
    targets = ask(Stored(store), batch, OUTPUT).targets
    assert isinstance(targets, CoarseLogits)
    found = torch.zeros(len(targets), CLASSES + 1)
    found.scatter_add_(1, targets.ids.where(targets.ids >= 0, CLASSES), targets.logits.exp())
    expected = (segmenter(0)(pixels).movedim(1, -1).flatten(0, 2) / 2).softmax(1)
    assert (found[:, :CLASSES] - expected).abs().amax() < 2 / 64


class Texts(Dataset[dict[str, Tensor]]):
    """Texts of several lengths, all padded alike."""

    lengths = (3, 5, 2, 4)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        length, generator = self.lengths[index], torch.Generator().manual_seed(index)
        mask = torch.arange(5) < length
        labels = torch.randint(0, CLASSES, (5,), generator=generator).where(mask, -100)
        x = torch.randint(0, 9, (5,), generator=generator).where(mask, 0)
        return {"x": x, "attention_mask": mask.long(), "labels": labels}


class Tagger(nn.Module):
    """A model of tokens."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.table = nn.Embedding(9, CLASSES)

    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        del attention_mask
        return self.table(x)


def shortened(examples: list[object]) -> object:
    """Collate, without the padding that all texts share."""
    index = torch.tensor([each.index for each in examples])  # type: ignore[attr-defined]
    columns = torch.utils.data.default_collate([each.example for each in examples])  # type: ignore[attr-defined]
    longest = int(columns["attention_mask"].sum(1).max())
    view = torch.tensor([0])
    cut = {name: each[:, :longest] for name, each in columns.items()}
    return tl.signals.IndexedExample(cut, index, view)


def test_texts_may_be_padded_to_fewer_tokens_than_were_stored(tmp_path: Path) -> None:
    store = tl.label(Tagger(0), Texts(), out=tmp_path, dtype="float32")
    for raw in DataLoader(Indexed(Texts()), 2, collate_fn=shortened, sampler=[2, 0, 3, 1]):
        batch = Batch.of(raw)
        live = ask(as_teacher(Tagger(0)), batch, OUTPUT).logits
        stored = ask(Stored(store), batch, OUTPUT).logits
        assert torch.allclose(stored, live)


def test_more_positions_than_were_stored_are_refused(tmp_path: Path) -> None:
    pixels, labels = images()
    store = tl.label(segmenter(0), TensorDataset(pixels, labels), out=tmp_path)
    larger = torch.zeros(1, 8, 10, dtype=torch.int64)
    batch = Batch(torch.zeros(1, 3, 8, 10), larger, index=torch.tensor([0]))
    with pytest.raises(ModelError, match="must have the positions that were labelled"):
        ask(Stored(store), batch, OUTPUT)


def test_a_run_learns_the_same_from_a_store(tmp_path: Path) -> None:
    pixels, labels = images()
    data = TensorDataset(pixels, labels)
    store = tl.label(segmenter(0), data, out=tmp_path, dtype="float32")
    losses = []
    for teacher in (segmenter(0), store):
        student = segmenter(3, stride=2)
        objective = 0.5 * tl.HardLabels() + 0.5 * tl.SoftTargets(2)
        run = tl.distill(teacher, student, train=data, objective=objective, epochs=3, batch_size=2)
        losses.append(run.history[-1]["train/loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
