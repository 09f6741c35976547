"""Maps of classes (segmentation): what is kept of them does not grow with their pixels."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

import tutelage as tl
from tutelage.data import as_source
from tutelage.evaluation import MeanIoU, evaluate, mean_iou, predict
from tutelage.evaluation.cost import Allocations
from tutelage.rows import Rows
from tutelage.tasks.outputs import on_grid
from tutelage.teachers import Live

CLASSES, SIZE = 5, (96, 64)


class Scenes(Dataset[tuple[Tensor, Tensor]]):
    """Images made when they are read, each from its number."""

    def __init__(self, count: int, size: tuple[int, int] = SIZE) -> None:
        self.count, self.size = count, size

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, place: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(place)
        x = torch.randn(3, *self.size, generator=generator)
        y = (x[0] > 0).long() + 2 * (x[1] > 0.5).long()
        y[: 8 * (place % 3)] = -100
        return x, y


def model(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Conv2d(3, CLASSES, 1)


def whole(count: int, size: tuple[int, int] = SIZE) -> TensorDataset:
    return TensorDataset(
        *map(torch.stack, zip(*map(Scenes(count, size).__getitem__, range(count)), strict=True))
    )


def source(data: Any, size: int = 2) -> Any:
    return as_source("val", data, size)


def peak(count: int, **given: Any) -> int:
    student, teacher = model(0), Live(model(1))
    objective = tl.HardLabels() + tl.SoftTargets(2)
    with Allocations(student, None) as held:
        evaluate(student, teacher, objective, source(Scenes(count)), **given)
    return held.peak


@pytest.mark.parametrize("given", [{}, {"outputs": True}, {"metrics": {"mean IoU": MeanIoU()}}])
def test_memory_does_not_grow_with_all_pixels_of_all_images(given: dict[str, Any]) -> None:
    logits_of_an_image = 4 * CLASSES * SIZE[0] * SIZE[1]
    grown = peak(16, **given) - peak(4, **given)
    assert grown < 12 * logits_of_an_image / 2  # of both models all were kept, and joined once


def test_accuracy_and_mean_iou_count_all_pixels() -> None:
    data = whole(6)
    found = evaluate(model(0), None, tl.HardLabels(), source(data), metrics={"iou": MeanIoU()})
    logits = model(0)(data.tensors[0]).detach().movedim(1, -1).flatten(0, 2)
    labels = data.tensors[1].flatten()
    known = labels >= 0
    right = (logits.argmax(1) == labels)[known].double().mean().item()
    assert found.metrics["accuracy"] == pytest.approx(right)
    assert found.metrics["iou"] == pytest.approx(mean_iou(logits, labels))


def test_other_metrics_are_those_of_an_even_grid() -> None:
    found = evaluate(
        model(0), Live(model(1)), tl.SoftTargets(2), source(whole(6)), outputs=True
    ).outputs
    every = whole(6).tensors[0][:, :, 1::3, 1::3]  # 96 × 64 pixels: 32 × 21 are kept
    expected = model(0)(every).detach().movedim(1, -1).flatten(1, 2)
    labelled = whole(6).tensors[1][:, 1::3, 1::3].flatten(1) >= 0
    assert found.student is not None
    assert found.teacher is not None
    torch.testing.assert_close(found.student, expected[labelled])
    assert len(found.teacher) == len(found.student) == len(found.labels)


def test_labels_at_few_points_are_all_kept() -> None:
    """None of them is on the grid."""
    images, labels = whole(3).tensors
    points = torch.full_like(labels, -100)
    points[:, ::12, ::12] = labels[:, ::12, ::12]
    data = source(TensorDataset(images, points))
    own = {"iou": MeanIoU(), "mine": lambda output, _: float(len(output))}
    by_counts, all_kept = (
        evaluate(model(0), Live(model(1)), tl.HardLabels() + tl.SoftTargets(2), data, metrics=each)
        for each in ({"iou": MeanIoU()}, own)
    )
    assert "iou" in by_counts.metrics
    shared = by_counts.metrics.keys() & all_kept.metrics.keys()
    assert shared >= {"accuracy", "agreement", "iou"}
    for name in shared:
        assert by_counts.metrics[name] == pytest.approx(all_kept.metrics[name])


def test_a_grid_that_misses_all_labels_is_replaced_by_evenly_spaced_ones() -> None:
    labelled = torch.zeros(1, 96, 64, dtype=torch.bool)
    labelled[:, ::3, :] = True  # the grid has rows 1, 4, 7 and so on
    kept, which = on_grid(Rows(labelled))
    assert which is not None
    assert len(which) == int(labelled.sum())
    assert 512 <= len(kept) == int(which.sum()) <= 1024


def test_counts_are_not_kept_where_they_are_larger_than_logits() -> None:
    labels = torch.zeros(1, 6, 6, dtype=torch.long)
    given = nn.Conv2d(3, 100, 1)
    data = source(TensorDataset(torch.randn(1, 3, 6, 6), labels))
    outputs = evaluate(given, None, tl.HardLabels(), data, outputs=True).outputs
    assert outputs.confusion is None
    assert outputs.student is not None
    assert outputs.student.shape == (36, 100)


def test_a_function_of_ones_own_is_given_all_pixels() -> None:
    data, seen = whole(4), []

    def rows(output: Tensor, labels: Tensor) -> float:
        seen.append((len(output), len(labels)))
        return 0.0

    evaluate(model(0), None, tl.HardLabels(), source(data), metrics={"mine": rows})
    assert seen == [(int((data.tensors[1] >= 0).sum()),) * 2]


def test_predictions_are_of_all_pixels() -> None:
    assert len(predict(model(0), whole(3).tensors[0])) == 3 * SIZE[0] * SIZE[1]


def test_small_maps_are_kept_whole() -> None:
    data = whole(3, (32, 32))
    found = evaluate(model(0), None, tl.HardLabels(), source(data), outputs=True).outputs
    assert found.student is not None
    assert len(found.student) == int((data.tensors[1] >= 0).sum())


def test_logits_that_are_nan_are_no_class() -> None:
    """By argmax they would be the first class."""
    broken = model(0)
    nn.init.constant_(broken.weight, torch.nan)
    found = evaluate(broken, None, tl.HardLabels(), source(whole(2)), metrics={"iou": MeanIoU()})
    assert found.metrics["accuracy"] != found.metrics["accuracy"]
    assert found.metrics["iou"] != found.metrics["iou"]


@pytest.mark.parametrize(
    ("objective", "metric"),
    [
        (tl.SoftTargets(2), "agreement"),
        (tl.BinaryTargets(), "agreement"),
        (tl.OutputRegression(), "teacher_mse"),
    ],
)
def test_labels_of_whole_images_are_not_those_of_pixels(
    objective: tl.objectives.Objective, metric: str
) -> None:
    rows = [
        {"input": torch.randn(3, 4, 4), "label": number, "domain": "ab"[number % 2]}
        for number in range(8)  # more than there are classes
    ]
    found = evaluate(
        model(0),
        Live(model(1)),
        objective,
        source(rows, 4),
        metrics={"labels": lambda _, labels: len(labels)},
    )
    assert set(found.metrics) >= {"loss", metric, f"{metric}/a", f"{metric}/b"}
    assert "accuracy" not in found.metrics
    assert (found.metrics["labels"], found.metrics["labels/a"]) == (8, 4)


@pytest.mark.parametrize("objective", [tl.BinaryTargets(), tl.OutputRegression()])
def test_other_maps_than_those_of_classes_are_kept_whole(
    objective: tl.objectives.Objective,
) -> None:
    images = whole(2).tensors[:1]
    found = evaluate(model(0), Live(model(1)), objective, source(TensorDataset(*images)))
    assert found.outputs.student is not None
    assert len(found.outputs.student) == 2 * SIZE[0] * SIZE[1]
